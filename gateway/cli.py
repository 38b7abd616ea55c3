"""`xom gateway …`: run the gateway, look at it and at its spool."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import apsw
import msgspec
import typer

from gateway.assembly import key_path, spool_path
from gateway.config import Config, read
from gateway.discover.cli import discover_command
from gateway.doctor.cli import doctor_command
from gateway.provision.cli import provision_command
from gateway.sources.chirpstack_events import MALFORMED
from gateway.spool.sqlite import Damaged, SpoolError
from gateway.spool.store import SpoolFile
from gateway.spool.views import Depth, Heard, Position
from gateway.status import Running, StatusFile
from wire.batch import Gap
from wire.configuration import ConfigError
from wire.keys import KeyProblem, SigningKey
from wire.reading import Undecoded

USAGE_ERROR = 2
_STALE_S = 30.0
_MOST_GAPS = 20

gateway_app = typer.Typer(no_args_is_help=True, help="Run this hamlet's gateway, look at it and at its spool.")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; XOM_GATEWAY_<SECTION>_<KEY> variables override it."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `status` shows."""

    gateway: str
    epoch: str
    running: Running | None
    alive: bool
    sealed: int
    through: int
    spool: Depth
    sources: list[Heard]
    unknown_devices: list[Heard]


@gateway_app.command()
def run(config: ConfigFile = None) -> None:
    """Run until SIGTERM. Starts collecting before it has reached the hub."""
    arguments = [sys.executable, "-m", "gateway"]
    if config is not None:
        arguments += ["--config", str(config)]
    # The daemon replaces this process, so that it does not carry a command-line framework in its memory.
    os.execv(sys.executable, arguments)  # noqa: S606 - no shell, fixed arguments


@gateway_app.command()
def status(config: ConfigFile = None, json: AsJson = False) -> None:
    """Show what the gateway hears, keeps and delivers, and which devices nobody has named."""
    settings, file = _look(config)
    view = _view(settings, file)
    if json:
        _print_json(view)
        return
    _print_status(view)


@gateway_app.command()
def spool(config: ConfigFile = None, json: AsJson = False) -> None:
    """Show how full the spool is: unsealed readings, batches that the hub has not confirmed, disk use."""
    settings, file = _look(config)
    depth, position, gaps = file.depth(), file.position(), file.gaps()
    if json:
        about = {"gateway": settings.gateway.id, "position": _position(position), "depth": depth}
        _print_json(about | {"gaps": gaps, "older_epochs": file.older()})
        return
    oldest = "" if depth.oldest_unsent_ms is None else f", oldest sealed {_when(depth.oldest_unsent_ms)}"
    typer.echo(f"spool of {settings.gateway.id}, epoch {position.epoch}: {spool_path(settings)}")
    typer.echo(f"  unsealed readings      {depth.unsealed}")
    typer.echo(f"  unconfirmed batches    {depth.unconfirmed} ({depth.unconfirmed_readings} readings){oldest}")
    typer.echo(f"  kept after confirming  {depth.kept}")
    typer.echo(f"  sealed / confirmed     {position.last_seq} / {position.through}")
    limit = f"{depth.bytes_used / 1e6:.1f} MB used of {settings.spool.megabytes} MB"
    typer.echo(f"  on disk                {depth.bytes_on_disk / 1e6:.1f} MB, {limit}")
    for one in file.older():
        typer.echo(f"  older epoch {one.epoch}  up to {one.last_seq}, hub confirmed {one.through}")
    for gap in gaps[-_MOST_GAPS:]:
        typer.echo(f"  gap: {_gap(gap)}")
    if len(gaps) > _MOST_GAPS:
        typer.echo(f"  and {len(gaps) - _MOST_GAPS} earlier gaps; --json shows all")


gateway_app.command("provision")(provision_command)
gateway_app.command("doctor")(doctor_command)
gateway_app.command("discover")(discover_command)


@gateway_app.command()
def key(config: ConfigFile = None, json: AsJson = False) -> None:
    """Print the public key that the hub's registry must hold for this gateway; makes the key when there is none."""
    settings = _read(config)
    try:
        public = SigningKey.read_or_make(key_path(settings), settings.gateway.algorithm).public
    except (KeyProblem, OSError) as error:
        raise _stop(str(error)) from error
    if json:
        fields = {"gateway": settings.gateway.id, "algorithm": public.algorithm, "public_key": public.encoded.hex()}
        _print_json(fields | {"keyid": public.keyid})
        return
    typer.echo(f'[[gateway]]\nid = "{settings.gateway.id}"\nalgorithm = "{public.algorithm}"')
    typer.echo(f'public_key = "{public.encoded.hex()}"\nenrolled_at = {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}')


