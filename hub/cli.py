"""`xom hub …`: serve, migrate, load the registry, print the key."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from codec.errors import ProfileError, WorkerError
from hub.api.serving import ServingError
from hub.assembly import assemble, database_of, embedded_data
from hub.broker import BrokerError
from hub.config import Config, load_config
from hub.crash import crash_points
from hub.redecode.devices import DevicesError
from hub.redecode.run import Order, Report, redecode
from hub.redecode.telling import (
    EARLIEST,
    LATEST,
    account,
    as_json,
    given_of,
    library_of,
    progress_to,
    summary,
)
from hub.registry.files import RegistryError, read_registry
from hub.store.clocks import UnsetBoot, list_unset
from hub.store.database import Database, StoreUnavailable, open_database
from hub.store.derivations import NotThere, RedecodeRunning, Scope
from hub.store.embedded import EmbeddedError, running_server
from hub.store.gaps import Accounted, Gaps, list_gaps
from hub.store.identity import begin_incarnation
from hub.store.migrate import MigrationError
from hub.store.migrate import migrate as bring_up
from hub.store.registry import load_registry
from wire.configuration import ConfigError
from wire.keys import KeyProblem, SigningKey
from wire.logs import write_logs

USAGE_ERROR = 2
_KNOWN = (
    ConfigError, KeyProblem, StoreUnavailable, EmbeddedError, MigrationError, RegistryError, BrokerError, ServingError,
    ProfileError, WorkerError, DevicesError, RedecodeRunning, NotThere, OSError,
)  # fmt: skip

T = TypeVar("T")

hub_app = typer.Typer(no_args_is_help=True, help="Serve the hub, migrate its database, load its registry.")
registry_app = typer.Typer(no_args_is_help=True, help="Administrative units, gateways and sources.")
hub_app.add_typer(registry_app, name="registry")

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; XOM_HUB_<SECTION>_<KEY> variables override it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]


@hub_app.command()
def serve(config: ConfigFile = None) -> None:
    """Take batches, store and acknowledge them, serve the API. Starts an embedded PostgreSQL when no DSN is given."""
    write_logs()
    _run(_serve(_read(config)))


async def _serve(config: Config) -> None:
    async with assemble(config) as hub:
        host, port = hub.broker
        typer.echo(f"hub: broker {host}:{port}, API {hub.address}/api/v1", err=True)
        running = asyncio.create_task(hub.run())
        for stop in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(stop, running.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await running


@hub_app.command()
def migrate(config: ConfigFile = None) -> None:
    """Bring the database to this version's schema; `serve` does so too. A running hub's embedded server is used."""
    _run(_migrate(_read(config)))
    typer.echo("the database has this version's schema")


async def _migrate(config: Config) -> None:
    beside = _running_server(config)
    if beside is not None:
        await bring_up(beside)
        return
    async with database_of(config):
        pass


@hub_app.command("begin-incarnation")
def begin(config: ConfigFile = None, json: AsJson = False) -> None:
    """Begin a new life of the hub by hand, after its database was restored from a backup.

    Gateways then send again whatever this database lacks and they still hold; nothing is freed, and repeating is
    harmless. `serve` does it by itself when it finds its database behind what it had announced (announced.json in
    hub.data). By hand it is needed where that file was restored along with the database. A running hub takes the new
    life up within half a minute; with the embedded database, stop it first. Recorded as an incident `restored`.
    """
    incarnation = _run(_begin(_read(config)))
    typer.echo(msgspec.json.encode({"incarnation": incarnation}).decode() if json else f"incarnation {incarnation}")


async def _begin(config: Config) -> int:
    async with _database(config) as database:
        return await begin_incarnation(database, datetime.now(UTC), "an operator asked for it")


@hub_app.command()
def gaps(
    config: ConfigFile = None,
    gateway: Annotated[str | None, typer.Option(help="Only this gateway's.")] = None,
    start: Annotated[str, typer.Option("--from", help="Begin of the period, ISO 8601; without offset UTC.")] = "",
    end: Annotated[str, typer.Option("--to", help="End of the period.")] = "",
    json: AsJson = False,
) -> None:
    """List what is not here, and why: batches missing, times unaccounted for, samples owed, what gateways declare lost.

    Missing batches have no time of their own and are listed whatever the period. With the embedded database stop the
    hub first, or ask /api/v1/gateways/ID/gaps.
    """
    ledgers = _run(_gaps(_read(config), gateway, _time("--from", start), _time("--to", end)))
    if json:
        typer.echo(msgspec.json.encode({"gateways": ledgers}).decode())
        return
    for ledger in ledgers:
        typer.echo("\n".join(_ledger_lines(ledger)))
    if not ledgers:
        typer.echo("no gateway has been heard")


async def _gaps(config: Config, gateway: str | None, start: datetime | None, end: datetime | None) -> list[Gaps]:
    async with _database(config) as database:
        return await list_gaps(database, gateway=gateway, start=start, end=end)


@hub_app.command()
def clocks(
    config: ConfigFile = None,
    gateway: Annotated[str | None, typer.Option(help="Only this gateway's.")] = None,
    json: AsJson = False,
) -> None:
    """List boots in which gateways sealed readings before their clock was set: times as written, and as corrected.

    The correction is derived from what the gateway told once its clock was set; the batch log keeps the original.
    """
    boots = _run(_clocks(_read(config), gateway))
    if json:
        typer.echo(msgspec.json.encode({"boots": boots}).decode())
        return
    for boot in boots:
        typer.echo("\n".join(_boot_lines(boot)))
    if not boots:
        typer.echo("no batch was sealed with an unset clock")


async def _clocks(config: Config, gateway: str | None) -> list[UnsetBoot]:
    async with _database(config) as database:
        return await list_unset(database, gateway)


def _boot_lines(boot: UnsetBoot) -> list[str]:
    waiting = f", {boot.undated} of them with times unknown" if boot.undated else ""
    lines = [f"{boot.gateway_id}, boot {boot.boot}: {boot.batches} batches{waiting}"]
    lines.append(f"  written    {boot.written_from:%Y-%m-%d %H:%M:%SZ} to {boot.written_to:%Y-%m-%d %H:%M:%SZ}")
    lines.append(f"  now        {boot.dated_from:%Y-%m-%d %H:%M:%SZ} to {boot.dated_to:%Y-%m-%d %H:%M:%SZ}")
    lines += [
        f"  clock set  {one.wall:%Y-%m-%d %H:%M:%SZ}, {one.monotonic_ms / 1000:.0f} s after the start, "
        f"told by batch {one.seq} of epoch {one.epoch}"
        for one in boot.settings
    ]
    return lines


def _time(option: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise _stop(ConfigError(f"{option} {text!r} is no time; write 2026-02-01T06:00+07:00")) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _ledger_lines(ledger: Gaps) -> list[str]:
    lines = [f"{ledger.gateway_id}: {ledger.received} of {ledger.expected} samples in {ledger.batches} batches"]
    lines += [f"  missed   {number:>8}  {reason}" for reason, number in ledger.missed.items()]
    lines += [f"  missing  batches {one.first} to {one.last} of epoch {one.epoch}" for one in ledger.missing]
    lines += [f"  silent   {one.start:%Y-%m-%d %H:%M:%SZ} to {one.end:%Y-%m-%d %H:%M:%SZ}" for one in ledger.silences]
    lines += [f"  account  {_account_line(one)}" for one in ledger.accounts]
    if ledger.accounts:
        lines.append(
            f"  lost     {ledger.lost_batches} batches, {ledger.uncertain_batches} more uncertain; "
            f"{ledger.lost_readings} readings or more"
        )
    return lines


def _account_line(one: Accounted) -> str:
    line = f"{one.told_at:%Y-%m-%d %H:%M:%SZ} {one.cause}{'' if one.certain else ', uncertain'}"
    readings = "an unknown number of" if one.readings is None else one.readings
    if one.first is None:
        return f"{line}: {readings} readings that no batch held"
    state = f"{one.missing} lost" if one.missing else "closed"
    late = f", {one.arrived} arrived all the same" if one.arrived else ""
    return f"{line}: batches {one.first} to {one.last} of epoch {one.epoch}, {readings} readings: {state}{late}"


@hub_app.command("redecode")
def derive_anew(
    start: Annotated[str, typer.Option("--from", help="Begin of the period, ISO 8601; without offset UTC.")],
    end: Annotated[str, typer.Option("--to", help="End of the period.")],
    config: ConfigFile = None,
    gateway: Annotated[str | None, typer.Option(help="Only this gateway's.")] = None,
    codec: Annotated[str | None, typer.Option(help="Only frames of this codec, VENDOR/CODEC.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="DEVEUI=PROFILE, where neither registry nor codec tells; repeatable.")
    ] = None,
    devices: Annotated[
        Path | None, typer.Option(help="A gateway's TOML file, or its devices.toml: profiles, intervals and maps.")
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="Folder with vendors/ and quantities/; the installed one when left out.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the record of it.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    json: AsJson = False,
) -> None:
    """Derive observations anew from the raw frames of a period, with a corrected codec or quantities file.

    The period chooses batches by their windows. The batch log never changes; what is replaced can be listed. The hub
    may run meanwhile, and doing it again is harmless. Exit code 1: some devices were left, because nobody knows their
    profile, or some frames, because the codec met its limits on them.
    """
    settings = _read(config)
    try:
        profiles = library_of(library)
        order = Order(
            scope=Scope(
                start=_time("--from", start) or EARLIEST,
                end=_time("--to", end) or LATEST,
                gateway=gateway,
                codec=codec,
            ),
            library=profiles,
            given=given_of(device or [], devices, profiles),
            operator=account(),
            reason=reason,
            version=version("xom"),
            dry_run=dry_run,
        )
    except _KNOWN as error:
        raise _stop(error) from error
    report = _run(_derive_anew(settings, order))
    typer.echo(as_json(report, order) if json else "\n".join(summary(report, order)))
    if report.left or report.counts.undecided:
        raise typer.Exit(1)


async def _derive_anew(config: Config, order: Order) -> Report:
    async with _database(config) as database:
        return await redecode(database, order, tell=progress_to(sys.stderr), reach=crash_points())


@hub_app.command()
def key(config: ConfigFile = None, json: AsJson = False) -> None:
    """Print the public key that gateways must know; makes the key when there is none."""
    settings = _read(config)
    try:
        public = SigningKey.read_or_make(settings.hub.key_path, settings.hub.algorithm).public
    except _KNOWN as error:
        raise _stop(error) from error
    if json:
        fields = {"algorithm": public.algorithm, "public_key": public.encoded.hex(), "keyid": public.keyid}
        typer.echo(msgspec.json.encode(fields).decode())
        return
    typer.echo(f'[hub]\npublic_key = "{public.encoded.hex()}"\nalgorithm = "{public.algorithm}"')


@registry_app.command("load")
def load(
    file: Annotated[Path, typer.Argument(help="TOML file; samples/registry.toml explains it.")],
    config: ConfigFile = None,
    json: AsJson = False,
) -> None:
    """Take administrative units, gateways with their keys, and sources into the database. Repeating is harmless."""
    changed = _run(_load(_read(config), file))
    if json:
        typer.echo(msgspec.json.encode(changed).decode())
        return
    typer.echo(", ".join(f"{number} {name}" for name, number in changed.items()) + " changed")


async def _load(config: Config, file: Path) -> dict[str, int]:
    registry = read_registry(file)
    async with _database(config) as database:
        return await load_registry(database, registry)


@asynccontextmanager
async def _database(config: Config) -> AsyncIterator[Database]:
    """Open the database, beside a running hub where there is one."""
    beside = _running_server(config)
    async with AsyncExitStack() as stack:
        dsn = beside if beside is not None else await stack.enter_async_context(database_of(config))
        yield await stack.enter_async_context(open_database(dsn))


def _running_server(config: Config) -> str | None:
    return None if config.database.dsn else running_server(embedded_data(config))


def _read(path: Path | None) -> Config:
    try:
        return load_config(path)
    except ConfigError as error:
        raise _stop(error) from error


def _run(work: Coroutine[None, None, T]) -> T:
    try:
        return asyncio.run(work)
    except _KNOWN as error:
        raise _stop(error) from error


def _stop(problem: BaseException) -> typer.Exit:
    typer.echo(f"xom hub: {problem}", err=True)
    return typer.Exit(USAGE_ERROR)
