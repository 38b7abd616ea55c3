"""`xom bench codec`: what decoding a frame costs, with a warm context as the gateway keeps it, and without.

The limit is the engine alone with a warm context: QuickJS and nothing around it. Beside it stands a fresh runtime for
every frame, which is how ChirpStack runs its codecs: once bare, which flatters it, and once with a Buffer in it as
ChirpStack has it for every frame (ours, which is a good deal smaller than the one there).
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
from codec.contexts import new_context
from codec.engine import Engine, Limits
from codec.errors import DecodeError
from codec.profiles import ProfileLibrary
from simulators.chirpstack import Up
from wire.identity import DevEui
from wire.reading import ClockState, Frame, Kind, Link

_PACKS = (20, 200)  # frames that reach the worker at once: a quiet gateway, a flood
_FRAMES = 500  # different ones, over and over
_SLICE = 50  # between two looks at the clock
_BARE = """
;globalThis.decode = (text) => {
  const input = JSON.parse(text);
  input.recvTime = new Date(input.recvTime);
  return JSON.stringify(decodeUplink(input));
};"""


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
    """What the worker process showed; `per_s` by frames in a pack."""

    per_s: dict[int, float]
    first_ms: float
    start_s: float
    idle_mb: float
    loaded_mb: float


def measure(sizes: Sizes) -> Report:
    """Measure worker, engine and fresh runtimes on the same frames; returns the report."""
    samples, library = frames(_FRAMES), ProfileLibrary()
    worker = asyncio.run(_worker(samples, library, sizes))
    names = _names(samples)
    rates = _rates(samples, library, sizes)
    mixed = {way: _mixed(samples, by_name) for way, by_name in rates.items()}
    per_s = worker.per_s[_PACKS[-1]]
    return Report(
        bench="codec",
        figure="decodes_per_s",
        value=per_s,
        unit="frames/s",
        limit_name="the engine alone, warm contexts, in process",
        limit=mixed["warm"],
        ratio=per_s / mixed["warm"],
        named={
            "decodes_per_s": per_s,
            "engine_per_s": mixed["warm"],
            "fresh_per_s": mixed["fresh"],
            "fresh_with_buffer_per_s": mixed["buffer"],
            "ratio_to_fresh": mixed["warm"] / mixed["fresh"],
            "ratio_to_fresh_with_buffer": mixed["warm"] / mixed["buffer"],
            "worker_start_s": worker.start_s,
            "codec_first_frame_ms": worker.first_ms,
            "worker_rss_mb": worker.idle_mb,
            "codec_kb": 1000 * (worker.loaded_mb - worker.idle_mb) / len(names),
        },
        tables=[_table(library, names, rates), _pack_table(worker)],
        notes=[
            "engine and fresh runtimes: per second of CPU time, the ways taking turns; the worker's: by the clock",
            "the worker's figure is the whole way: pack, pipe, length check, codec, quantities, readings",
            "warm: the codec's top level runs anew for each frame, in a frozen context: no frame leaves a mark",
            "fresh: a new runtime for each frame, the codec compiled each time; with Buffer: as ChirpStack does",
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
        began = time.perf_counter()
        await worker.decode([_of_profile(named, name) for name in _names(samples)])
        first_ms = 1000 * (time.perf_counter() - began) / len(_names(samples))
        await worker.decode(named)
        per_s = {
            size: median([await _worker_rate(worker, named[:size], sizes.seconds) for _ in range(sizes.rounds)])
            for size in _PACKS
        }
        return WorkerFigures(per_s, first_ms, start_s, idle_mb, machine.rss_mb(pid))


def _of_profile(named: Sequence[tuple[str, Frame]], profile: str) -> tuple[str, Frame]:
    return next(one for one in named if one[0] == profile)


async def _worker_rate(worker: CodecWorker, pack: Sequence[tuple[str, Frame]], seconds: float) -> float:
    began, done = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < seconds:
        done += len(await worker.decode(pack))
    return done / took


def _rates(samples: Sequence[Sample], library: ProfileLibrary, sizes: Sizes) -> dict[str, dict[str, float]]:
    """Rates by way and codec. The ways take turns within a round, so that a busy minute hits all of them."""
    ways = {"warm": _warm, "fresh": _fresh, "buffer": _fresh_with_buffer}
    measured: dict[str, dict[str, float]] = {way: {} for way in ways}
    for name in _names(samples):
        decoders = {way: made(_script(library, name), _of(samples, name)) for way, made in ways.items()}
        rounds = [
            {way: _rate(sizes.seconds / 4, decode) for way, decode in decoders.items()} for _ in range(sizes.rounds)
        ]
        for way in ways:
            measured[way][name] = median(one[way] for one in rounds)
    return measured


def _rate(seconds: float, decode_next: Callable[[], object]) -> float:
    """Frames per second of CPU time: what else runs on this machine is not the codec's."""
    began, done = time.process_time(), 0
    while (took := time.process_time() - began) < seconds:
        for _ in range(_SLICE):
            decode_next()
        done += _SLICE
    return done / took


def _warm(script: str, own: Sequence[Frame]) -> Callable[[], object]:
    engine, turn = Engine(script, Limits()), itertools.cycle(own)
    return lambda: _decode(engine, next(turn))


def _fresh(script: str, own: Sequence[Frame]) -> Callable[[], object]:
    """The least that a new runtime can cost: limits, the module, one call with JSON in and out."""
    turn, module = itertools.cycle(own), script + _BARE

    def decode() -> object:
        frame = next(turn)
        context = new_context(Limits())
        context.module(module)
        f_port = frame.link.f_port if frame.link else 0
        request = f'{{"bytes":{list(frame.raw)},"fPort":{f_port},"recvTime":{frame.observed_at_ms}}}'
        return msgspec.json.decode(context.get("decode")(request))

    return decode


def _fresh_with_buffer(script: str, own: Sequence[Frame]) -> Callable[[], object]:
    engine, turn = Engine(script + "\n// Buffer", Limits()), itertools.cycle(own)
    engine.alone = True
    return lambda: _decode(engine, next(turn))


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


def _table(library: ProfileLibrary, names: Sequence[str], rates: dict[str, dict[str, float]]) -> Table:
    warm, fresh, buffer = rates["warm"], rates["fresh"], rates["buffer"]
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            len(_script(library, name)),
            warm[name],
            fresh[name],
            warm[name] / fresh[name],
            buffer[name],
            warm[name] / buffer[name],
        )
        for name in names
    ]
    head = ("codec", "script B", "warm", "fresh", "ratio", "fresh with Buffer", "ratio to it")
    return Table(title="engine, frames/s", head=head, rows=rows)


def _pack_table(worker: WorkerFigures) -> Table:
    return Table(title="worker", head=("frames a pack", "frames/s"), rows=list(worker.per_s.items()))
