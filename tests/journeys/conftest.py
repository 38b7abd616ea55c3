"""The database of the hub's own tests, here under a whole line."""

from __future__ import annotations

from tests.hub.conftest import dsn, postgres

__all__ = ["dsn", "postgres"]
