"""`xom bench codec`: what decoding a frame costs, with a warm context as the gateway keeps it, and without.

The limit is the engine alone with a warm context: QuickJS and nothing around it. Beside it stands a fresh runtime for
every frame, which is how ChirpStack runs its codecs.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from bench import machine
from bench.report import Cell, Report, Table
from bench.uplinks import hamlet, published
from codec.client import CodecWorker
from codec.engine import Engine, Limits
from codec.errors import DecodeError
from codec.profiles import ProfileLibrary
from simulators.chirpstack import Up
from wire.identity import DevEui
from wire.reading import ClockState, Frame, Kind, Link

_PACK = 200
_FRAMES = 500  # different ones, over and over
_SLICE = 50  # between two looks at the clock


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much to measure: seconds for each figure, and rounds to take the median of."""

    seconds: float = 1.0
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One device's frames with the profile that decodes them."""

    profile: str
    frame: Frame


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """What the worker process showed."""

    per_s: float
    start_s: float
    idle_mb: float
    loaded_mb: float


def measure(sizes: Sizes) -> Report:
    """Measure worker, engine and fresh runtimes on the same frames; returns the report."""
    samples, library = frames(_FRAMES), ProfileLibrary()
    worker = asyncio.run(_worker(samples, library, sizes))
    warm = {name: _rate(sizes, _warm(library, name, _of(samples, name))) for name in _names(samples)}
    fresh = {name: _rate(sizes, _fresh(library, name, _of(samples, name))) for name in _names(samples)}
    limit = _mixed(samples, warm)
    names = _names(samples)
    return Report(
        bench="codec",
        figure="decodes_per_s",
        value=worker.per_s,
        unit="frames/s",
        limit_name="the engine alone, warm contexts, in process",
        limit=limit,
        ratio=worker.per_s / limit,
        named={
            "decodes_per_s": worker.per_s,
            "engine_per_s": limit,
            "fresh_per_s": _mixed(samples, fresh),
            "worker_start_s": worker.start_s,
            "worker_rss_mb": worker.idle_mb,
            "codec_kb": 1000 * (worker.loaded_mb - worker.idle_mb) / len(names),
        },
        tables=[_table(library, names, warm, fresh)],
        notes=[
            "the worker's figure is the whole way: pack, pipe, length check, codec, quantities, readings",
            "fresh: a new runtime for each frame, the codec compiled each time, as ChirpStack does",
        ],
    )


def frames(count: int) -> list[Sample]:
    """Return simulated frames of a hamlet's sensors."""
    village = hamlet()
    profiles = {str(device.dev_eui): device.model for device in village.devices}
    ups = (one.event for one in itertools.islice(published(village), count))
    return [Sample(profiles[up.device.dev_eui], _frame(up)) for up in ups if isinstance(up, Up)]


def _frame(up: Up) -> Frame:
    at_ms = up.time_ns // 1_000_000
    link = Link(dev_addr=up.dev_addr, f_cnt=up.f_cnt, f_port=up.f_port)
    source = DevEui.parse(up.device.dev_eui).source
    return Frame(source, Kind.UPLINK, b"", at_ms, at_ms, 0, "0" * 16, ClockState.NTP, up.data, link)


async def _worker(samples: Sequence[Sample], library: ProfileLibrary, sizes: Sizes) -> WorkerFigures:
    began = time.perf_counter()
    async with CodecWorker(library) as worker:
        start_s = time.perf_counter() - began
        pid = worker.pid or 0
        idle_mb = machine.rss_mb(pid)
        named = [(sample.profile, sample.frame) for sample in samples]
        await worker.decode(named)
        rates = [await _worker_rate(worker, named[:_PACK], sizes.seconds) for _ in range(sizes.rounds)]
        return WorkerFigures(median(rates), start_s, idle_mb, machine.rss_mb(pid))


async def _worker_rate(worker: CodecWorker, pack: Sequence[tuple[str, Frame]], seconds: float) -> float:
    began, done = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < seconds:
        done += len(await worker.decode(pack))
    return done / took


def _rate(sizes: Sizes, decode_next: Callable[[], object]) -> float:
    return median(_rate_once(sizes.seconds / 2, decode_next) for _ in range(sizes.rounds))


def _rate_once(seconds: float, decode_next: Callable[[], object]) -> float:
    began, done = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < seconds:
        for _ in range(_SLICE):
            decode_next()
        done += _SLICE
    return done / took


def _warm(library: ProfileLibrary, name: str, own: Sequence[Frame]) -> Callable[[], object]:
    engine, turn = Engine(_script(library, name), Limits()), itertools.cycle(own)
    return lambda: _decode(engine, next(turn))


def _fresh(library: ProfileLibrary, name: str, own: Sequence[Frame]) -> Callable[[], object]:
    script, turn = _script(library, name), itertools.cycle(own)
    return lambda: _decode(Engine(script, Limits()), next(turn))


def _decode(engine: Engine, frame: Frame) -> object:
    """Decode, or hear why not: some frames of these devices are not measurements."""
    try:
        return engine.decode(frame.raw, frame.link.f_port if frame.link else 0, frame.observed_at_ms)
    except DecodeError as error:
        return error


def _script(library: ProfileLibrary, name: str) -> str:
    script = library.profile(name).script
    if script is None:
        raise ValueError(f"{name} has no codec to measure")
    return script


def _names(samples: Sequence[Sample]) -> list[str]:
    return sorted({sample.profile for sample in samples})


def _of(samples: Sequence[Sample], name: str) -> list[Frame]:
    return [sample.frame for sample in samples if sample.profile == name]


def _mixed(samples: Sequence[Sample], rates: dict[str, float]) -> float:
    """Return the rate of the mixture that the hamlet sends."""
    return len(samples) / sum(1 / rates[sample.profile] for sample in samples)


def _table(library: ProfileLibrary, names: Sequence[str], warm: dict[str, float], fresh: dict[str, float]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, len(_script(library, name)), warm[name], fresh[name], warm[name] / fresh[name]) for name in names
    ]
    return Table(title="engine, frames/s", head=("codec", "script B", "warm", "fresh", "ratio"), rows=rows)
