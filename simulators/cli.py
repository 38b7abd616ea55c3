"""The command line of the simulators, `xom sim commune|run|events|flood`: the only clock in this room."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Final

import aiomqtt
import typer

from simulators import publisher
from simulators.commune import Commune, build_commune
from simulators.faults import Faults
from simulators.simulation import Published, Simulation, events

sim_app = typer.Typer(
    name="sim",
    help="Simulated commune: devices, radio, ChirpStack events. No hardware needed.",
    no_args_is_help=True,
)

START_MS: Final = 1_740_268_800_000  # 2025-02-23T00:00Z, the day of the salinity bulletin in domain.md 2.4
_HOUR_MS: Final = 3_600_000
_TICK_S: Final = 0.5
_FLOOD_STEP_MS: Final = 600_000
_FLOOD_CHUNK: Final = 2_000

Seed = Annotated[int, typer.Option(help="Same seed, same commune, same bytes.")]
Gateways = Annotated[int, typer.Option(min=1, max=99, help="Number of gateways.")]
PerHamlet = Annotated[int, typer.Option(min=1, max=999, help="Devices in each hamlet.")]
Loss = Annotated[float, typer.Option(min=0.0, max=1.0, help="Probability that a frame is lost on air.")]
Duplicate = Annotated[float, typer.Option(min=0.0, max=1.0, help="Probability that an event comes twice.")]
Late = Annotated[float, typer.Option(min=0.0, max=1.0, help="Probability that a frame comes late.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON instead of text.")]
Broker = Annotated[str, typer.Option(help="HOST:PORT of the gateway's MQTT broker.")]
OneGateway = Annotated[str | None, typer.Option(help="Only the devices of this gateway, such as gw-sim-1.")]
Protobuf = Annotated[bool, typer.Option(help="Payloads in protobuf, as ChirpStack with json=false.")]


@sim_app.command()
def commune(seed: Seed = 1, gateways: Gateways = 2, devices_per_hamlet: PerHamlet = 6, as_json: AsJson = False) -> None:
    """Print the simulated commune: units, gateways, devices, positions."""
    built = _built(seed, gateways, devices_per_hamlet)
    typer.echo(json.dumps(describe(built), ensure_ascii=False, indent=2) if as_json else "\n".join(table(built)))


@sim_app.command()
def api(
    port: Annotated[int, typer.Option(help="On loopback.")] = 8080,
    token: Annotated[str, typer.Option(help="The API key to accept.")] = "try",  # noqa: S107 - a stand-in's
    seconds: Annotated[float, typer.Option(min=1.0, help="Then stop.")] = 3600.0,
) -> None:
    """Stand in for ChirpStack's API in memory, to try `xom gateway provision` without a network server."""
    from simulators.chirpstack_api import Network, serving

    network = Network(token=token)
    with contextlib.suppress(KeyboardInterrupt), serving(network, port) as bound:
        typer.echo(f"ChirpStack's API, simulated: 127.0.0.1:{bound}, API key {token!r}. Ctrl-C ends it.")
        time.sleep(seconds)
    typer.echo(f"{len(network.devices)} devices, {len(network.profiles)} device profiles, {len(network.calls)} calls")


@sim_app.command("events")
def print_events(
    hours: Annotated[float, typer.Option(min=0.0, max=24 * 366, help="Simulated hours.")] = 1.0,
    seed: Seed = 1,
    gateways: Gateways = 2,
    devices_per_hamlet: PerHamlet = 6,
    start_ms: Annotated[int, typer.Option(help="First instant, ms UTC.")] = START_MS,
    loss: Loss = 0.0,
    duplicate: Duplicate = 0.0,
    late: Late = 0.0,
    protobuf: Protobuf = False,
    as_json: AsJson = False,
) -> None:
    """Print events without a broker; with --json one object a line, protobuf payloads in base64."""
    faults = Faults(loss=loss, duplicate=duplicate, late=late)
    built = _built(seed, gateways, devices_per_hamlet)
    for published in events(built, faults, start_ms, start_ms + round(hours * _HOUR_MS)):
        typer.echo(json_line(published, protobuf=protobuf) if as_json else text_line(published))


