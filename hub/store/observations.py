"""Observations as the API asks for them: pages of a series, and aggregates over equal buckets of time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from psycopg.rows import class_row

from hub.store.database import Database
from hub.store.derivations import derivations_of
from hub.store.statements import statements
from wire.reading import Quality

_SQL: Final = statements("observations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a page ends: times repeat, so the batch and the reading in it tell equal ones apart."""

    observed_at: datetime
    batch_no: int
    reading_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One value of a datastream.

    `time_uncertain`: the gateway's clock had not been set, and nothing has told the time since. Where something has,
    `observed_at` is derived (decision 014) and `observed_at_original` is what the gateway wrote down.

    `derivation` is the number of the derivation that gave it, 0 as it was sealed (decision 015).
    """

    observed_at: datetime
    observed_at_original: datetime | None
    value: float | None
    quality: int
    time_uncertain: bool
    batch_no: int
    reading_index: int
    derivation: int = 0

    @property
    def position(self) -> Position:
        """Where this observation stands in its series."""
        return Position(observed_at=self.observed_at, batch_no=self.batch_no, reading_index=self.reading_index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What was observed in [start, start + bucket). `excluded` had no value or an implausible one; the rest counts."""

    start: datetime
    count: int
    min: float | None
    max: float | None
    mean: float | None
    first: float | None
    last: float | None
    excluded: int


async def read_page(
    database: Database,
    datastream: int,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    qualities: Collection[Quality] = (),
    after: Position | None = None,
    descending: bool = False,
    limit: int,
) -> list[Observation]:
    """Return observations in [start, end) in the order of time, those beyond `after`; raises StoreUnavailable.

    What arrives between two pages never shifts them: a page starts at a position, not at a count.
    """
    values = {
        "datastream": datastream,
        "start": start,
        "end": end,
        "qualities": [int(quality) for quality in qualities] or None,
        "after_at": after and after.observed_at,
        "after_batch": after and after.batch_no,
        "after_index": after and after.reading_index,
        "limit": limit,
    }
    async with database.snapshot() as connection, connection.cursor(row_factory=class_row(Observation)) as cursor:
        await cursor.execute(_SQL["descending" if descending else "ascending"], values)
        rows = await cursor.fetchall()
        given = await derivations_of(connection, {row.batch_no for row in rows})
    # Nearly always nothing: asked for once a page, not once a row.
    return [replace(row, derivation=given.get((row.batch_no, row.reading_index), 0)) for row in rows] if given else rows


async def aggregate(
    database: Database, datastream: int, *, start: datetime, end: datetime, bucket: timedelta
) -> list[Bucket]:
    """Return the buckets of [start, end) that hold anything, in order; raises StoreUnavailable.

    Buckets are counted from midnight in Viet Nam. Those at both ends hold only what lies in [start, end).
    """
    values = {"datastream": datastream, "start": start, "end": end, "bucket": bucket}
    async with database.snapshot() as connection, connection.cursor(row_factory=class_row(Bucket)) as cursor:
        await cursor.execute(_SQL["aggregates"], values)
        return await cursor.fetchall()
