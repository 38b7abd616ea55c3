"""Readings as columns: what a batch's body holds, so that fifty readings compress to what differs between them.

What a source repeats (its codec, its quantities, its LoRaWAN session) stands once, as a *stream*; a reading points at
its stream. A column with one value for every reading is written as that value. Times and frame counters are
differences, decimal values integers with a power of ten. All readings of one batch share a boot and a clock state,
which the batch header carries. Decision 003 has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

import msgspec

from wire.identity import IdentityError, SourceId
from wire.reading import ClockState, Frame, Kind, Link, Quality, Quantity, Reading, Undecoded

Column = int | list[int]
NONE = -1  # "points at nothing" in a column of indexes
NO_KEY = b""  # a frame's key serves the gateway alone: it recognises redelivered events and does not travel
_MAX_EXPONENT = 12
_EXACT = 2**53
_DEV_EUI_BYTES = 8
_LONGEST_NAME = 100  # names become index keys and labels on the hub: none may be too long for those, or hold a NUL
_SNR_DECIMALS = 2  # concentrators report quarters of a decibel at the finest

T = TypeVar("T", bound=Hashable)
P = TypeVar("P")


class ColumnsError(ValueError):
    """Columns that do not describe readings: lengths differ, an index points nowhere, a number is out of range."""


class Stream(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What the readings of one source repeat. A LoRaWAN source is its `dev_eui`, any other its id in `source`."""

    dev_eui: bytes
    source: str
    kind: Kind
    codec: int  # into `codecs`, or NONE
    shape: int  # into `shapes`, or NONE
    dev_addr: bytes | None  # None: no radio link, hence no entries in the link columns
    f_port: int

    @property
    def source_id(self) -> SourceId:
        """The stream's source; raises ColumnsError."""
        if self.dev_eui:
            if len(self.dev_eui) != _DEV_EUI_BYTES:
                raise ColumnsError(f"a DevEUI has {_DEV_EUI_BYTES} bytes, not {len(self.dev_eui)}")
            return SourceId(f"lorawan:{self.dev_eui.hex()}")  # its form is certain: no need to check it
        try:
            return SourceId.parse(self.source)
        except IdentityError as error:
            raise ColumnsError(str(error)) from error


class Columns(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False, rename={"raw_bytes": "raw"}):
    """The readings of one batch. Full columns have `n` entries, link columns one per linked reading."""

    n: int
    base: int  # observed_at of the first reading, ms UTC
    mono: int  # its monotonic time, ms
    stream: Column  # into `streams`
    at: Column  # observed_at less the previous reading's, ms
    lag: Column  # received_at less observed_at, ms
    drift: Column  # monotonic less received_at, less the first reading's, ms: other than 0 after a clock step
    raw_bytes: bytes  # the frames, one after the other
    raw_len: Column
    values: list[int | float | None]  # each reading's quantities in the order of its shape; integers are scaled
    quality: list[tuple[int, Quality]]  # position in `values`; all others are GOOD
    undecoded: list[tuple[int, Undecoded]]
    warnings: list[tuple[int, str]]
    urgent: list[int]
    f_cnt: Column  # less the previous one of the same stream
    dr: Column
    rssi: Column  # dBm
    snr: Column  # dB, as integers with `snr_decimals`
    snr_decimals: int
    heard_by: Column
    lora_gw: Column  # into `lora_gws`
    freq: Column  # into `freqs`, Hz
    streams: list[Stream]
    codecs: list[tuple[str, bytes]]  # vendor/codec, first 8 bytes of its SHA-256
    quantities: list[tuple[str, str, int]]  # observed property, UCUM unit, decimals of its scaled values
    shapes: list[list[int]]  # into `quantities`
    lora_gws: list[bytes]
    freqs: list[int]


class _Table(Generic[T]):
    """Values in order of first use, each with its index."""

    def __init__(self) -> None:
        self._index: dict[T, int] = {}

    def at(self, value: T) -> int:
        return self._index.setdefault(value, len(self._index))

    def values(self) -> list[T]:
        return list(self._index)


# ---- folding: the gateway's side