@sim_app.command()
def run(
    broker: Broker,
    gateway: OneGateway = None,
    seed: Seed = 1,
    gateways: Gateways = 2,
    devices_per_hamlet: PerHamlet = 6,
    speed: Annotated[float, typer.Option(min=0.001, help="Simulated seconds in a real second.")] = 1.0,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Mean uplinks a second; chooses the speed that gives it.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="Stop after so many real seconds; 0 never.")] = 0.0,
    water_raised_m: Annotated[float, typer.Option(help="Raise the river by so many metres: a flood.")] = 0.0,
    loss: Loss = 0.0,
    duplicate: Duplicate = 0.0,
    late: Late = 0.0,
    no_sensor: Annotated[float, typer.Option(min=0.0, max=1.0, help="LDDS75: share of 'no sensor'.")] = 0.0,
    stuck: Annotated[float, typer.Option(min=0.0, max=1.0, help="Probability that a sensor sticks.")] = 0.0,
    low_battery: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of empty batteries.")] = 0.0,
    protobuf: Protobuf = False,
) -> None:
    """Live: simulated time follows the wall clock from now on; Ctrl-C stops."""
    faults = Faults(
        loss=loss, duplicate=duplicate, late=late, no_sensor=no_sensor, stuck=stuck, low_battery=low_battery
    )
    built = _built(seed, gateways, devices_per_hamlet)
    simulation = Simulation(
        built,
        faults,
        time.time_ns() // 1_000_000,
        gateways=_chosen(built, gateway),
        water_raised_m=water_raised_m,
    )
    pace = speed if rate is None else speed_for(built, rate, gateway)
    _with_broker(broker, seed, lambda client: _follow_clock(client, simulation, pace, seconds, protobuf=protobuf))


@sim_app.command()
def flood(
    broker: Broker,
    count: Annotated[int, typer.Option(min=1, max=10_000_000, help="Events to publish, then stop.")] = 10_000,
    rate: Annotated[float, typer.Option(min=0.0, help="Events a second; 0 as fast as the broker acknowledges.")] = 0.0,
    gateway: OneGateway = None,
    seed: Seed = 1,
    gateways: Gateways = 2,
    devices_per_hamlet: PerHamlet = 6,
    protobuf: Protobuf = False,
    as_json: AsJson = False,
) -> None:
    """Publish a bounded number of events as fast as asked; simulated time runs as it must."""
    built = _built(seed, gateways, devices_per_hamlet)
    simulation = Simulation(built, Faults(), START_MS, gateways=_chosen(built, gateway))
    began = time.monotonic()
    _with_broker(broker, seed, lambda client: _pour(client, simulation, count, rate, protobuf=protobuf))
    took = max(time.monotonic() - began, 1e-9)
    summary = {"published": count, "seconds": round(took, 3), "events_per_s": round(count / took, 1)}
    typer.echo(json.dumps(summary) if as_json else f"{count} events in {took:.1f} s, {count / took:.0f}/s")


def describe(built: Commune) -> dict[str, object]:
    """The commune as JSON-ready values."""
    return {
        "seed": built.seed,
        "simulated": True,
        "units": [{"code": u.code, "kind": u.kind, "name": u.name, "parent": u.parent} for u in built.units],
        "gateways": [
            {"id": g.gateway_id, "applicationId": g.application_id, "hamlets": list(g.hamlets)} for g in built.gateways
        ],
        "devices": [
            {
                "devEui": d.dev_eui,
                "name": d.name,
                "gateway": g.gateway_id,
                "hamlet": d.hamlet,
                "model": d.model,
                "intervalS": d.interval_s,
                "latitude": d.position.latitude,
                "longitude": d.position.longitude,
                "mountM": d.mount_m,
            }
            for g, d in built.devices()
        ],
    }


def table(built: Commune) -> Iterator[str]:
    """The commune as lines of text."""
    yield f"{built.units[1].name} (simulated, seed {built.seed})"
    yield f"{'gateway':<10} {'hamlet':<14} {'dev_eui':<17} {'model':<22} {'name':<16} position"
    for gateway, device in built.devices():
        place = f"{device.position.latitude:.5f},{device.position.longitude:.5f}"
        yield (
            f"{gateway.gateway_id:<10} {device.hamlet:<14} {device.dev_eui:<17} "
            f"{device.model:<22} {device.name:<16} {place}"
        )


