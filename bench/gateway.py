"""`xom bench gateway`: ChirpStack events through a real Mosquitto into a real gateway process, until all are durable.

What counts: the time from the first publish until every uplink is committed in the spool, read there from outside. The
hub is a stub that opens and acknowledges every batch, so sealing and delivery run too. Then, in a run of its own, the
latency of an alarm at a hundred uplinks a second.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import msgspec

from bench import machine
from bench.flood import Publisher, packets
from bench.fsync import appends_per_s
from bench.gateway_process import GatewayError, GatewayProcess, Usage, gateway_process
from bench.hub_stub import HubStub
from bench.mosquitto import DEFAULT_INFLIGHT, RECOMMENDED, Mosquitto, Settings, mosquitto
from bench.report import Report, Table
from bench.uplinks import Load, hamlet, render, render_with_alarms
from wire.keys import SigningKey

SIZES = (10_000, 40_000)
_ROW_BYTES = 330  # a reading as the spool keeps it
_SLOWEST_PER_S = 200.0  # a run that falls below this has failed
_LEAST_S = 30.0
_SETTLE_S = 2.0
_POLL_S = 0.01
_LATENCY_PER_S = 100.0


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much to measure."""

    floods: tuple[int, ...] = SIZES
    rounds: int = 3
    alone: int = 40_000
    limit_rows: int = 20_000
    latency_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What one flood gave."""

    settings: str
    uplinks: int
    uplinks_per_s: float
    publish_s: float
    lost: int
    duplicate: int
    start_s: float
    idle: Usage
    end: Usage
    broker_cpu_s: float
    batch_bytes_per_reading: float

    def per_10k(self, cpu_s: float) -> float:
        """Return a cost for 10,000 uplinks."""
        return cpu_s * 10_000 / self.uplinks


def measure(sizes: Sizes) -> Report:
    """Run floods, the limit and the latency; returns the report."""
    load = render(max(sizes.floods))
    floods = [
        run_flood(load.first(count), name, settings)
        for count in sizes.floods
        for name, settings in (("default inflight", DEFAULT_INFLIGHT), ("recommended", RECOMMENDED))
        for _ in range(sizes.rounds)
    ]
    alone = publisher_alone(load.first(sizes.alone))
    with tempfile.TemporaryDirectory(prefix="xom-bench-") as folder:
        limit = appends_per_s(Path(folder), _ROW_BYTES, sizes.limit_rows)
    latency = run_latency(sizes.latency_s)
    return _report(floods, alone, limit, latency)


def run_flood(load: Load, name: str, settings: Settings) -> Flood:
    """Flood a fresh gateway with a load, and look at what it kept."""
    return asyncio.run(_flood(load, name, settings))


async def _flood(load: Load, name: str, settings: Settings) -> Flood:
    async with bed(settings) as (broker, gateway, stub):
        await asyncio.sleep(_SETTLE_S)
        idle, broker_cpu_s = gateway.usage(), machine.cpu_s(broker.pid)
        ready, began = packets(load.uplinks), time.monotonic()
        publish_s = await asyncio.to_thread(_publish, broker.port, ready)
        took = await asyncio.to_thread(_wait_until_durable, gateway, len(ready), began)
        kept, end = await asyncio.to_thread(gateway.kept), gateway.usage()
        return Flood(
            settings=name,
            uplinks=len(ready),
            uplinks_per_s=len(ready) / took,
            publish_s=publish_s,
            lost=sum(1 for key in load.keys if not kept[key]),
            duplicate=kept.total() - len(kept),
            start_s=gateway.start_s,
            idle=idle,
            end=end,
            broker_cpu_s=machine.cpu_s(broker.pid) - broker_cpu_s,
            batch_bytes_per_reading=stub.batch_bytes / max(1, sum(stub.batches.values())),
        )


@asynccontextmanager
async def bed(settings: Settings) -> AsyncIterator[tuple[Mosquitto, GatewayProcess, HubStub]]:
    """Set up a broker, a gateway with all sensors enrolled, and a stub for its hub."""
    village, hub_key = hamlet(), SigningKey.generate()
    with tempfile.TemporaryDirectory(prefix="xom-bench-") as name:
        folder = Path(name)
        with mosquitto(folder, settings) as broker, gateway_process(village, folder, broker, hub_key.public) as gateway:
            stub = HubStub(gateway=village.gateway_id, verifier=gateway.key.verifier(), key=hub_key, port=broker.port)
            hub = asyncio.create_task(stub.run())
            try:
                yield broker, gateway, stub
            finally:
                hub.cancel()
                with suppress(asyncio.CancelledError):
                    await hub


def _publish(port: int, ready: Sequence[bytes]) -> float:
    with Publisher(port) as publisher:
        began = time.monotonic()
        publisher.publish(ready)
        return time.monotonic() - began


def _wait_until_durable(gateway: GatewayProcess, count: int, began: float) -> float:
    """Return the seconds from `began` until the spool holds `count` readings."""
    deadline = began + max(_LEAST_S, count / _SLOWEST_PER_S)
    while (durable := gateway.durable()) < count:
        if time.monotonic() > deadline:
            raise GatewayError(f"{durable} of {count} uplinks were durable when time was up")
        time.sleep(_POLL_S)
    return time.monotonic() - began


def publisher_alone(load: Load) -> float:
    """Return the publisher's own uplinks/s into a broker that nobody listens to: it must not be the bottleneck."""
    with tempfile.TemporaryDirectory(prefix="xom-bench-") as folder, mosquitto(Path(folder), RECOMMENDED) as broker:
        return len(load.uplinks) / _publish(broker.port, packets(load.uplinks))