def from_readings(readings: Sequence[Reading]) -> Columns:
    """Fold readings into columns. They must share a boot and a clock state, which the header carries."""
    frames = [reading.frame for reading in readings]
    first = frames[0] if frames else None
    streams, codecs, shapes = _Table[Stream](), _Table[tuple[str, bytes]](), _Table[tuple[int, ...]]()
    quantities, concentrators, frequencies = _Table[tuple[str, str]](), _Table[bytes](), _Table[int]()
    stream = [streams.at(_stream(reading, codecs, shapes, quantities)) for reading in readings]
    links = [frame.link for frame in frames if frame.link is not None]
    values = [quantity for reading in readings for quantity in reading.quantities]
    decimals = _decimals(values)
    snr_decimals = min(max((_decimals_of(link.snr_db) for link in links), default=0), _SNR_DECIMALS)
    base_drift = first.monotonic_ms - first.received_at_ms if first else 0
    return Columns(
        n=len(frames),
        base=first.observed_at_ms if first else 0,
        mono=first.monotonic_ms if first else 0,
        stream=column(stream),
        at=column(_differences([frame.observed_at_ms for frame in frames])),
        lag=column([frame.received_at_ms - frame.observed_at_ms for frame in frames]),
        drift=column([frame.monotonic_ms - frame.received_at_ms - base_drift for frame in frames]),
        raw_bytes=b"".join(frame.raw for frame in frames),
        raw_len=column([len(frame.raw) for frame in frames]),
        values=[_scaled(value.value, decimals[value.name, value.unit]) for value in values],
        quality=[(at, value.quality) for at, value in enumerate(values) if value.quality is not Quality.GOOD],
        undecoded=[(at, r.undecoded) for at, r in enumerate(readings) if r.undecoded is not None],
        warnings=[(at, text) for at, reading in enumerate(readings) for text in reading.warnings],
        urgent=[at for at, reading in enumerate(readings) if reading.urgent],
        f_cnt=column(_counter_steps(zip(stream, frames, strict=True))),
        dr=column([link.dr for link in links]),
        rssi=column([link.rssi_dbm for link in links]),
        snr=column([round(link.snr_db * 10**snr_decimals) for link in links]),
        snr_decimals=snr_decimals,
        heard_by=column([link.heard_by for link in links]),
        lora_gw=column([concentrators.at(bytes.fromhex(link.lora_gateway)) for link in links]),
        freq=column([frequencies.at(link.frequency_hz) for link in links]),
        streams=streams.values(),
        codecs=codecs.values(),
        quantities=[(name, unit, decimals[name, unit]) for name, unit in quantities.values()],
        shapes=[list(shape) for shape in shapes.values()],
        lora_gws=concentrators.values(),
        freqs=frequencies.values(),
    )


def _stream(
    reading: Reading,
    codecs: _Table[tuple[str, bytes]],
    shapes: _Table[tuple[int, ...]],
    quantities: _Table[tuple[str, str]],
) -> Stream:
    link, source = reading.frame.link, reading.frame.source
    shape = tuple([quantities.at((q.name, q.unit)) for q in reading.quantities])
    name, _, digest = reading.codec.rpartition("@")
    return Stream(
        dev_eui=bytes.fromhex(source.dev_eui or ""),
        source="" if source.dev_eui else str(source),
        kind=reading.frame.kind,
        codec=codecs.at((name, bytes.fromhex(digest))) if reading.codec else NONE,
        shape=shapes.at(shape) if shape else NONE,
        dev_addr=bytes.fromhex(link.dev_addr) if link else None,
        f_port=link.f_port if link else 0,
    )


def column(values: list[int]) -> Column:
    """Return one number for a column that repeats it."""
    if values and values.count(values[0]) == len(values):
        return values[0]
    return values


def _differences(values: list[int]) -> list[int]:
    return [now - before for before, now in zip(values[:1] + values, values, strict=False)]


def _counter_steps(frames: Iterable[tuple[int, Frame]]) -> list[int]:
    last: dict[int, int] = {}
    steps: list[int] = []
    for stream, frame in frames:
        if frame.link is not None:
            steps.append(frame.link.f_cnt - last.get(stream, 0))
            last[stream] = frame.link.f_cnt
    return steps


def _decimals(values: Iterable[Quantity]) -> dict[tuple[str, str], int]:
    """Return, for each quantity, the decimals that its values need to be written as integers."""
    needed: dict[tuple[str, str], int] = {}
    for quantity in values:
        key = (quantity.name, quantity.unit)
        needed[key] = max(needed.get(key, 0), _decimals_of(quantity.value))
    return needed


def _decimals_of(value: float | None) -> int:
    if value is None or value.is_integer():
        return 0
    text = repr(value)
    return 0 if "e" in text else min(len(text) - text.index(".") - 1, _MAX_EXPONENT)


