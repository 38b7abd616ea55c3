"""Monthly partitions of the raw series, made when the first observation of a month arrives.

Times outside 2020-01 to two months ahead stay in the default partition: a gateway with a wrong clock must not make
partitions. With TimescaleDB there is nothing to do.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from psycopg import sql

from hub.store.database import Connection, Database
from hub.store.locks import PARTITION_LOCK

_DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS_AHEAD: Final = 2


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month in UTC."""

    year: int
    month: int

    @classmethod
    def of(cls, at: datetime) -> Self:
        """Return the month of an aware UTC time."""
        return cls(at.year, at.month)

    def plus(self, months: int) -> Month:
        """Return the month that many months later."""
        years, index = divmod(self.month - 1 + months, 12)
        return Month(self.year + years, index + 1)

    @property
    def start(self) -> datetime:
        """The first instant of the month."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def partition(self) -> str:
        """The partition's table."""
        return f"observation_{self.year:04d}_{self.month:02d}"


FIRST: Final = Month(2020, 1)


@functools.lru_cache(maxsize=4096)
def _month_of_day(day: int) -> Month:
    return Month.of(_EPOCH + timedelta(days=day))


def months_of(times_ms: list[int]) -> set[Month]:
    """Return the months in which these times (ms UTC) lie. Nearly always one, told from the extremes alone."""
    if not times_ms:
        return set()
    first, last = _month_of_day(min(times_ms) // _DAY_MS), _month_of_day(max(times_ms) // _DAY_MS)
    return {first} if first == last else {_month_of_day(at // _DAY_MS) for at in times_ms}


class Partitions:
    """Knows which months have a partition already."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._declarative: bool | None = None
        self._made: set[Month] = set()

    async def prepare(self, months: Iterable[Month], now: datetime) -> None:
        """Make what is missing for these months, before any row of them is written; raises StoreUnavailable."""
        latest = Month.of(now).plus(_MONTHS_AHEAD)
        missing = sorted(month for month in set(months) - self._made if FIRST <= month <= latest)
        if not missing:
            return
        if self._declarative is None:
            self._declarative = await self._is_declarative()
        if self._declarative:
            for month in missing:
                async with self._database.transaction() as connection:
                    await _make(connection, month)
        self._made.update(missing)

    async def _is_declarative(self) -> bool:
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "select exists (select from pg_partitioned_table where partrelid = 'observation'::regclass)"
            )
            return (await cursor.fetchone()) == (True,)


async def _make(connection: Connection, month: Month) -> None:
    """Attach a month, taking along what the default partition already holds of it (a clock that ran ahead)."""
    # Waiting longer would queue every reader behind us; ingest tries the whole commit again.
    await connection.execute("set local lock_timeout = '20s'")
    await connection.execute("select pg_advisory_xact_lock(%s)", [PARTITION_LOCK])
    cursor = await connection.execute("select to_regclass(%s) is not null", [month.partition])
    if (await cursor.fetchone()) == (True,):
        return
    names = {
        "partition": sql.Identifier(month.partition),
        "start": sql.Literal(month.start.isoformat()),
        "end": sql.Literal(month.plus(1).start.isoformat()),
    }
    for statement in (
        "create table {partition} (like observation including all)",
        "lock table observation_default in access exclusive mode",
        "with moved as (delete from observation_default where observed_at >= {start} and observed_at < {end} "
        "returning *) insert into {partition} select * from moved",
        "alter table observation attach partition {partition} for values from ({start}) to ({end})",
    ):
        await connection.execute(sql.SQL(statement).format(**names))
