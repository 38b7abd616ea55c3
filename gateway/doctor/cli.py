"""`xom gateway doctor`: what works, what does not, and what to do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from gateway.clock import SystemClock
from gateway.config import read
from gateway.doctor.finding import Finding
from gateway.doctor.walk import Walk
from gateway.doctor.words import STATES
from gateway.language import Language, language_of_terminal
from gateway.probes.outcome import State
from wire.configuration import ConfigError
from wire.logs import keep_quiet

_USAGE_ERROR: Final = 2
_SIGNS: Final = {State.OK: "✓", State.DEGRADED: "!", State.FAIL: "✗", State.UNKNOWN: "?"}


def doctor_command(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The gateway's TOML file.")] = None,
    only: Annotated[str, typer.Option(help="Only things whose name begins so: camera:, hub, lorawan:")] = "",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure now beside a running gateway, all but serial ports and modems.")
    ] = False,
    language: Annotated[Language | None, typer.Option("--lang", help="vi or en; else as the terminal is.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Walk everything configured: what works, what does not, what to do. Exit code 1: something needs a hand."""
    chosen = language or language_of_terminal()
    keep_quiet()
    try:
        settings = read(config)
        bad = asyncio.run(_walk(Walk(config=settings, clock=SystemClock(), only=only, fresh=fresh), chosen, json=json))
    except ConfigError as error:
        typer.echo(f"xom gateway doctor: {error}", err=True)
        raise typer.Exit(_USAGE_ERROR) from error
    if bad:
        raise typer.Exit(1)


async def _walk(walk: Walk, language: Language, *, json: bool) -> int:
    """Say each finding as soon as it is there; returns how many are not ok."""
    counts = dict.fromkeys(State, 0)
    async for finding in walk.findings():
        counts[finding.state] += 1
        if json:
            typer.echo(msgspec.json.encode(finding.as_fields(language)).decode())
        else:
            typer.echo("\n".join(lines(finding, language)))
    if not json:
        typer.echo(", ".join(f"{STATES[state].say(language)}: {count}" for state, count in counts.items() if count))
    return sum(count for state, count in counts.items() if state is not State.OK)


def lines(finding: Finding, language: Language) -> list[str]:
    """Write a finding for people: what it is, and below it what to do and the machine's own words."""
    when = "" if finding.at_ms is None else f"  [{datetime.fromtimestamp(finding.at_ms / 1000, UTC):%Y-%m-%d %H:%MZ}]"
    said = [f"{_SIGNS[finding.state]} {finding.thing:<28} {finding.what.say(language)}{when}"]
    if remedy := finding.remedy.say(language):
        said.append(f"    → {remedy}")
    if finding.detail and finding.state is not State.OK:
        said.append(f"      {finding.detail}")
    return said