def _scaled(value: float | None, decimals: int) -> int | float | None:
    """Return the integer that gives exactly `value` when divided by 10**decimals, else the float itself."""
    if value is None:
        return None
    scaled = value * 10**decimals
    if abs(scaled) >= _EXACT:  # also where the product is infinite
        return float(value)
    whole = round(scaled)
    return whole if whole / 10**decimals == value else float(value)


# ---- unfolding: the hub's side


def check(columns: Columns) -> None:
    """Check everything that pointing and counting rely on, without unfolding; raises ColumnsError."""
    n, streams = columns.n, columns.streams
    stream = spread(columns.stream, n)
    for source in streams:
        _ = source.source_id
    _within("stream", stream, 0, len(streams))
    _within("codec", [s.codec for s in streams], NONE, len(columns.codecs))
    _within("shape", [s.shape for s in streams], NONE, len(columns.shapes))
    _within("quantity", [pointer for shape in columns.shapes for pointer in shape], 0, len(columns.quantities))
    names = [text for label, unit, _ in columns.quantities for text in (label, unit)]
    for name in names + [codec for codec, _ in columns.codecs]:
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise ColumnsError(f"{name!r:.40} is no name: at most {_LONGEST_NAME} printable characters")
    _within("decimals", [decimals for _, _, decimals in columns.quantities], 0, _MAX_EXPONENT + 1)
    for full in (columns.at, columns.lag, columns.drift):
        spread(full, n)
    lengths = spread(columns.raw_len, n)
    if (lengths and min(lengths) < 0) or sum(lengths) != len(columns.raw_bytes):
        raise ColumnsError(f"{len(columns.raw_bytes)} bytes of frames where the lengths say {sum(lengths)}")
    _check_values(columns, stream)
    for sparse in (columns.undecoded, columns.warnings):
        _within("sparse column", [at for at, _ in sparse], 0, n)
    _within("urgent", columns.urgent, 0, n)
    _check_links(columns, sum(1 for s in stream if streams[s].dev_addr is not None))


def _check_values(columns: Columns, stream: Sequence[int]) -> None:
    sizes = [0 if s.shape == NONE else len(columns.shapes[s.shape]) for s in columns.streams]
    expected = sum(sizes[s] for s in stream)
    if expected != len(columns.values):
        raise ColumnsError(f"{len(columns.values)} values where the shapes name {expected}")
    _within("quality", [at for at, _ in columns.quality], 0, expected)
    faults = {at for at, quality in dict(columns.quality).items() if not quality.has_value}
    absent = {at for at, value in enumerate(columns.values) if value is None}
    if faults != absent:
        at = min(faults ^ absent)
        raise ColumnsError(f"value {at} is {columns.values[at]}, which its quality contradicts")
    if not all(map(math.isfinite, [value for value in columns.values if value is not None])):
        raise ColumnsError("a value is not a finite number")


def _check_links(columns: Columns, linked: int) -> None:
    for full in (columns.f_cnt, columns.dr, columns.rssi, columns.snr, columns.heard_by):
        spread(full, linked)
    _within("snr_decimals", [columns.snr_decimals], 0, _SNR_DECIMALS + 1)
    _within("lora_gw", spread(columns.lora_gw, linked), 0, len(columns.lora_gws))
    _within("freq", spread(columns.freq, linked), 0, len(columns.freqs))


def _within(what: str, indexes: Sequence[int], low: int, high: int) -> None:
    if indexes and not low <= min(indexes) <= max(indexes) < high:
        raise ColumnsError(f"{what}: an index points outside its table of {high}")


def spread(entries: Column, n: int) -> list[int]:
    """Return a column's n entries; raises ColumnsError when it has another number of them."""
    if isinstance(entries, int):
        return [entries] * n
    if len(entries) != n:
        raise ColumnsError(f"a column has {len(entries)} entries, not {n}")
    return entries


def observed_at_ms(columns: Columns) -> list[int]:
    """Return each reading's observation time, ms UTC."""
    at, times = columns.base, []
    for step in spread(columns.at, columns.n):
        at += step
        times.append(at)
    return times


