"""The whole system on this machine: broker, database, hub, gateways, a simulated commune. All real but the water.

Live, simulated time follows the wall clock at a chosen speed. Accelerated (`--once`), it moves on as soon as every
event of a minute is durable in the gateways' spools: simulated days pass as fast as the real path goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gateway.assembly import Gateway
from gateway.assembly import assemble as assemble_gateway
from gateway.clock import SteppedClock
from gateway.config import Sealing
from hub.assembly import Hub
from hub.assembly import assemble as assemble_hub
from hub.config import Config as HubConfig
from hub.store.latest import latest_states
from simulators import publisher
from simulators.commune import Commune, build_commune
from simulators.faults import Faults
from simulators.oracle import UplinkTruth
from simulators.simulation import Published, Simulation
from wire.batch import parse_payload
from wire.dsse import Envelope
from wire.identity import GatewayId
from xom.audit import Audit, audit
from xom.infrastructure import Rhythm, name_of, stand_up
from xom.village import gateway_config, registry_toml

STEP_MS = 60_000
DAY_MS = 86_400_000
# Autumn spring tides, when the dikes of the delta are watched at night.
START_MS = 1_791_072_000_000  # 2026-10-04T00:00Z
_STALL_S = 60.0

FIELD = Faults(loss=0.02, duplicate=0.01, late=0.01, no_sensor=0.002, invalid_reading=0.002, collection_failed=0.002)


class DemoError(Exception):
    """The demonstration cannot go on: the message says where it stands."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What `--once` prints. Null: that part of the product is not built yet."""

    produced: int
    stored: int
    lost: int
    duplicate: int
    gaps: int
    alerts: int | None = None
    indicators: int | None = None
    bundle: str | None = None
    verify: str | None = None
    days: float
    seconds: float
    lost_on_air: int
    repeated_events: int
    batches: int
    observations: int
    undecoded: int
    infrastructure: dict[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether to exit 0."""
        return self.lost == self.duplicate == self.gaps == 0 and self.produced == self.stored


@dataclass(slots=True, kw_only=True)
class Demo:
    """A running demonstration. `waits_for_probes`: time stands while one is at its turn."""

    commune: Commune
    hub: Hub
    gateways: dict[GatewayId, Gateway]
    clock: SteppedClock
    simulation: Simulation
    broker: tuple[str, int]
    waits_for_probes: bool
    truths: list[UplinkTruth] = field(default_factory=list)
    sent: Counter[GatewayId] = field(default_factory=Counter)
    lost_on_air: int = 0
    repeated: int = 0

    async def step(self, client: publisher.PublishClient, until_ms: int) -> None:
        """Let the simulated world go on to `until_ms`, and wait until its events are durable."""
        self.clock.advance(until_ms)
        await self._deliver(client, self.simulation.advance(until_ms))
        if self.waits_for_probes:
            await asyncio.sleep(0)  # those whose turn has come learn of it first
            await _until(lambda: not any(one.schedule.busy for one in self.gateways.values()), self._standing)

    async def finish(self, client: publisher.PublishClient) -> None:
        """Bring in late frames, seal everything, wait until the hub has confirmed all of it."""
        late = self.simulation.drain()
        if late:
            self.clock.advance(max(one.publish_at_ms for one in late))
        await self._deliver(client, late)
        deadline = time.monotonic() + _STALL_S
        while not all(_is_confirmed(gateway) for gateway in self.gateways.values()):
            if time.monotonic() > deadline:
                raise DemoError(f"the line does not move: {self._standing()}")
            for gateway in self.gateways.values():
                if gateway.spool.unsealed:  # also what a gateway has reported of itself meanwhile: the clock stands
                    await gateway.sealer.seal_all(self.clock.now())
            await asyncio.sleep(0.02)

    async def _deliver(self, client: publisher.PublishClient, events: list[Published]) -> None:
        oracle = self.simulation.take_oracle()
        for truth in oracle.gateways.values():
            self.truths += truth.published
            self.lost_on_air += len(truth.lost)
            self.repeated += len(truth.duplicates)
        if not events:
            return
        await publisher.publish(client, events)
        self.sent.update(one.gateway for one in events)
        await _until(lambda: all(self._is_durable(name) for name in self.gateways), self._standing)

    def _is_durable(self, name: GatewayId) -> bool:
        return self._kept(name) >= self.sent[name]

    def _kept(self, name: GatewayId) -> int:
        source = self.gateways[name].source
        return source.counters.kept if source is not None else 0

    def _standing(self) -> str:
        return "; ".join(
            f"{name}: {self.sent[name]} events published, {self._kept(name)} kept, sealed up to "
            f"{one.delivery.window.highest}, confirmed up to {one.delivery.window.through} "
            f"({one.delivery.line_problem})"
            for name, one in self.gateways.items()
        )

    async def summary(self, *, days: float, seconds: float) -> Summary:
        """Audit the store against the simulation's truth."""
        batches = [parse_payload(Envelope.decode(bytes_).payload) async for bytes_ in self.hub.envelopes()]
        verdict: Audit = audit(self.truths, batches)
        return Summary(
            produced=verdict.produced,
            stored=verdict.stored,
            lost=verdict.lost,
            duplicate=verdict.duplicate + verdict.invented,
            gaps=await self.hub.missing_batches(),
            days=days,
            seconds=round(seconds, 1),
            lost_on_air=self.lost_on_air,
            repeated_events=self.repeated,
            batches=len(batches),
            observations=await self.hub.count_observations(),
            undecoded=sum(len(batch.columns.undecoded) for batch in batches),
            infrastructure=dict(Counter(name_of(one.state) for one in await latest_states(self.hub.database))),
        )


def _is_confirmed(gateway: Gateway) -> bool:
    return gateway.spool.unsealed == 0 and gateway.delivery.window.through == gateway.delivery.window.highest


async def _until(done: Callable[[], bool], standing: Callable[[], str]) -> None:
    """Wait for a state; raises DemoError when it does not come."""
    deadline = time.monotonic() + _STALL_S
    while not done():
        if time.monotonic() > deadline:
            raise DemoError(f"the line does not move: {standing()}")
        await asyncio.sleep(0.001)


@asynccontextmanager
async def start(
    hub_config: HubConfig,
    *,
    data: Path,
    seed: int,
    gateways: int,
    start_ms: int,
    faults: Faults,
    sealing: Sealing,
    rhythm: Rhythm,
    waits_for_probes: bool,
) -> AsyncIterator[Demo]:
    """Start everything, wait until all of it is connected, stop it in reverse order."""
    commune = build_commune(seed, gateways)
    clock = SteppedClock(start_ms)
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(assemble_hub(hub_config))
        around = await stack.enter_async_context(stand_up(commune, clock, rhythm, faults=faults != Faults()))
        configs = [
            gateway_config(
                village,
                around[village.gateway_id],
                data=data,
                broker=hub.broker,
                hub_key=hub.key.public,
                sealing=sealing,
            )
            for village in commune.gateways
        ]
        registry = data / "registry.toml"
        registry.parent.mkdir(parents=True, exist_ok=True)
        registry.write_text(registry_toml(commune, configs, around))
        await hub.load_registry(registry)
        started = {
            config.gateway.id: await stack.enter_async_context(
                assemble_gateway(config, clock, around[config.gateway.id].lines)
            )
            for config in configs
        }
        # Last in, first out: the running parts stop before the resources that they use are closed.
        run = await stack.enter_async_context(_background())
        run(hub.run())
        for gateway in started.values():
            run(gateway.run())
        await _until(lambda: hub.link.connected and all(map(_is_up, started.values())), lambda: _waiting(hub, started))
        yield Demo(
            commune=commune,
            hub=hub,
            gateways=started,
            clock=clock,
            simulation=Simulation(commune, faults, start_ms),
            broker=hub.broker,
            waits_for_probes=waits_for_probes,
        )


def _is_up(gateway: Gateway) -> bool:
    return gateway.delivery.connected and gateway.source is not None and gateway.source.link.connected


def _waiting(hub: Hub, gateways: dict[GatewayId, Gateway]) -> str:
    problems = [hub.link.problem, *(gateway.delivery.line_problem for gateway in gateways.values())]
    return "waiting for the broker: " + "; ".join(problem for problem in problems if problem)


@asynccontextmanager
async def _background() -> AsyncIterator[Callable[[Coroutine[None, None, None]], None]]:
    """Run what is handed over beside the block, and cancel it at its end; a failure in it ends the block."""
    running: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as tasks:
        yield lambda work: running.append(tasks.create_task(work))
        for task in running:
            task.cancel()
