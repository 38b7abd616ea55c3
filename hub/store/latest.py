"""The last word of each place: one observation for each unit and observed property, one outcome for each probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hub.store.database import Database
from hub.store.rows import TIME_UNCERTAIN
from hub.store.statements import statements
from wire.reading import Quality

_SQL: Final = statements("latest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The newest observation of one property in one place; `value` is None where the sensor reported a fault."""

    unit_name: str
    source_name: str
    observed_property: str
    unit: str
    value: float | None
    quality: str
    observed_at: datetime


async def latest_observations(database: Database, properties: Sequence[str]) -> list[Latest]:
    """Return the newest observation for each unit and property, by unit; raises StoreUnavailable."""
    async with database.connection() as connection:
        rows = await (await connection.execute(_SQL["latest"], {"properties": list(properties)})).fetchall()
    return [
        Latest(
            unit_name=place,
            source_name=source,
            observed_property=name,
            unit=unit,
            value=value,
            quality=Quality(quality & ~TIME_UNCERTAIN).name.lower(),
            observed_at=at,
        )
        for place, source, name, unit, value, quality, at in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeWord:
    """The newest outcome of one probe: its state's code, and the code of each check made in that run."""

    unit_name: str
    source: str
    state: int
    checks: Mapping[str, int]
    observed_at: datetime


async def latest_states(database: Database) -> list[ProbeWord]:
    """Return the newest outcome of each probe, by unit; raises StoreUnavailable."""
    async with database.connection() as connection:
        rows = await (await connection.execute(_SQL["states"])).fetchall()
    words: dict[tuple[str, str], dict[str, tuple[int, datetime]]] = {}
    for place, source, name, code, at in rows:
        words.setdefault((place, source), {})[name.removesuffix("_state")] = (code, at)
    return [
        ProbeWord(
            unit_name=place,
            source=source,
            state=said["probe"][0],
            checks={name: code for name, (code, at) in said.items() if name != "probe" and at == said["probe"][1]},
            observed_at=said["probe"][1],
        )
        for (place, source), said in words.items()
        if "probe" in said
    ]