def floats(columns: Columns) -> list[list[float | None]]:
    """Return each reading's values as they were measured, in the order of its shape. Needs `check` to have passed."""
    scales = [10**decimals for _, _, decimals in columns.quantities]
    shapes = [[scales[pointer] for pointer in shape] for shape in columns.shapes]
    by_stream = [[] if stream.shape == NONE else shapes[stream.shape] for stream in columns.streams]
    values, start, unscaled = columns.values, 0, []
    for stream in spread(columns.stream, columns.n):
        divisors = by_stream[stream]
        row = values[start : start + len(divisors)]
        unscaled.append([v / by if isinstance(v, int) else v for v, by in zip(row, divisors, strict=True)])
        start += len(divisors)
    return unscaled


def to_readings(columns: Columns, *, boot: str, clock: ClockState) -> list[Reading]:
    """Unfold columns into readings, equal to the folded ones but for the frame's key. Needs `check` to have passed."""
    n = columns.n
    stream, times, lags = spread(columns.stream, n), observed_at_ms(columns), spread(columns.lag, n)
    drifts = spread(columns.drift, n)
    base_drift = columns.mono - (columns.base + lags[0]) if n else 0
    raws, links = _raws(columns), _links(columns, stream)
    quantities = _quantities(columns, stream)
    undecoded, warnings, urgent = dict(columns.undecoded), _grouped(columns.warnings), set(columns.urgent)
    sources = [s.source_id for s in columns.streams]
    codecs = [_codec_name(columns, s) for s in columns.streams]
    return [
        Reading(
            frame=Frame(
                source=sources[s],
                kind=columns.streams[s].kind,
                key=NO_KEY,
                observed_at_ms=times[at],
                received_at_ms=times[at] + lags[at],
                monotonic_ms=times[at] + lags[at] + drifts[at] + base_drift,
                boot=boot,
                clock=clock,
                raw=raws[at],
                link=links[at],
            ),
            codec=codecs[s],
            quantities=quantities[at],
            undecoded=undecoded.get(at),
            warnings=tuple(warnings.get(at, ())),
            urgent=at in urgent,
        )
        for at, s in enumerate(stream)
    ]


def _raws(columns: Columns) -> list[bytes]:
    start, raws = 0, []
    for length in spread(columns.raw_len, columns.n):
        raws.append(columns.raw_bytes[start : start + length])
        start += length
    return raws


def _codec_name(columns: Columns, stream: Stream) -> str:
    if stream.codec == NONE:
        return ""
    name, digest = columns.codecs[stream.codec]
    return f"{name}@{digest.hex()}"


def _quantities(columns: Columns, stream: Sequence[int]) -> list[tuple[Quantity, ...]]:
    marked = dict(columns.quality)
    rows, position = [], 0
    for s, values in zip(stream, floats(columns), strict=True):
        shape = columns.shapes[columns.streams[s].shape] if values else []
        named = [columns.quantities[pointer] for pointer in shape]
        rows.append(
            tuple(
                Quantity(name, unit, value, marked.get(at, Quality.GOOD))
                for at, ((name, unit, _), value) in enumerate(zip(named, values, strict=True), start=position)
            )
        )
        position += len(values)
    return rows


def _links(columns: Columns, stream: Sequence[int]) -> list[Link | None]:
    linked = [s for s in stream if columns.streams[s].dev_addr is not None]
    m = len(linked)
    rows = iter(
        zip(
            linked, spread(columns.f_cnt, m), spread(columns.dr, m), spread(columns.rssi, m), spread(columns.snr, m),
            spread(columns.heard_by, m), spread(columns.lora_gw, m), spread(columns.freq, m), strict=True,
        )
    )  # fmt: skip
    counters: dict[int, int] = {}
    links: list[Link | None] = []
    for s in stream:
        dev_addr = columns.streams[s].dev_addr
        if dev_addr is None:
            links.append(None)
            continue
        _, step, dr, rssi, snr, heard_by, concentrator, frequency = next(rows)
        counters[s] = counters.get(s, 0) + step
        links.append(
            Link(
                dev_addr=dev_addr.hex(),
                f_cnt=counters[s],
                f_port=columns.streams[s].f_port,
                dr=dr,
                rssi_dbm=rssi,
                snr_db=snr / 10**columns.snr_decimals,
                lora_gateway=columns.lora_gws[concentrator].hex(),
                heard_by=heard_by,
                frequency_hz=columns.freqs[frequency],
            )
        )
    return links


def _grouped(pairs: Iterable[tuple[int, str]]) -> dict[int, list[str]]:
    groups: dict[int, list[str]] = {}
    for at, text in pairs:
        groups.setdefault(at, []).append(text)
    return groups
