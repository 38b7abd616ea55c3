"""A new life of the hub after a restore: gateways then refill what the backup lacks (wire.ack.Ack.incarnation)."""

from __future__ import annotations

from datetime import datetime

from hub.store.database import Database


async def begin_incarnation(database: Database, now: datetime) -> int:
    """Start a new life, ms UTC and above the last one, and return it; raises StoreUnavailable."""
    async with database.connection() as connection:
        cursor = await connection.execute(
            "update hub_identity set incarnation = greatest(incarnation + 1, %s), created_at = %s "
            "returning incarnation",
            [int(now.timestamp() * 1000), now],
        )
        row = await cursor.fetchone()
    if row is None:
        raise LookupError("the database has no hub identity: run `xom hub migrate`")
    return int(row[0])
