"""`xom demo`: the whole system on this machine, live with a table, or simulated days as fast as the real path goes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import structlog
import typer

from gateway.config import Sealing
from hub.broker import BrokerError
from hub.config import Config, DatabaseSection, Http, Identity, Mqtt
from hub.store.database import StoreUnavailable
from hub.store.embedded import EmbeddedError
from simulators import publisher
from simulators.faults import Faults
from xom.demo import DAY_MS, FIELD, START_MS, STEP_MS, Demo, DemoError, Summary, start
from xom.infrastructure import Rhythm
from xom.live import show

USAGE_ERROR, LOST = 2, 1

demo_app = typer.Typer(help="The whole system on this machine: broker, database, hub, gateways, a simulated commune.")


@demo_app.callback(invoke_without_command=True)
def demo(
    days: Annotated[float, typer.Option(min=0.01, max=400, help="Simulated days, with --once.")] = 1.0,
    once: Annotated[bool, typer.Option(help="Run the days as fast as the real path goes, audit, stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: one JSON object on standard output.")] = False,
    speed: Annotated[float, typer.Option(min=1, max=3600, help="Live: simulated seconds in a real one.")] = 60.0,
    seconds: Annotated[float, typer.Option(min=0, help="Live: stop after so many real seconds; 0: at Ctrl-C.")] = 0.0,
    gateways: Annotated[int, typer.Option(min=1, max=6, help="Number of gateways.")] = 2,
    seed: Annotated[int, typer.Option(help="Same seed, same commune, same events.")] = 1,
    data: Annotated[Path | None, typer.Option(help="Keep state here; default: a folder that goes at the end.")] = None,
    dsn: Annotated[str, typer.Option(help="A PostgreSQL to use instead of the embedded one.")] = "",
    broker: Annotated[str, typer.Option(help="HOST:PORT of an MQTT 5 broker to use instead of the embedded one.")] = "",
    port: Annotated[int, typer.Option(help="Where the API listens; 0 takes a free port.")] = 0,
    faults: Annotated[
        bool, typer.Option(help="Lose, repeat and delay frames, break sensors, as the field does.")
    ] = True,
) -> None:
    """Run the line from sensor to hub and show what arrives."""
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(40),
    )
    plan = Plan(
        days=days, once=once, as_json=as_json, speed=speed, seconds=seconds, gateways=gateways, seed=seed, data=data,
        dsn=dsn, broker=broker, port=port, faults=FIELD if faults else Faults(),
    )  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix="xom-demo-") as folder:
            Path(folder).chmod(0o755)  # PostgreSQL's own account passes through to its data, which only it may read
            clean = asyncio.run(run(plan, plan.data or Path(folder)))
    except (DemoError, EmbeddedError, BrokerError, StoreUnavailable) as error:
        typer.echo(f"xom demo: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from error
    except KeyboardInterrupt:
        clean = True
    if not clean:
        raise typer.Exit(LOST)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    days: float
    once: bool
    as_json: bool
    speed: float
    seconds: float
    gateways: int
    seed: int
    data: Path | None
    dsn: str
    broker: str
    port: int
    faults: Faults


async def run(plan: Plan, data: Path) -> bool:
    """Run the plan; returns whether everything arrived once."""
    async with _started(plan, data) as (demo, client):
        if plan.once:
            return await _accelerated(plan, demo, client)
        await _live(plan, demo, client)
        return True


@asynccontextmanager
async def _started(plan: Plan, data: Path) -> AsyncIterator[tuple[Demo, publisher.PublishClient]]:
    hub = Config(
        hub=Identity(data=data / "hub"),
        database=DatabaseSection(dsn=plan.dsn),
        mqtt=_mqtt(plan.broker),
        http=Http(port=plan.port),
    )
    sealing = Sealing() if plan.once else Sealing(every_s=10.0, idle_s=60.0)
    settings = {"seed": plan.seed, "gateways": plan.gateways}
    async with (
        start(
            hub,
            data=data,
            start_ms=START_MS,
            faults=plan.faults,
            sealing=sealing,
            rhythm=_rhythm(plan),
            waits_for_probes=plan.once,
            **settings,
        ) as demo,
        publisher.connect(*demo.broker, client_id="xom-demo") as client,
    ):
        yield demo, client


def _rhythm(plan: Plan) -> Rhythm:
    """Simulated days need no picture each quarter of an hour; live, a run costs real time however fast the clock is."""
    if plan.once:
        return Rhythm(every_s=3600.0, camera_s=3600.0, picture=False)
    return Rhythm(every_s=max(300.0, 5.0 * plan.speed), camera_s=max(900.0, 20.0 * plan.speed))


def _mqtt(address: str) -> Mqtt:
    if not address:
        return Mqtt(embedded=True, port=0)
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise DemoError(f"--broker {address!r} is not HOST:PORT")
    return Mqtt(host=host, port=int(port))


async def _accelerated(plan: Plan, demo: Demo, client: publisher.PublishClient) -> bool:
    """Pass the days minute by minute, audit, print the summary."""
    end_ms, began = START_MS + int(plan.days * DAY_MS), time.monotonic()
    for step, until_ms in enumerate(range(START_MS + STEP_MS, end_ms + 1, STEP_MS), start=1):
        await demo.step(client, until_ms)
        if step % 60 == 0 and sys.stderr.isatty():
            hours = (until_ms - START_MS) / 3_600_000
            typer.echo(f"\r{hours:6.1f} of {plan.days * 24:.0f} simulated hours", nl=False, err=True)
    await demo.finish(client)
    summary = await demo.summary(days=plan.days, seconds=time.monotonic() - began)
    _print(summary, as_json=plan.as_json)
    return summary.is_clean


def _print(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(summary).decode())
        return
    typer.echo("")
    for name, value in msgspec.structs.asdict(summary).items():
        typer.echo(f"{name:<16} {'not built yet' if value is None else value}")


async def _live(plan: Plan, demo: Demo, client: publisher.PublishClient) -> None:
    """Let simulated time follow the wall clock, and show a table, until Ctrl-C or the time asked for."""
    asking = asyncio.current_task()
    if asking is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, asking.cancel)
    table = asyncio.create_task(show(demo))
    began, limit = time.monotonic(), plan.seconds or float("inf")
    try:
        while (elapsed := time.monotonic() - began) < limit and not table.done():
            await demo.step(client, START_MS + int(elapsed * plan.speed * 1000))
            await asyncio.sleep(0.25)
    except asyncio.CancelledError:
        typer.echo("\nstopping", err=True)
    finally:
        table.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await table
