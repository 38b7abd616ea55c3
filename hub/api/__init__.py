"""The REST API under `/api/v1`, with health, readiness and metrics beside it. OpenAPI at `/api/v1/openapi.json`."""
