"""`xom bench wire`: bytes and time per reading of a sealed batch, ours and the layouts that it could have been.

Eighteen simulated sensors of one gateway; their bytes go through the gateway's codecs, so every reading is a real one.
Each layout carries the same: identities, times, raw frames, radio, quantities, header, dues, and a 64-byte signature.
zstd is measured when `zstandard` is installed; the product does not depend on it.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import itertools
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import msgspec

from bench.report import Cell, Report, Table
from bench.uplinks import hamlet, published
from codec.client import CodecWorker
from codec.profiles import ProfileLibrary
from gateway.clock import Instant
from gateway.due import DueLedger
from gateway.sources.chirpstack_events import parse
from simulators.commune import SimGateway
from simulators.simulation import Published
from wire.batch import Body, Clock, Draft, Software, compress, genesis, open_batch, seal
from wire.dictionary import BATCH_DICTIONARY
from wire.identity import Epoch, to_plain
from wire.keys import SigningKey
from wire.reading import ClockState, Reading

GOAL_BYTES = 30.0
_BOOT = "5f0c1d2e3a4b5c6d"
_ZSTD_LEVEL = 19
_HEADLINE = 50
_OTHER_SEED = 7

Packer = Callable[[bytes], bytes]


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many readings to a batch, how many batches of each, rounds of timing."""

    readings: tuple[int, ...] = (10, 50, 100, 200)
    batches: int = 20
    rounds: int = 5


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One batch to be: the draft that is sealed, and its body as the decoder returns it."""

    draft: Draft
    envelope: bytes
    body: Body


def measure(sizes: Sizes) -> Report:
    """Seal real readings in every layout; returns the report."""
    key = SigningKey.generate()
    most = max(sizes.readings)
    flow = asyncio.run(readings(hamlet(), most * sizes.batches, published(hamlet())))
    samples = {n: _samples(flow, n, sizes.batches, key) for n in sizes.readings}
    packers = _packers()
    rows: list[tuple[Cell, ...]] = [
        (f"{layout}, {name}", *(_bytes_each(write, pack, samples[n]) for n in sizes.readings))
        for layout, write in LAYOUTS.items()
        for name, pack in packers.items()
    ]
    headline = _HEADLINE if _HEADLINE in samples else sizes.readings[0]
    value = _sealed_bytes(samples[headline])
    return Report(
        bench="wire",
        figure="bytes_per_reading",
        value=value,
        unit=f"B/reading at {headline} a batch, sealed",
        limit_name="the goal (DESIGN section 5)",
        limit=GOAL_BYTES,
        ratio=value / GOAL_BYTES,
        named={"bytes_per_reading": value, **_named(samples[headline])},
        tables=[
            Table(title="bytes a reading, sealed", head=("layout", *map(str, sizes.readings)), rows=rows),
            _times(samples, key, sizes),
            parts(samples[headline]),
        ],
        notes=[] if "zstd" in packers else ["zstandard is not installed: its rows are left out"],
    )


# ---- real readings


async def readings(village: SimGateway, count: int, flow: Iterator[Published]) -> list[Reading]:
    """Return simulated uplinks as the gateway would keep them: parsed as ChirpStack events, decoded by their codecs."""
    profiles = {device.dev_eui.source: device.model for device in village.devices}
    async with CodecWorker(ProfileLibrary()) as codecs:
        frames = []
        for one in itertools.islice(flow, count):
            heard = parse(one.topic, one.payload(), _received(one.publish_at_ms))
            if heard is not None:
                frames.append((profiles[heard.frame.source], heard.frame))
        return await codecs.decode(frames)


def _received(at_ms: int) -> Instant:
    return Instant(at_ms, at_ms - 1_740_000_000_000, _BOOT, ClockState.NTP)


def _samples(flow: Sequence[Reading], size: int, batches: int, key: SigningKey) -> list[Sample]:
    """Cut the flow into batches that follow each other, with their dues, as the sealer does."""
    village, epoch = hamlet(), Epoch.new()
    due = DueLedger({one.dev_eui.source: one.interval_s for one in village.devices}, flow[0].frame.received_at_ms)
    prev, samples, from_ms = genesis(village.gateway_id, epoch, key.public), [], flow[0].frame.received_at_ms
    for number in range(min(batches, len(flow) // size)):
        part = flow[number * size : (number + 1) * size]
        to_ms = part[-1].frame.received_at_ms + 1
        draft = Draft(
            gateway=village.gateway_id,
            epoch=epoch,
            seq=1_000 + number,
            prev=prev,
            from_ms=from_ms,
            to_ms=to_ms,
            boot=_BOOT,
            clock=Clock(ClockState.NTP),
            software=Software("0.1.0", "a1b2c3d4e5f60718", "1807f6e5d4c3b2a1"),
            readings=part,
            due=due.settle(to_ms, part),
        )
        sealed = seal(draft, key)
        body = open_batch(sealed.envelope, key.public.verifier()).body
        samples.append(Sample(draft=draft, envelope=sealed.envelope, body=body))
        prev, from_ms = sealed.payload_sha256, to_ms
    return samples


# ---- layouts and packers


def rows_json(sample: Sample) -> bytes:
    """Write each reading as an object, every name spelled out, as most gateways do."""
    header = {name: value for name, value in msgspec.structs.asdict(sample.body).items() if name != "r"}
    rows = [_row(reading) for reading in sample.draft.readings]
    return msgspec.json.encode({**header, "r": rows}, enc_hook=to_plain)


def _row(reading: Reading) -> dict[str, Any]:
    frame, link = reading.frame, reading.frame.link
    return {
        "source": str(frame.source),
        "kind": frame.kind,
        "observed_at_ms": frame.observed_at_ms,
        "received_at_ms": frame.received_at_ms,
        "monotonic_ms": frame.monotonic_ms,
        "raw": base64.b64encode(frame.raw).decode(),
        "link": msgspec.structs.asdict(link) if link else None,
        "codec": reading.codec,
        "quantities": {q.name: {"value": q.value, "unit": q.unit, "quality": q.quality} for q in reading.quantities},
    }


def columns_json(sample: Sample) -> bytes:
    """Write our columns as JSON."""
    return msgspec.json.encode(sample.body, enc_hook=to_plain)


def columns_msgpack(sample: Sample) -> bytes:
    """Write what we do write."""
    return msgspec.msgpack.encode(sample.body, enc_hook=to_plain)


LAYOUTS = {"rows, JSON": rows_json, "columns, JSON": columns_json, "columns, MessagePack": columns_msgpack}


def _packers() -> dict[str, Packer]:
    packers: dict[str, Packer] = {
        "plain": bytes,
        "deflate": lambda body: zlib.compress(body, 9),
        "deflate+dictionary": compress,
    }
    try:
        zstd = importlib.import_module("zstandard")
    except ModuleNotFoundError:
        return packers
    packers["zstd"] = zstd.ZstdCompressor(level=_ZSTD_LEVEL, write_content_size=False).compress
    known = zstd.ZstdCompressionDict(BATCH_DICTIONARY, dict_type=zstd.DICT_TYPE_RAWCONTENT)
    packers["zstd+dictionary"] = zstd.ZstdCompressor(
        level=_ZSTD_LEVEL, dict_data=known, write_content_size=False
    ).compress
    return packers


def _bytes_each(write: Callable[[Sample], bytes], pack: Packer, samples: Sequence[Sample]) -> float:
    """Return bytes a reading with the same envelope around every payload."""
    sizes = [len(pack(write(sample))) + envelope_bytes(sample) for sample in samples]
    return sum(sizes) / sum(sample.body.r.n for sample in samples)


def envelope_bytes(sample: Sample) -> int:
    """Return what DSSE adds to the payload: type, key id, signature and their lengths."""
    return len(sample.envelope) - len(compress(columns_msgpack(sample)))


def _sealed_bytes(samples: Sequence[Sample]) -> float:
    return sum(len(sample.envelope) for sample in samples) / sum(sample.body.r.n for sample in samples)


# ---- where the bytes go, and the time


def _named(samples: Sequence[Sample]) -> dict[str, Cell]:
    n = sum(sample.body.r.n for sample in samples)
    raw = sum(len(sample.body.r.raw_bytes) for sample in samples) / n
    proposed = proposed_dictionary()
    trained = sum(len(_deflated(columns_msgpack(sample), proposed)) + envelope_bytes(sample) for sample in samples)
    return {
        "raw_frame_bytes": raw,
        "with_sample_body_dictionary": trained / n,
        "dictionary_bytes": len(BATCH_DICTIONARY),
        "sample_body_dictionary_bytes": len(proposed),
        "envelope_bytes": sum(map(envelope_bytes, samples)) / n,
        "within_goal": "yes" if _sealed_bytes(samples) <= GOAL_BYTES else "no",
    }


def parts(samples: Sequence[Sample]) -> Table:
    """Return what each column costs: how much smaller the payload is when that column is a single zero."""
    n = sum(sample.body.r.n for sample in samples)
    whole = sum(len(compress(columns_msgpack(sample))) for sample in samples)
    rows: list[tuple[Cell, ...]] = [("signature, type, key id", sum(map(envelope_bytes, samples)) / n)]
    for name in samples[0].body.r.__struct_fields__:
        without = sum(len(compress(_without(sample, name))) for sample in samples)
        rows.append((name, (whole - without) / n))
    rows.append(("header, dues", sum(len(compress(_header(sample))) for sample in samples) / n))
    ranked = sorted(rows, key=lambda row: -float(row[1] or 0))
    return Table(title=f"where the bytes go, {samples[0].body.r.n} a batch", head=("part", "B/reading"), rows=ranked)


def _without(sample: Sample, column: str) -> bytes:
    plain = msgspec.to_builtins(sample.body, builtin_types=(bytes,), enc_hook=to_plain)
    name = "raw" if column == "raw_bytes" else column
    plain["r"][name] = b"" if column == "raw_bytes" else 0
    return msgspec.msgpack.encode(plain)


def proposed_dictionary() -> bytes:
    """Return today's dictionary followed by one whole body of another commune, its random bytes zeroed.

    The body holds what a hand-made list cannot: how streams, shapes and columns of common sensors follow each other.
    """
    village = hamlet(_OTHER_SEED)
    flow = asyncio.run(readings(village, _HEADLINE, published(village, _OTHER_SEED)))
    (sample,) = _samples(flow, _HEADLINE, 1, SigningKey.generate())
    plain = msgspec.to_builtins(sample.body, builtin_types=(bytes,), enc_hook=to_plain)
    plain |= {"prev": bytes(32), "epoch": bytes(8), "gw": "gw", "boot": "0" * 16}
    plain["sw"] |= {"codecs": "0" * 16, "config": "0" * 16}
    folded = plain["r"]
    folded["streams"] = [[s[0] and bytes(8), *s[1:5], s[5] and bytes(4), s[6]] for s in folded["streams"]]
    folded["codecs"] = [[name, bytes(8)] for name, _ in folded["codecs"]]
    return BATCH_DICTIONARY + msgspec.msgpack.encode(plain)


def _deflated(body: bytes, dictionary: bytes) -> bytes:
    deflater = zlib.compressobj(9, zdict=dictionary)
    return deflater.compress(body) + deflater.flush()


def _header(sample: Sample) -> bytes:
    plain = msgspec.to_builtins(sample.body, builtin_types=(bytes,), enc_hook=to_plain)
    plain["r"] = 0
    return msgspec.msgpack.encode(plain)


def _times(samples: dict[int, list[Sample]], key: SigningKey, sizes: Sizes) -> Table:
    verifier = key.public.verifier()
    work: dict[str, Callable[[Sample], object]] = {
        "seal": lambda sample: seal(sample.draft, key),
        "open": lambda sample: open_batch(sample.envelope, verifier),
        "open and unfold": lambda sample: open_batch(sample.envelope, verifier).readings(),
    }
    rows: list[tuple[Cell, ...]] = [
        (name, *(_us_each(do, samples[n], sizes.rounds) for n in sizes.readings)) for name, do in work.items()
    ]
    return Table(title="us a reading", head=("work", *map(str, sizes.readings)), rows=rows)


def _us_each(do: Callable[[Sample], object], samples: Sequence[Sample], rounds: int) -> float:
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        for sample in samples:
            do(sample)
        took.append(time.perf_counter() - began)
    return 1e6 * median(took) / sum(sample.body.r.n for sample in samples)