def _gap(gap: Gap) -> str:
    """Say what is missing, on one line."""
    what = f"batches {gap.first} to {gap.last} of epoch {gap.epoch}" if gap.first else f"of epoch {gap.epoch}"
    count = "" if gap.readings is None else f", {gap.readings} readings"
    return f"{gap.cause}{'' if gap.certain else ' (possibly)'}: {what}{count}"


def _read(path: Path | None) -> Config:
    try:
        return read(path)
    except ConfigError as error:
        raise _stop(str(error)) from error


def _look(path: Path | None) -> tuple[Config, SpoolFile]:
    """Open the spool beside a running gateway."""
    settings = _read(path)
    try:
        file = SpoolFile(spool_path(settings), settings.gateway.id, SigningKey.read(key_path(settings)))
        file.open_to_read()
        file.position()  # SQLite opens anything; only reading tells whether it is a spool
    except (SpoolError, KeyProblem) as error:
        raise _stop(str(error)) from error
    except (apsw.Error, Damaged) as error:
        problem = f"{spool_path(settings)} cannot be read ({error}); the gateway saves what it can at its next start"
        raise _stop(problem) from error
    return settings, file


def _stop(problem: str) -> typer.Exit:
    typer.echo(f"xom gateway: {problem}", err=True)
    return typer.Exit(USAGE_ERROR)


def _view(settings: Config, file: SpoolFile) -> View:
    running = StatusFile(settings.gateway.data / "status.json").read()
    position, heard = file.position(), file.heard()
    unknown = [one for one in heard if one.last_reason == Undecoded.UNKNOWN_DEVICE and one.source != MALFORMED]
    return View(
        gateway=settings.gateway.id,
        epoch=position.epoch,
        running=running,
        alive=running is not None and time.time() * 1000 - running.at_ms < _STALE_S * 1000,
        sealed=position.last_seq,
        through=position.through,
        spool=file.depth(),
        sources=heard,
        unknown_devices=unknown,
    )


def _print_status(view: View) -> None:
    state = (
        "running"
        if view.alive
        else "not running"
        if view.running is None
        else "not running since " + _when(view.running.at_ms)
    )
    typer.echo(f"gateway {view.gateway}: {state}; sealed {view.sealed}, hub confirmed {view.through}")
    if view.running is not None:
        typer.echo(f"  hub         {view.running.hub:<24} {view.running.hub_problem or 'ok'}")
        typer.echo(f"  chirpstack  {view.running.chirpstack:<24} {view.running.chirpstack_problem or 'ok'}")
        typer.echo(
            f"  events {view.running.events}, malformed {view.running.malformed}, decoded {view.running.decoded},"
            f" undecoded {view.running.undecoded}, repeated {view.running.repeated}"
        )
    if view.running is not None and view.running.spool_problem:
        typer.echo(f"  READINGS ARE NOT KEPT: {view.running.spool_problem}; ChirpStack's broker holds them meanwhile")
    if view.running is not None and view.running.card_refusals:
        last = view.running.last_card_refusal
        typer.echo(f"  card: refused {view.running.card_refusals} times since the start, last: {last}")
    for codec in view.running.codecs_disabled if view.running is not None else ():
        typer.echo(
            f"  CODEC DISABLED: {codec} kept meeting its limits; its frames are kept undecoded, and it is tried again"
        )
    typer.echo(f"  spool: {view.spool.unsealed} unsealed, {view.spool.unconfirmed} batches unconfirmed")
    for one in view.sources:
        note = f"   {one.undecoded} not decoded, last: {one.last_reason}" if one.undecoded else ""
        typer.echo(f"  {one.source:<28} {one.frames:>8} frames, last {_when(one.last_at_ms)}{note}")
    for one in view.unknown_devices:
        typer.echo(f"unknown device {one.source}: {one.undecoded} frames kept raw; name it in a [[device]] table")


def _position(position: Position) -> dict[str, Any]:
    return {name: getattr(position, name) for name in ("epoch", "last_seq", "through", "incarnation")}


def _print_json(value: object) -> None:
    typer.echo(msgspec.json.encode(value, enc_hook=str).decode())


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
