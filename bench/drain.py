"""`xom bench drain`: a long outage's backlog goes from a real gateway to a real hub while live readings keep coming.

The gateway starts on a spool that is already full of sealed, signed batches, beside a hub process with PostgreSQL. Live
uplinks and alarms go through its ChirpStack source all the while, and for some time after the backlog has gone: what
the backlog costs them is the difference. The limits are measured in the same run: the same batches published straight
to a fresh hub, and the envelopes read from the spool alone.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, median

import msgspec

from bench import machine
from bench.backlog import Backlog, Filled, fill
from bench.flood import Publisher, Uplink, packets
from bench.gateway_process import GatewayError, GatewayProcess, gateway_process
from bench.hub_process import HubProcess, hub_key, hub_process, wait
from bench.mosquitto import RECOMMENDED, Mosquitto, NoBrokerError, mosquitto
from bench.report import Cell, Report, Table
from bench.uplinks import Key, hamlet, render_with_alarms
from bench.witness import Latency, LiveSensors, Witness, delays, settled
from gateway.spool.store import SpoolFile
from hub.broker import embedded_broker
from hub.store.database import open_database
from hub.store.embedded import embedded_postgres
from hub.store.log import count_observations, envelopes
from hub.store.migrate import migrate
from wire.batch import Batch, parse_payload
from wire.dsse import Envelope
from wire.identity import GatewayId
from wire.keys import SigningKey
from wire.topics import Subject, Topic

GOAL_PER_S = 5_000
# The field's rhythm is 60 s: an uplink would mostly wait for its batch, which no backlog changes. Here batches of ten
# are sealed at once, so that what is left of the latency is delivery's.
_SEALING = "[seal]\nevery_s = 1.0\nmost_readings = 10\n"
_SLOWEST_PER_S = 2_000.0  # a run that falls below this has failed
_LEAST_S = 60.0
_BEAT_S = 1.0
_FLOOD = 1_000  # batches that the limit's publisher makes packets of at a time


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much waits, in batches of how many readings, and what is live meanwhile; `quiet_s`: how long afterwards."""

    readings: tuple[int, ...] = (200_000, 2_000_000)
    a_batch: int = 50
    uplinks_per_s: int = 20
    quiet_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What was seen once a second: the watermark, and resident memory, MB."""

    at: float
    through: int
    gateway_mb: float
    hub_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """What one size gave."""

    backlog: Backlog
    filled: Filled
    seconds: float
    beats: Sequence[Beat]
    gateway_peak_mb: float
    hub_peak_mb: float
    live: Mapping[str, Latency | None]
    lost: int
    duplicate: int
    hub_alone_per_s: float
    raw_read_per_s: float

    @property
    def per_s(self) -> float:
        """Readings/s over the whole drain."""
        return self.backlog.total / self.seconds

    @property
    def slices_per_s(self) -> list[float]:
        """Readings/s in each second, but for the last, which is not whole."""
        pairs = list(pairwise(self.beats))[:-1]
        steps = [(later.through - one.through, later.at - one.at) for one, later in pairs]
        return [self.backlog.readings * batches / seconds for batches, seconds in steps] or [self.per_s]

    def mb_per_million(self, of: str) -> float:
        """How much a process's memory grows while a million readings go, MB: the slope of a straight line through it.

        The first quarter is left out: a process grows to its working size whatever waits.
        """
        beats = self.beats[len(self.beats) // 4 :]
        millions = [beat.through * self.backlog.readings / 1e6 for beat in beats]
        if len(set(millions)) < 2:
            return 0.0
        return linear_regression(millions, [getattr(beat, of) for beat in beats]).slope


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A gateway that has not run yet, and what waits in its spool."""

    folder: Path
    gateway: GatewayId
    key: SigningKey
    backlog: Backlog
    filled: Filled

    def envelopes(self, seqs: Iterable[int]) -> list[bytes]:
        """Take batches out of the spool, one look-up each."""
        file = SpoolFile(self.folder / "data" / "spool.db", self.gateway, self.key)
        file.open_to_read()
        try:
            return [envelope for seq in seqs if (envelope := file.envelope(seq)) is not None]
        finally:
            file.close()


