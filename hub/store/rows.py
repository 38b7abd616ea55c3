"""Observations in PostgreSQL's binary COPY form, straight from a batch's columns. Pure.

A row is made by one `struct` call: psycopg's own row writer costs four times that (docs of COPY, "Binary Format").
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Final

from wire.columns import NONE, Columns, spread

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
TIME_UNCERTAIN: Final = 64  # beside the quality: the gateway's clock had not been set when the time was written down
UNNUMBERED: Final = 0  # the number of a quantity that gets no observations

_POSTGRES_EPOCH_MS: Final = 946_684_800_000  # 2000-01-01
# Columns as in queries/batches.sql "copy"; each value follows its length: observed_at, batch_no, value, datastream_no,
# quality, reading_index. Runs of lengths and of the batch number are one constant each.
_ROW: Final = struct.Struct(">6s q 16s d 4s i 4s h 4s h".replace(" ", ""))
_ROW_WITHOUT_VALUE: Final = struct.Struct(">6s q 16s 4s i 4s h 4s h".replace(" ", ""))
_START: Final = struct.pack(">hi", 6, 8)
_EIGHT: Final = struct.pack(">i", 8)
_FOUR: Final = struct.pack(">i", 4)
_TWO: Final = struct.pack(">i", 2)
_NULL: Final = struct.pack(">i", -1)


def encode_rows(
    columns: Columns,
    times_ms: Sequence[int],
    batch_no: int,
    numbers: Sequence[tuple[int, ...]],
    *,
    uncertain: bool,
    indexes: Sequence[int] | None = None,
) -> list[bytes]:
    """Return the rows of one batch, in the order of its values.

    `times_ms` are the readings' observation times (wire.columns.observed_at_ms). `numbers` has, for each of the batch's
    streams, the datastream numbers of its quantities; UNNUMBERED ones are left out. `indexes` say which readings of the
    batch these are; None: all of them, in order.
    """
    stream = spread(columns.stream, columns.n)
    times = [(at - _POSTGRES_EPOCH_MS) * 1000 for at in times_ms]
    indexes = range(columns.n) if indexes is None else indexes
    datastreams = list(chain.from_iterable([numbers[s] for s in stream]))
    if any(len(shape) != 1 for shape in numbers):
        widths = [len(numbers[s]) for s in stream]
        times = list(chain.from_iterable(map(repeat, times, widths)))
        indexes = list(chain.from_iterable(map(repeat, indexes, widths)))
    values = _values(columns, stream)
    flag = TIME_UNCERTAIN if uncertain else 0
    qualities, absent = _qualities(columns, flag)
    start = _EIGHT + struct.pack(">q", batch_no)
    filled = [0.0 if value is None else value for value in values] if absent else values
    rows = list(
        map(
            _ROW.pack, repeat(_START), times, repeat(start + _EIGHT), filled, repeat(_FOUR), datastreams,
            repeat(_TWO), qualities, repeat(_TWO), indexes,
        )
    )  # fmt: skip
    for at in absent:
        rows[at] = _ROW_WITHOUT_VALUE.pack(
            _START, times[at], start + _NULL, _FOUR, datastreams[at], _TWO, qualities[at], _TWO, indexes[at]
        )
    if UNNUMBERED in datastreams:
        rows = [row for row, datastream in zip(rows, datastreams, strict=True) if datastream != UNNUMBERED]
    return rows


def _values(columns: Columns, stream: Sequence[int]) -> list[float | None]:
    """Return the values as measured, one after the other: wire.columns.floats, flat, at a tenth of its cost."""
    scales = [10**decimals for _, _, decimals in columns.quantities]
    shapes = {NONE: [], **{at: [scales[pointer] for pointer in shape] for at, shape in enumerate(columns.shapes)}}
    scaled_by = [shapes[one.shape] for one in columns.streams]
    divisors = chain.from_iterable([scaled_by[s] for s in stream])
    return [v / by if isinstance(v, int) else v for v, by in zip(columns.values, divisors, strict=True)]


def _qualities(columns: Columns, flag: int) -> tuple[list[int], list[int]]:
    """Return each value's quality and the positions that have no value."""
    qualities = [flag] * len(columns.values)
    absent = []
    for at, quality in dict(columns.quality).items():
        qualities[at] = quality + flag
        if not quality.has_value:
            absent.append(at)
    return qualities, absent
