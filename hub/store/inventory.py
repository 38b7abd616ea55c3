"""What there is: gateways, sources and datastreams, as the registry placed them and as batches revealed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from psycopg.rows import class_row

from hub.store.database import Database
from hub.store.statements import statements

R = TypeVar("R")

_SQL: Final = statements("inventory")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRow:
    """A gateway with when it was heard (any batch with a valid signature counts) and how many sources it has."""

    gateway_id: str
    name: str
    unit_code: str | None
    algorithm: str
    enrolled_at: datetime
    revoked_at: datetime | None
    first_heard_at: datetime | None
    last_heard_at: datetime | None
    sources: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A source with its tally. `placed` is False while only batches know it."""

    source_no: int
    gateway_id: str
    source_id: str
    name: str | None
    kind: str | None
    unit_code: str | None
    profile: str | None
    latitude: float | None
    longitude: float | None
    placed: bool
    readings: int
    undecoded: int
    last_received_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastreamRow:
    """One observed property of one source, in one unit (UCUM). Times of the field; None where there is none yet."""

    datastream_no: int
    gateway_id: str
    source_id: str
    source_name: str | None
    unit_code: str | None
    observed_property: str
    unit: str
    first_observed_at: datetime | None
    last_observed_at: datetime | None


async def list_gateways(
    database: Database, *, gateway: str | None = None, after: str | None = None, limit: int
) -> list[GatewayRow]:
    """Return gateways by id, those after `after`; raises StoreUnavailable."""
    return await _rows(database, GatewayRow, "gateways", {"gateway": gateway, "after": after, "limit": limit})


async def list_sources(
    database: Database,
    *,
    gateway: str | None = None,
    unit: str | None = None,
    placed: bool | None = None,
    after: int = 0,
    limit: int,
) -> list[SourceRow]:
    """Return sources by number, those after `after`; raises StoreUnavailable."""
    values = {"gateway": gateway, "unit": unit, "placed": placed, "after": after, "limit": limit}
    return await _rows(database, SourceRow, "sources", values)


async def list_datastreams(
    database: Database,
    *,
    datastream: int | None = None,
    gateway: str | None = None,
    source: str | None = None,
    observed_property: str | None = None,
    unit: str | None = None,
    after: int = 0,
    limit: int,
) -> list[DatastreamRow]:
    """Return datastreams by number, those after `after`; `unit` is administrative. Raises StoreUnavailable."""
    values = {
        "datastream": datastream,
        "gateway": gateway,
        "source": source,
        "observed_property": observed_property,
        "unit": unit,
        "after": after,
        "limit": limit,
    }
    return await _rows(database, DatastreamRow, "datastreams", values)


async def _rows(database: Database, kind: type[R], name: str, values: Mapping[str, Any]) -> list[R]:
    async with database.snapshot() as connection, connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(_SQL[name], values)
        return await cursor.fetchall()