def measure(sizes: Sizes) -> Report:
    """Drain each size; returns the report."""
    return _report([run_drain(readings // sizes.a_batch, sizes) for readings in sizes.readings], sizes)


def run_drain(batches: int, sizes: Sizes) -> Drain:
    """Fill a spool, start gateway and hub on it, watch until the last batch is acknowledged, and measure the limits."""
    backlog = Backlog(batches=batches, readings=sizes.a_batch, until_ms=time.time_ns() // 1_000_000)
    with tempfile.TemporaryDirectory(prefix="xom-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's and Mosquitto's own accounts pass through; what they keep is theirs alone
        waiting = prepare(folder, backlog)
        raw_read_per_s = _raw_read(waiting)
        (folder / "alone").mkdir()
        watched = asyncio.run(drained(waiting, sizes))
        return _judged(waiting, watched, asyncio.run(_hub_alone(waiting)), raw_read_per_s)


def prepare(folder: Path, backlog: Backlog) -> Waiting:
    """Make a gateway's key and fill its spool."""
    gateway, key = hamlet().gateway_id, SigningKey.read_or_make(folder / "data" / "signing-key.pem")
    filled = fill(folder / "data" / "spool.db", gateway, key, backlog)
    return Waiting(folder=folder, gateway=gateway, key=key, backlog=backlog, filled=filled)


@asynccontextmanager
async def a_hub(folder: Path, waiting: Waiting) -> AsyncIterator[tuple[Mosquitto, HubProcess, str]]:
    """Run a broker, PostgreSQL and a hub on a folder, the gateway enrolled; yields broker, hub and DSN."""
    async with a_broker(folder) as broker, embedded_postgres(folder / "postgres") as dsn:
        await migrate(dsn)
        enrolled = {waiting.gateway: waiting.key.public}
        with hub_process(folder, dsn, broker.port, enrolled, waiting.backlog.began_ms) as hub:
            yield broker, hub, dsn


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What was seen of one drain while it ran, and what the hub has after it. Times are of time.monotonic."""

    began: float
    ended: float
    beats: Sequence[Beat]
    gateway_peak_mb: float
    hub_peak_mb: float
    sent: Mapping[Key, float]
    alarms: frozenset[Key]
    stored_at: Mapping[int, float]
    stored: Sequence[Batch]
    observations_twice: int


async def drained(waiting: Waiting, sizes: Sizes) -> Watched:
    """Start hub and gateway with live uplinks beside them; return when everything is acknowledged."""
    async with a_hub(waiting.folder, waiting) as (broker, hub, dsn):
        watched = await _watch(waiting, broker, hub, sizes)
        told = round(await asyncio.to_thread(hub.metric, "xom_hub_observations_total"))
        async with open_database(dsn, pool_size=2) as database:
            stored = [parse_payload(Envelope.decode(one).payload) async for one in envelopes(database)]
            return replace(watched, stored=stored, observations_twice=await count_observations(database) - told)


async def _watch(waiting: Waiting, broker: Mosquitto, hub: HubProcess, sizes: Sizes) -> Watched:
    folder, backlog, filled = waiting.folder, waiting.backlog, waiting.filled
    village, hub_public = hamlet(), hub_key(folder)
    at_most_s = max(_LEAST_S, backlog.total / _SLOWEST_PER_S)
    load = render_with_alarms(int((sizes.uplinks_per_s + 1) * (at_most_s + sizes.quiet_s)), sizes.uplinks_per_s + 1)
    witness = Witness(gateway=village.gateway_id, hub=hub_public.verifier(), port=broker.port)
    hearing = asyncio.create_task(witness.run())
    began = time.monotonic()
    with gateway_process(village, folder, broker, hub_public, _SEALING) as gateway:
        with LiveSensors(broker.port, load, sizes.uplinks_per_s + 1) as sensors:
            beats = await _beats(witness, gateway, hub, filled.last_seq, began + at_most_s)
            await asyncio.sleep(sizes.quiet_s)
        last = await asyncio.to_thread(_all_sealed, gateway, backlog.total + len(sensors.sent))
        await asyncio.to_thread(wait, lambda: witness.through >= last, lambda: "no last acknowledgement")
        ended = witness.passed_at(filled.last_seq)
        peak, hub_peak = gateway.usage().main_peak_mb, machine.peak_rss_mb(hub.pid)
    await settled(hearing)
    assert ended is not None
    return Watched(
        began=began, ended=ended, beats=beats, gateway_peak_mb=peak, hub_peak_mb=hub_peak, sent=sensors.sent,
        alarms=load.alarms, stored_at=witness.stored_at(range(filled.last_seq + 1, last + 1)), stored=(),
        observations_twice=0,
    )  # fmt: skip


async def _beats(
    witness: Witness, gateway: GatewayProcess, hub: HubProcess, last_seq: int, deadline: float
) -> list[Beat]:
    """Look once a second until the backlog is acknowledged."""
    beats: list[Beat] = []
    while not beats or beats[-1].through < last_seq:
        beats.append(
            Beat(
                at=time.monotonic(),
                through=min(witness.through, last_seq),
                gateway_mb=machine.rss_mb(gateway.pid),
                hub_mb=machine.rss_mb(hub.pid),
            )
        )
        if time.monotonic() > deadline:
            raise GatewayError(f"{witness.through} of {last_seq} batches were acknowledged when time was up")
        await asyncio.sleep(_BEAT_S)
    return beats


def _all_sealed(gateway: GatewayProcess, readings: int) -> int:
    """Wait until so many readings are sealed; return the last sequence."""
    wait(lambda: gateway.sealed() >= readings, lambda: "the gateway does not seal", at_most_s=_LEAST_S)
    return gateway.last_seq()


@asynccontextmanager
async def a_broker(folder: Path) -> AsyncIterator[Mosquitto]:
    """Run a real Mosquitto, or the embedded broker where there is none."""
    async with AsyncExitStack() as stack:
        try:
            broker = stack.enter_context(mosquitto(folder, RECOMMENDED))
        except NoBrokerError:
            _, port = await stack.enter_async_context(embedded_broker(folder / "broker", "127.0.0.1", 0))
            broker = _Embedded(port=port, pid=os.getpid(), log=folder / "none")
        yield broker


class _Embedded(Mosquitto):
    """The embedded broker. It does not say who has subscribed."""

    def has_subscription(self, _: str) -> bool:
        return True


# ---- the limits


def _raw_read(waiting: Waiting) -> float:
    """Return readings/s of taking every envelope out of the spool, and nothing else."""
    began, filled = time.monotonic(), waiting.filled
    waiting.envelopes(range(filled.first_seq, filled.last_seq + 1))
    return waiting.backlog.total / (time.monotonic() - began)


async def _hub_alone(waiting: Waiting) -> float:
    """Return readings/s of a fresh hub that is given the same batches by a publisher that costs next to nothing."""
    async with a_hub(waiting.folder / "alone", waiting) as (broker, hub, _):
        return waiting.backlog.total / await asyncio.to_thread(_flood, waiting, broker.port, hub)


def _flood(waiting: Waiting, port: int, hub: HubProcess) -> float:
    """Publish every batch; return the seconds until all are stored, without those of reading them."""
    topic, took, filled = str(Topic(waiting.gateway, Subject.BATCH)), 0.0, waiting.filled
    with Publisher(port) as publisher:
        for first in range(filled.first_seq, filled.last_seq + 1, _FLOOD):
            sent = waiting.envelopes(range(first, min(first + _FLOOD, filled.last_seq + 1)))
            ready, began = packets([Uplink(topic=topic, payload=one) for one in sent]), time.monotonic()
            publisher.publish(ready)
            took += time.monotonic() - began
    began, total = time.monotonic(), waiting.backlog.total
    wait(
        lambda: hub.metric("xom_hub_readings_total") >= total,
        lambda: f"the hub has {hub.metric('xom_hub_readings_total'):.0f} of {total} readings",
        at_most_s=_LEAST_S + total / _SLOWEST_PER_S,
    )
    return took + time.monotonic() - began


# ---- the verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the hub's log holds of what was sealed and sent; `batch_of` says in which batch each live uplink came."""

    lost: int
    duplicate: int
    batch_of: Mapping[Key, int]


def tally(waiting: Waiting, stored: Iterable[Batch], sent: Collection[Key]) -> Tally:
    """Compare the hub's log with what waited and what was published."""
    backlog, old, live = waiting.backlog, Counter[int](), Counter[Key]()
    batch_of: dict[Key, int] = {}
    for batch in stored:
        if batch.seq <= waiting.filled.last_seq:
            old[batch.seq] += batch.columns.n
        else:
            keys = _keys(batch)
            live.update(keys)
            batch_of.update(dict.fromkeys(keys, batch.seq))
    lost = backlog.total - sum(min(count, backlog.readings) for count in old.values())
    twice = sum(max(0, count - backlog.readings) for count in old.values())
    return Tally(
        lost=lost + len(set(sent) - batch_of.keys()), duplicate=twice + live.total() - len(live), batch_of=batch_of
    )


def _judged(waiting: Waiting, watched: Watched, hub_alone_per_s: float, raw_read_per_s: float) -> Drain:
    tallied = tally(waiting, watched.stored, watched.sent.keys())
    late = delays(watched.sent, tallied.batch_of, watched.stored_at)
    during = {key for key, (at, _) in late.items() if at < watched.ended}
    groups = {
        "uplinks, with backlog": during - watched.alarms,
        "uplinks, without": late.keys() - during - watched.alarms,
        "alarms, with backlog": during & watched.alarms,
        "alarms, without": (late.keys() - during) & watched.alarms,
    }
    return Drain(
        backlog=waiting.backlog,
        filled=waiting.filled,
        seconds=watched.ended - watched.began,
        beats=watched.beats,
        gateway_peak_mb=watched.gateway_peak_mb,
        hub_peak_mb=watched.hub_peak_mb,
        live={name: Latency.of([late[key][1] for key in keys]) for name, keys in groups.items()},
        lost=tallied.lost + len(tallied.batch_of.keys() - late.keys()),
        duplicate=tallied.duplicate + watched.observations_twice,
        hub_alone_per_s=hub_alone_per_s,
        raw_read_per_s=raw_read_per_s,
    )


def _keys(batch: Batch) -> list[Key]:
    links = [(one.frame.source, one.frame.link) for one in batch.readings()]
    return [(source.partition(":")[2], link.f_cnt) for source, link in links if link is not None]


def _report(drains: Sequence[Drain], sizes: Sizes) -> Report:
    largest = drains[-1]
    value = median(largest.slices_per_s)
    return Report(
        bench="drain",
        figure="readings_per_s",
        value=round(value),
        unit="readings/s",
        limit_name="the same batches straight into a fresh hub, no gateway",
        limit=round(largest.hub_alone_per_s),
        ratio=value / largest.hub_alone_per_s,
        named={
            "readings_per_s": round(value),
            "readings_per_s_overall": round(largest.per_s),
            "goal_readings_per_s": GOAL_PER_S,
            "ratio_to_hub": value / largest.hub_alone_per_s,
            "raw_read_per_s": round(largest.raw_read_per_s),
            "gateway_peak_mb": max(drain.gateway_peak_mb for drain in drains),
            "gateway_mb_per_million": largest.mb_per_million("gateway_mb"),
            "hub_peak_mb": max(drain.hub_peak_mb for drain in drains),
            "hub_mb_per_million": largest.mb_per_million("hub_mb"),
            **_latencies(largest),
            "lost": sum(drain.lost for drain in drains),
            "duplicate": sum(drain.duplicate for drain in drains),
        },
        tables=[_rates(drains), _memory(drains), _live(drains)],
        notes=[
            f"batches of {sizes.a_batch} real readings of five models; {sizes.uplinks_per_s} uplinks/s and one alarm/s "
            "come in meanwhile",
            "readings_per_s is the median second; overall counts from the gateway's start to the last acknowledgement",
            "latency: published to ChirpStack's broker until the hub's signed acknowledgement of its batch, "
            "batches of ten sealed at once",
            "slope: MB that resident memory grows by while a million readings go, after the first quarter",
        ],
    )


def _latencies(drain: Drain) -> dict[str, Cell]:
    names = {
        "uplink": "uplinks, with backlog",
        "uplink_quiet": "uplinks, without",
        "alarm": "alarms, with backlog",
        "alarm_quiet": "alarms, without",
    }
    found = {short: drain.live[name] for short, name in names.items()}
    return {
        f"{short}_{part}_ms": 1000 * getattr(one, f"{part}_s") if one else None
        for short, one in found.items()
        for part in ("p50", "p99")
    }


def _rates(drains: Sequence[Drain]) -> Table:
    head = ("readings", "filling s", "B/reading", "median/s", "worst/s", "overall/s", "hub alone/s", "read/s", "lost")
    rows = [
        (
            drain.backlog.total,
            drain.filled.seconds,
            drain.filled.envelope_bytes / drain.backlog.total,
            round(median(drain.slices_per_s)),
            round(min(drain.slices_per_s)),
            round(drain.per_s),
            round(drain.hub_alone_per_s),
            round(drain.raw_read_per_s),
            drain.lost,
        )
        for drain in drains
    ]
    return Table(title="drain", head=head, rows=rows)


def _memory(drains: Sequence[Drain]) -> Table:
    rows = [
        (
            f"{drain.backlog.total:,}, {who}",
            getattr(drain.beats[0], of),
            peak,
            getattr(drain.beats[-1], of),
            drain.mb_per_million(of),
        )
        for drain in drains
        for who, of, peak in (
            ("gateway", "gateway_mb", drain.gateway_peak_mb),
            ("hub", "hub_mb", drain.hub_peak_mb),
        )
    ]
    return Table(title="resident memory, MB", head=("process", "start", "peak", "end", "slope/million"), rows=rows)


def _live(drains: Sequence[Drain]) -> Table:
    rows = [
        (f"{drain.backlog.total:,}, {name}", one.count, 1000 * one.p50_s, 1000 * one.p99_s, 1000 * one.worst_s)
        for drain in drains
        for name, one in drain.live.items()
        if one is not None
    ]
    return Table(title="published to acknowledged, ms", head=("what", "n", "p50", "p99", "worst"), rows=rows)
