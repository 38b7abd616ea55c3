"""A simulated commune's whole line, each part of which a test may stop and start.

sensors ─▶ ChirpStack's broker ─▶ gateways ─▶ the hub's broker ─▶ hub: everything real but the water.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from gateway.assembly import Gateway
from gateway.assembly import assemble as assemble_gateway
from gateway.clock import SteppedClock
from gateway.config import Config as GatewayConfig
from gateway.config import Sealing
from hub.assembly import Hub
from hub.assembly import assemble as assemble_hub
from hub.config import Config, DatabaseSection, Http, Identity, Mqtt
from simulators import publisher
from simulators.commune import Commune, build_commune
from simulators.faults import Faults
from simulators.oracle import UplinkTruth
from simulators.simulation import Published, Simulation
from tests.hub.ingest.running import until
from tests.real_mosquitto import Mosquitto
from wire.batch import Batch, parse_payload
from wire.dsse import Envelope
from wire.identity import DevEui, GatewayId
from wire.keys import SigningKey
from xom.audit import Audit, audit
from xom.infrastructure import Infrastructure
from xom.village import gateway_config, registry_toml

START_MS = 1_791_072_000_000  # 2026-10-04T00:00Z
MINUTE_MS = 60_000
SEED, HAMLETS = 7, 3  # three hamlets show every model


class Runs(Protocol):
    """What an assembly yields."""

    async def run(self) -> None:
        """Run until cancelled."""


T = TypeVar("T", bound=Runs)


class Part(Generic[T]):
    """One side of the line: assembled at `start`, gone at `stop`, any number of times."""

    def __init__(self, assemble: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._assemble = assemble
        self._running: asyncio.Task[None] | None = None
        self.opened: T | None = None

    @property
    def part(self) -> T:
        """The running part."""
        assert self._running is not None
        if self._running.done():
            self._running.result()  # raises what ended it
        assert self.opened is not None
        return self.opened

    async def start(self) -> T:
        """Start it; raises what keeps it from starting."""
        ready: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(ready))
        either: list[asyncio.Future[Any]] = [ready, self._running]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return self.part

    async def _run(self, ready: asyncio.Future[T]) -> None:
        async with self._assemble() as self.opened:
            ready.set_result(self.opened)
            await self.opened.run()

    async def stop(self) -> None:
        """Stop it, as SIGTERM does."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            self._running = self.opened = None


@dataclass(kw_only=True)
class Village:
    """The line, and the truth that it is compared with."""

    commune: Commune
    simulation: Simulation
    clock: SteppedClock
    sensors: Mosquitto
    hub: Part[Hub]
    gateways: dict[GatewayId, Part[Gateway]]
    protobuf: bool
    truths: list[UplinkTruth] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)

    async def start_hub(self) -> Hub:
        """Start the hub with the commune's registry."""
        return await self.hub.start()

    async def start_gateways(self) -> None:
        """Start all gateways and wait until they hear their sensors."""
        for gateway in self.gateways.values():
            await gateway.start()
        await until(self._hear, "the gateways hear their sensors")

    async def stop(self) -> None:
        """Stop everything, gateways first."""
        for gateway in self.gateways.values():
            await gateway.stop()
        await self.hub.stop()

    async def pass_minutes(self, minutes: int) -> None:
        """Let the world go on, minute by minute, each one's events durable in the spools before the next."""
        for _ in range(minutes):
            now_ms = self.simulation.now_ms + MINUTE_MS
            self.clock.advance(now_ms)
            await self.publish(self.simulation.advance(now_ms))
            await self.kept()

    async def publish(self, events: Iterable[Published]) -> None:
        """Hand events to ChirpStack's broker."""
        oracle = self.simulation.take_oracle()
        self.truths += [truth for one in oracle.gateways.values() for truth in one.published]
        events = list(events)
        self.published += events
        async with publisher.connect("127.0.0.1", self.sensors.port, client_id="chirpstack") as client:
            await publisher.publish(client, events, protobuf=self.protobuf)

    async def kept(self) -> None:
        """Wait until every event is in a spool, by its own source's tally."""
        expected = {
            name: len({_event_of(one) for one in self.published if one.gateway == name}) for name in self.gateways
        }

        async def all_kept() -> bool:
            return {
                name: sum(source.frames for source in await gateway.part.spool.heard() if source.source in self._known)
                for name, gateway in self.gateways.items()
            } == expected

        await until(all_kept, "every event is in a spool")

    @property
    def _known(self) -> set[str]:
        return {str(device.dev_eui.source) for _, device in self.commune.devices()}

    async def finish(self) -> None:
        """Bring in what is late, seal everything, wait until the hub has confirmed it."""
        late = self.simulation.drain()
        self.clock.advance(max([one.publish_at_ms for one in late], default=self.simulation.now_ms))
        await self.publish(late)
        await self.kept()
        for gateway in self.gateways.values():
            await gateway.part.sealer.seal_all(self.clock.now())
            assert gateway.part.spool.unsealed == 0
        await self.confirmed()

    async def confirmed(self) -> None:
        """Wait until the hub has confirmed everything that is sealed."""
        await until(
            lambda: all(_is_confirmed(gateway.part) for gateway in self.gateways.values()), "the hub has confirmed"
        )

    async def batches(self) -> list[Batch]:
        """The hub's batch log."""
        return [parse_payload(Envelope.decode(one).payload) async for one in self.hub.part.envelopes()]

    async def audit(self) -> Audit:
        """Compare the hub's batch log with the truth."""
        return audit(self.truths, await self.batches())

    def _hear(self) -> bool:
        sources = [gateway.part.source for gateway in self.gateways.values()]
        return all(source is not None and source.link.connected for source in sources)


