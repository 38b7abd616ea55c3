"""`python -m hub.api.openapi` prints the OpenAPI document; `docs/openapi.json` is what it printed last."""

from __future__ import annotations

import json
import sys

from prometheus_client import CollectorRegistry

from hub.api.application import create_app
from hub.store.database import Database


def document() -> str:
    """Return the OpenAPI document as indented JSON. Nothing is opened for it."""
    database = Database("", pool_size=2, patience_s=1.0)
    app = create_app(database, metrics=CollectorRegistry(), broker_connected=lambda: False)
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