def run_latency(seconds: float, per_s: float = _LATENCY_PER_S) -> list[float]:
    """Return, for each alarm, the ms from its publication until the hub had it in an opened batch."""
    load = render_with_alarms(max(10, round(seconds * per_s)))
    return asyncio.run(_latency(load, per_s))


async def _latency(load: Load, per_s: float) -> list[float]:
    async with bed(RECOMMENDED) as (broker, _, stub):
        await asyncio.sleep(_SETTLE_S)
        sent = await asyncio.to_thread(_pace, broker.port, packets(load.uplinks), per_s)
        await _wait_until_arrived(stub, load)
    return [1000 * (stub.arrived[key] - at) for key, at in zip(load.keys, sent, strict=True) if key in load.alarms]


def _pace(port: int, ready: Sequence[bytes], per_s: float) -> list[float]:
    with Publisher(port) as publisher:
        return publisher.pace(ready, per_s)


async def _wait_until_arrived(stub: HubStub, load: Load) -> None:
    deadline = time.monotonic() + _LEAST_S
    while not load.alarms <= stub.arrived.keys():
        if time.monotonic() > deadline:
            missing = len(load.alarms - stub.arrived.keys())
            raise GatewayError(f"{missing} of {len(load.alarms)} alarms did not reach the hub")
        await asyncio.sleep(_POLL_S)


def _report(floods: Sequence[Flood], alone: float, limit: float, latency: Sequence[float]) -> Report:
    largest = [flood for flood in floods if flood.uplinks == floods[-1].uplinks and flood.settings == "recommended"]
    value = median(flood.uplinks_per_s for flood in largest)
    percentiles = quantiles(latency, n=100, method="inclusive")
    return Report(
        bench="gateway",
        figure="uplinks_per_s",
        value=value,
        unit="uplinks/s",
        limit_name="SQLite append with fsync, groups of 100, rows of the same size",
        limit=limit,
        ratio=value / limit,
        named={
            "uplinks_per_s": value,
            "ratio_to_fsync": value / limit,
            "rss_mb": max(flood.end.main_peak_mb for flood in floods),
            "rss_idle_mb": median(flood.idle.main_rss_mb for flood in floods),
            "worker_rss_mb": max(flood.end.worker_peak_mb for flood in floods),
            "lost": sum(flood.lost for flood in floods),
            "duplicate": sum(flood.duplicate for flood in floods),
            "start_s": median(flood.start_s for flood in floods),
            "publisher_alone_per_s": alone,
            "alarm_p50_ms": median(latency),
            "alarm_p99_ms": percentiles[98],
        },
        tables=[_table(floods)],
        notes=[
            f"default inflight: Mosquitto with {dict(DEFAULT_INFLIGHT)}; recommended: {dict(RECOMMENDED)}",
            "rss_mb is the main process at its peak; its codec worker is a process of its own, worker_rss_mb",
            "main, worker, broker: CPU seconds for 10,000 uplinks",
            f"alarm latency: {len(latency)} alarms among {_LATENCY_PER_S:g} uplinks/s, published to opened batch",
        ],
    )


def _table(floods: Sequence[Flood]) -> Table:
    groups: dict[tuple[int, str], list[Flood]] = {}
    for flood in floods:
        groups.setdefault((flood.uplinks, flood.settings), []).append(flood)
    return Table(
        title="floods (medians)",
        head=("uplinks, broker", "runs", "per s", "main s/10k", "worker", "broker", "idle MB", "peak MB", "B/reading"),
        rows=[_row(f"{count:,}, {name}", group) for (count, name), group in groups.items()],
    )


def _row(name: str, group: Sequence[Flood]) -> tuple[str | float | int, ...]:
    return (
        name,
        len(group),
        median(flood.uplinks_per_s for flood in group),
        median(flood.per_10k(flood.end.main_cpu_s - flood.idle.main_cpu_s) for flood in group),
        median(flood.per_10k(flood.end.worker_cpu_s - flood.idle.worker_cpu_s) for flood in group),
        median(flood.per_10k(flood.broker_cpu_s) for flood in group),
        median(flood.idle.main_rss_mb for flood in group),
        max(flood.end.main_peak_mb for flood in group),
        median(flood.batch_bytes_per_reading for flood in group),
    )
