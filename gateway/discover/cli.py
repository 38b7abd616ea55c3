"""`xom gateway discover`: what there is in the hamlet, and the configuration for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from gateway.discover.finding import Family, Finding, Standing, Unsearched
from gateway.discover.known import known_of
from gateway.discover.places import MOST_HOSTS
from gateway.discover.serial import Manner
from gateway.discover.sweep import PORT
from gateway.discover.words import advice_on_logins, summary
from gateway.discover.writing import append, sections_of, snippet
from gateway.language import Language, Text, language_of_terminal
from wire.configuration import ConfigError
from wire.logs import keep_quiet

_USAGE_ERROR: Final = 2
_SIGNS: Final = {Standing.NEW: "+", Standing.HAND: "!", Standing.KNOWN: "=", Standing.SEEN: "·"}
_STDOUT: Final = Path("-")


def discover_command(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The gateway's TOML file: what it has is not proposed again.")
    ] = None,
    only: Annotated[list[Family] | None, typer.Option(help="Search for this alone; may be given again.")] = None,
    interface: Annotated[
        list[str] | None, typer.Option(help="Interface, or own address, to search at; may be given again.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Network to ask by SIP, e.g. 192.168.1.0/24; may be given again.")
    ] = None,
    sip_port: Annotated[int, typer.Option(min=1, max=65_535, help="UDP port of SIP.")] = PORT,
    scan_bus: Annotated[
        bool, typer.Option("--scan-bus", help="Ask silent serial ports by Modbus RTU; may disturb what is no Modbus.")
    ] = False,
    last_address: Annotated[int, typer.Option(min=1, max=247, help="Highest Modbus address to ask.")] = 32,
    ask_ports: Annotated[
        bool, typer.Option("--ask-ports", help="Ask by AT at all silent serial ports, not only modems'.")
    ] = False,
    write: Annotated[
        Path | None, typer.Option(help="Append the new sections to this file; - prints nothing but them.")
    ] = None,
    language: Annotated[Language | None, typer.Option("--lang", help="vi or en; else as the terminal is.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Find cameras, loudspeakers, serial devices, modems and wifi; write their configuration. Exit code 0: searched."""
    from gateway.discover.search import Search  # D-Bus: only where it is used

    chosen = language or language_of_terminal()
    keep_quiet()
    if json and write == _STDOUT:
        raise _stop("--json and --write - both want the output; choose one")
    try:
        files = ([config] if config is not None else []) + ([write] if write is not None and write.is_file() else [])
        search = Search(
            known=known_of(files),
            families=frozenset(only or Family),
            interfaces=tuple(interface or ()),
            networks=tuple(_network(text) for text in network or ()),
            sip_port=sip_port,
            manner=Manner(ask_ports=ask_ports, scan_bus=scan_bus, last_address=last_address),
        )
    except ConfigError as error:
        raise _stop(str(error)) from error
    found, left = asyncio.run(search.run(lambda family, text: _progress(family, text, chosen)))
    show(found, left, chosen, write, json=json)
    if write is not None and write != _STDOUT:
        _append(write, found, chosen, json=json)


def show(
    found: Sequence[Finding], left: Sequence[Unsearched], language: Language, write: Path | None, *, json: bool
) -> None:
    """Print what was found: for programs, as nothing but configuration, or for people."""
    if json:
        for fields in (*(one.as_fields(language) for one in found), *(one.as_fields(language) for one in left)):
            typer.echo(msgspec.json.encode(fields).decode())
        return
    to_stderr = write == _STDOUT
    for line in lines(found, left, language):
        typer.echo(line, err=to_stderr)
    text = snippet(sections_of(found), language, datetime.now(UTC))
    if text and write in (None, _STDOUT):
        typer.echo(text if to_stderr else f"\n{text}", nl=False)
    if write in (None, _STDOUT):
        _say_logins(found, language)


def lines(found: Sequence[Finding], left: Sequence[Unsearched], language: Language) -> list[str]:
    """Write for people what was found, then what could not be searched."""
    said = []
    for one in found:
        said.append(f"{_SIGNS[one.standing]} {one.thing:<28} {one.what.say(language)}")
        if advice := one.advice.say(language):
            said.append(f"    → {advice}")
    for gap in left:
        said.append(f"? {gap.thing:<28} {gap.what.say(language)}")
        said.append(f"    → {gap.remedy.say(language)}")
        if gap.detail:
            said.append(f"      {gap.detail}")
    return [*said, summary(found, left).say(language)]


def _append(path: Path, found: Sequence[Finding], language: Language, *, json: bool) -> None:
    try:
        done = append(path, sections_of(found), language, datetime.now(UTC))
    except (ConfigError, OSError) as error:
        raise _stop(str(error)) from error
    if done.backup is not None:
        kept = Text(f"; bản cũ ở {done.backup}", f"; the file as it was: {done.backup}")
    else:
        kept = Text("", "")
    count = len(done.sections)
    text = (
        Text(f"{path}: thêm {count} mục{kept.vi}", f"{path}: {count} sections added{kept.en}")
        if count
        else Text(f"{path}: không có gì mới", f"{path}: nothing new")
    )
    typer.echo(text.say(language), err=json)
    if count:
        _say_logins([one for one in found if one.section in done.sections], language)


def _say_logins(found: Sequence[Finding], language: Language) -> None:
    """Name the logins that are wanted, on standard error: they are no part of what is written."""
    wanted = [one.credentials for one in sections_of(found) if one.credentials]
    if wanted:
        typer.echo(advice_on_logins(wanted).say(language), err=True)


def _progress(family: Family, text: Text, language: Language) -> None:
    typer.echo(f"{family.value}: {text.say(language)}", err=True)


def _network(text: str) -> IPv4Network:
    try:
        network = IPv4Network(text, strict=False)
    except ValueError as error:
        raise ConfigError(f"--network {text!r}: {error}; it is written as 192.168.1.0/24") from error
    if network.num_addresses > MOST_HOSTS:
        raise ConfigError(f"--network {text}: more than {MOST_HOSTS} hosts; name the part where the loudspeakers are")
    return network


def _stop(problem: str) -> typer.Exit:
    typer.echo(f"xom gateway discover: {problem}", err=True)
    return typer.Exit(_USAGE_ERROR)