def json_line(published: Published, *, protobuf: bool) -> str:
    """One event as a line of JSON; `payload` is the object itself, or base64 of the protobuf."""
    raw = published.payload(protobuf=protobuf)
    line = {
        "publishAtMs": published.publish_at_ms,
        "gateway": published.gateway,
        "topic": published.topic,
        "repeated": published.repeated,
        "payload": base64.b64encode(raw).decode() if protobuf else json.loads(raw),
    }
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def text_line(published: Published) -> str:
    """One event as a line for people."""
    truth = published.truth
    values = "" if truth is None else " ".join(f"{name}={value:g}" for name, value in truth.quantities.items())
    faults = "" if truth is None else " ".join(sorted(truth.encoded.faults))
    event = published.event
    head = f"{published.publish_at_ms} {published.gateway} {event.event:<6} {event.device.device_name:<16}"
    return f"{head} {values} {faults}".rstrip()


def speed_for(built: Commune, rate: float, gateway: str | None) -> float:
    """Simulated seconds per real second that make the commune (or one gateway) send `rate` a second."""
    natural = sum(1.0 / device.interval_s for owner, device in built.devices() if gateway in (None, owner.gateway_id))
    return rate / natural


def parse_broker(text: str) -> tuple[str, int]:
    """Split HOST:PORT; raises typer.BadParameter, which names the form."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _built(seed: int, gateways: int, devices_per_hamlet: int) -> Commune:
    return build_commune(seed, gateways, devices_per_hamlet, hamlets=max(6, gateways))


def _chosen(built: Commune, gateway: str | None) -> frozenset[str] | None:
    if gateway is None:
        return None
    try:
        return frozenset({built.gateway(gateway).gateway_id})
    except KeyError:
        known = ", ".join(one.gateway_id for one in built.gateways)
        raise typer.BadParameter(f"no gateway {gateway!r} here; there are {known}") from None


def _with_broker(broker: str, seed: int, work: Callable[[aiomqtt.Client], Awaitable[None]]) -> None:
    """Connect, work, disconnect. A lost or refusing broker ends the command with exit code 1 and the cause."""
    host, port = parse_broker(broker)

    async def connected() -> None:
        async with publisher.connect(host, port, client_id=f"xom-sim-{seed}-{time.time_ns() % 1_000_000}") as client:
            await work(client)

    try:
        asyncio.run(connected())
    except aiomqtt.MqttError as error:
        typer.echo(f"broker {broker}: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)


async def _follow_clock(
    client: aiomqtt.Client, simulation: Simulation, speed: float, seconds: float, *, protobuf: bool
) -> None:
    """Publish as simulated time passes; monotonic time drives it, so a clock step does not."""
    start_ms, began = simulation.now_ms, time.monotonic()
    for _ in itertools.count():
        elapsed = time.monotonic() - began
        await publisher.publish(client, simulation.advance(start_ms + round(elapsed * speed * 1000)), protobuf=protobuf)
        simulation.take_oracle()  # nobody asks for it here; memory stays flat
        if seconds and elapsed >= seconds:
            return
        await asyncio.sleep(_TICK_S)


async def _pour(client: aiomqtt.Client, simulation: Simulation, count: int, rate: float, *, protobuf: bool) -> None:
    """Publish exactly `count` events, never ahead of `rate`."""
    began, sent = time.monotonic(), 0
    for window in _windows(simulation, count, publisher.WINDOW if rate else _FLOOD_CHUNK):
        if rate:
            await asyncio.sleep(max(0.0, sent / rate - (time.monotonic() - began)))
        sent += await publisher.publish(client, window, protobuf=protobuf)


def _windows(simulation: Simulation, count: int, size: int) -> Iterator[list[Published]]:
    """Events in lists of `size`, `count` in all."""
    flow = itertools.islice(_endless(simulation), count)
    while window := list(itertools.islice(flow, size)):
        yield window


def _endless(simulation: Simulation) -> Iterator[Published]:
    while True:
        yield from simulation.advance(simulation.now_ms + _FLOOD_STEP_MS)
        simulation.take_oracle()
