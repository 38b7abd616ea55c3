"""Reading the batch log: the envelopes as they came, in order of storing. What counts is derived from these alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from hub.store.database import Database
from hub.store.statements import statements

_PAGE: Final = 500

_SQL: Final = statements("log")


async def envelopes(database: Database) -> AsyncIterator[bytes]:
    """Yield every stored envelope, a page at a time; raises StoreUnavailable."""
    after = 0
    while True:
        async with database.connection() as connection:
            rows = await (await connection.execute(_SQL["envelopes"], {"after": after, "page": _PAGE})).fetchall()
        for number, envelope in rows:
            after = number
            yield bytes(envelope)
        if len(rows) < _PAGE:
            return


async def count_observations(database: Database) -> int:
    """Return how many observations are stored: a full count, for audits."""
    async with database.connection() as connection:
        row = await (await connection.execute(_SQL["observations"])).fetchone()
    return int(row[0]) if row else 0