def _event_of(one: Published) -> bytes:
    """What a repeated event shares with the first."""
    return one.topic.encode() + one.payload()


def _is_confirmed(gateway: Gateway) -> bool:
    window = gateway.delivery.window
    return window.through == window.highest


@asynccontextmanager
async def _with_registry(config: Config, registry: Path) -> AsyncIterator[Hub]:
    """A hub that knows its gateways before it hears the first of them."""
    async with assemble_hub(config) as hub:
        await hub.load_registry(registry)
        yield hub


@asynccontextmanager
async def village_line(
    home: Path,
    *,
    dsn: str,
    broker: Mosquitto,
    faults: Faults | None = None,
    protobuf: bool = False,
    gateways: int = 1,
    unnamed: frozenset[DevEui] = frozenset(),
) -> AsyncIterator[Village]:
    """Lay everything out, start nothing but ChirpStack's broker. Devices in `unnamed` stand in no configuration."""
    (home / "sensors").mkdir()
    sensors = Mosquitto(home / "sensors")
    sensors.start()
    commune, clock = build_commune(SEED, gateways, hamlets=HAMLETS), SteppedClock(START_MS)
    hub_config = Config(
        hub=Identity(data=home / "hub"),
        database=DatabaseSection(dsn=dsn, pool=6),
        mqtt=Mqtt(port=broker.port),
        http=Http(port=0),
    )
    hub_key = SigningKey.read_or_make(hub_config.hub.key_path, hub_config.hub.algorithm).public
    configs = [
        _named(
            gateway_config(
                one, Infrastructure(), data=home, broker=("127.0.0.1", broker.port), hub_key=hub_key, sealing=Sealing()
            ),
            sensors,
            unnamed,
        )
        for one in commune.gateways
    ]
    registry = home / "registry.toml"
    registry.write_text(registry_toml(commune, configs, {one.gateway_id: Infrastructure() for one in commune.gateways}))
    line = Village(
        commune=commune,
        simulation=Simulation(commune, faults or Faults(), START_MS),
        clock=clock,
        sensors=sensors,
        hub=Part(lambda: _with_registry(hub_config, registry)),
        gateways={config.gateway.id: _gateway(config, clock) for config in configs},
        protobuf=protobuf,
    )
    try:
        yield line
    finally:
        await line.stop()
        sensors.stop()


def _gateway(config: GatewayConfig, clock: SteppedClock) -> Part[Gateway]:
    return Part(lambda: assemble_gateway(config, clock))


def _named(config: GatewayConfig, sensors: Mosquitto, unnamed: frozenset[DevEui]) -> GatewayConfig:
    replace = msgspec.structs.replace
    return replace(
        config,
        chirpstack=replace(config.chirpstack, port=sensors.port),
        # A test that stops the hub does not wait for the patience of the field.
        hub=replace(config.hub, resend_s=0.5),
        device=[one for one in config.device if one.dev_eui not in unnamed],
    )
