"""The application: the API's routes, health, readiness and metrics, every error as a problem."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from hub.api.models import Health, Readiness
from hub.api.problems import Problem, install
from hub.api.routes import api_routes
from hub.store.database import Database, StoreUnavailable
from hub.store.migrate import MigrationError, behind

VERSION: Final = "1"
_OK: Final = "ok"
_DESCRIPTION: Final = (
    "Field monitoring for rural communes: what gateways have delivered, and what was derived from it. "
    "Times are RFC 3339 in UTC, units UCUM codes. Errors are RFC 9457 problems with a remedy. "
    "The proof behind an observation says "
    "that an enrolled gateway attested it, unaltered and complete; not that the water was so."
)


def create_app(database: Database, *, metrics: CollectorRegistry, broker_connected: Callable[[], bool]) -> FastAPI:
    """Return the application. It opens nothing: database and broker are the caller's."""
    app = FastAPI(
        title="Xóm hub",
        version=VERSION,
        description=_DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        # The pages that show it load scripts from a CDN, which no page of ours does.
        docs_url=None,
        redoc_url=None,
    )
    install(app)
    app.include_router(api_routes(database))
    _add_health(app, database, broker_connected)
    _add_metrics(app, metrics)
    _describe_problems(app)
    return app


def _add_health(app: FastAPI, database: Database, broker_connected: Callable[[], bool]) -> None:
    @app.get("/healthz", summary="Whether the process answers", tags=["operation"])
    async def healthz() -> Health:
        """Say that the process is alive; nothing else is looked at."""
        return Health(status=_OK)

    @app.get(
        "/readyz",
        summary="Whether the hub can do its work",
        tags=["operation"],
        responses={503: {"description": "A check fails; the body says which, and why.", "model": Readiness}},
    )
    async def readyz(response: Response) -> Readiness:
        """Check that the database answers, its migrations are current and the broker is connected."""
        checks = {
            "database": await database.reachable() or _OK,
            "migrations": await _migrations(database),
            "broker": _OK if broker_connected() else "not connected; the hub keeps trying",
        }
        ready = all(word == _OK for word in checks.values())
        response.status_code = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Readiness(ready=ready, checks=checks)


async def _migrations(database: Database) -> str:
    try:
        missing = await behind(database)
    except (MigrationError, StoreUnavailable) as error:
        return str(error)
    return f"run `xom hub migrate`; missing: {', '.join(missing)}" if missing else _OK


def _add_metrics(app: FastAPI, metrics: CollectorRegistry) -> None:
    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        tags=["operation"],
        response_class=Response,
        responses={
            200: {
                "description": "OpenMetrics or the Prometheus text format, as the Accept header asks.",
                "content": {
                    "application/openmetrics-text": {
                        "schema": {"type": "string"},
                        "example": "xom_hub_readings_total 42.0",
                    },
                    "text/plain": {"schema": {"type": "string"}, "example": "xom_hub_readings_total 42.0"},
                },
            }
        },
    )
    async def counters(request: Request) -> Response:
        """Return the hub's counters."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics), headers={"Content-Type": media_type})


def _describe_problems(app: FastAPI) -> None:
    """Put the problem's schema beside the models: routes refer to it, but none returns it."""
    document = app.openapi()
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
