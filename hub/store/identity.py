"""Which life of the hub this is, and where its database stands (wire.ack.Ack.incarnation, decision 009)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from hub.store.database import Connection, Database
from hub.store.incidents import DEFAULT_CAP, Incident, IncidentKind, record_within
from hub.store.statements import statements

_SQL: Final = statements("identity")


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Where a database stands: which life, how many starts, the last batch, and the name of its history."""

    incarnation: int
    starts: int
    batch_no: int
    history: str


async def read_mark(database: Database) -> Mark:
    """Return where the database stands now; raises StoreUnavailable."""
    async with database.connection() as connection:
        return await _mark(connection)


async def count_start(database: Database) -> Mark:
    """Note that a hub starts on this database; returns where it stands then. Raises StoreUnavailable."""
    async with database.transaction() as connection:
        await connection.execute(_SQL["start"])
        return await _mark(connection)


async def begin_incarnation(database: Database, now: datetime, reason: str, *, above: Mark | None = None) -> int:
    """Start a new life, ms UTC and above the last one, and return it; raises StoreUnavailable.

    `reason` becomes an incident in the same transaction. `above` is what was announced from a database that is gone.
    """
    async with database.transaction() as connection:
        values = {
            "above": above.incarnation if above else 0,
            "starts": above.starts if above else 0,
            "at_ms": int(now.timestamp() * 1000),
            "at": now,
        }
        row = await (await connection.execute(_SQL["begin"], values)).fetchone()
        if row is None:
            raise LookupError(_UNMIGRATED)
        incident = Incident(kind=IncidentKind.RESTORED, gateway=None, detail=f"incarnation {row[0]} begins: {reason}")
        await record_within(connection, [incident], cap=DEFAULT_CAP)
    return int(row[0])


_UNMIGRATED: Final = "the database has no hub identity: run `xom hub migrate`"


async def _mark(connection: Connection) -> Mark:
    row = await (await connection.execute(_SQL["mark"])).fetchone()
    if row is None:
        raise LookupError(_UNMIGRATED)
    return Mark(incarnation=row[0], starts=row[1], batch_no=row[2], history=row[3])
