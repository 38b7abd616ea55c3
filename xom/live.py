"""The live table in the terminal: what each hamlet's sensors last said, as the hub stores it."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gateway.probes.outcome import State
from hub.store.latest import Latest, ProbeWord, latest_observations, latest_states
from xom.infrastructure import KINDS, name_of

if TYPE_CHECKING:
    from xom.demo import Demo

_EVERY_S = 1.0
_PLAIN_EVERY_S = 10.0
_COLOUR = {"ok": "green", "degraded": "yellow", "fail": "red", "unknown": "dim"}
_VIETNAM = timezone(timedelta(hours=7))
_SHOWN = ("water_distance", "water_depth", "electrical_conductivity", "dissolved_oxygen", "ph", "water_temperature")


async def show(demo: Demo) -> None:
    """Draw until cancelled: a table on a terminal, a line every ten seconds elsewhere."""
    host, port = demo.broker
    typer.echo(f"broker    {host}:{port}\nAPI       {demo.hub.address}/api/v1  (OpenAPI: /api/v1/openapi.json)")
    typer.echo(f"commune   {len(demo.gateways)} gateways, all simulated; Ctrl-C stops")
    if not sys.stdout.isatty():
        while True:
            typer.echo(_line(demo))
            typer.echo(_counts(await latest_states(demo.hub.database)))
            await asyncio.sleep(_PLAIN_EVERY_S)
    with Live(console=Console(), refresh_per_second=2, transient=False) as live:
        while True:
            observed = _table(await latest_observations(demo.hub.database, _SHOWN))
            probed = _infrastructure(await latest_states(demo.hub.database))
            live.update(Group(Text(_line(demo)), probed, observed))  # a small window cuts the end
            await asyncio.sleep(_EVERY_S)


def _line(demo: Demo) -> str:
    now = datetime.fromtimestamp(demo.clock.now().wall_ms / 1000, _VIETNAM)
    gateways = "  ".join(
        f"{name}: {one.spool.appended} kept, batch {one.delivery.window.through} of "
        f"{one.delivery.window.highest} stored"
        for name, one in demo.gateways.items()
    )
    return f"{now:%Y-%m-%d %H:%M} (simulated)  {gateways}"


def _counts(words: list[ProbeWord]) -> str:
    """How the infrastructure is, kind by kind, for where no table can be drawn."""
    kinds = []
    for kind in KINDS:
        states = Counter(name_of(one.state) for one in words if one.source.startswith(f"{kind}:"))
        if states:
            kinds.append(f"{kind}: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    return "  " + ("  ".join(kinds) or "no probe has had its turn yet")


def _infrastructure(words: list[ProbeWord]) -> Table:
    """One row per hamlet, one column per kind of thing in it."""
    table = Table(title="Infrastructure, as each hamlet's gateway finds it", title_justify="left")
    for heading in ("hamlet", *KINDS):
        table.add_column(heading)
    known = {(one.unit_name, one.source.partition(":")[0]): one for one in words}
    for place in sorted({one.unit_name for one in words}):
        table.add_row(escape(place), *(_cell(known.get((place, kind))) for kind in KINDS))
    return table


def _cell(word: ProbeWord | None) -> str:
    """A state, and the checks that are not well."""
    if word is None:
        return "–"
    bad = [name for name, code in word.checks.items() if code != State.OK.code]
    state = name_of(word.state)
    return f"[{_COLOUR.get(state, 'white')}]{state}[/] {escape(', '.join(bad))}".rstrip()


def _table(rows: list[Latest]) -> Table:
    """One row per hamlet and quantity: the last value, the sensor, the age."""
    table = Table(title="Last observations", title_justify="left")
    for heading in ("hamlet", "sensor", "observed property", "value", "unit", "quality", "observed at (UTC)"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for row in rows:
        value = "–" if row.value is None else f"{row.value:g}"
        at = row.observed_at.astimezone(UTC).strftime("%m-%d %H:%M")
        cells = (row.unit_name, row.source_name, row.observed_property, value, row.unit, row.quality, at)
        table.add_row(*map(escape, cells))  # [pH] is a unit here, not markup
    return table
