"""Rows in PostgreSQL's binary form, read back by their documented layout."""

from __future__ import annotations

import struct
from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hub.store.rows import TIME_UNCERTAIN, UNNUMBERED, encode_rows
from tests.hub.written import BEGAN_MS, reading, series
from wire.columns import Columns, floats, from_readings, observed_at_ms
from wire.reading import Quality, Quantity, Reading

_POSTGRES_EPOCH_MS = 946_684_800_000
Row = tuple[int, int, float | None, int, int, int]


def decoded(row: bytes) -> Row:
    """One row by the documentation of COPY: a count, then each field behind its length."""
    fields: list[Any] = []
    at = 2
    assert struct.unpack(">h", row[:2]) == (6,)
    for kind in "qqdihh":
        (length,) = struct.unpack(">i", row[at : at + 4])
        fields.append(None if length < 0 else struct.unpack(f">{kind}", row[at + 4 : at + 4 + length])[0])
        at += 4 + max(length, 0)
    assert at == len(row)
    time_us, batch_no, value, datastream, quality, index = fields
    return time_us // 1000 + _POSTGRES_EPOCH_MS, batch_no, value, datastream, quality, index


def rows_of(columns: Columns, numbers: list[tuple[int, ...]], *, uncertain: bool = False) -> list[Row]:
    return [decoded(row) for row in encode_rows(columns, observed_at_ms(columns), 9, numbers, uncertain=uncertain)]


def test_a_series_becomes_one_row_a_reading() -> None:
    assert rows_of(from_readings(series(2)), [(7,)]) == [
        (BEGAN_MS, 9, 0.0, 7, 0, 0),
        (BEGAN_MS + 1000, 9, 1.0, 7, 0, 1),
    ]


def test_no_readings_are_no_rows() -> None:
    assert rows_of(from_readings([]), []) == []


def test_several_quantities_share_time_and_index() -> None:
    two = Reading(reading().frame, quantities=(Quantity("depth", "m", 1.25), Quantity("temperature", "Cel", 30.0)))
    assert rows_of(from_readings([two]), [(7, 8)]) == [(BEGAN_MS, 9, 1.25, 7, 0, 0), (BEGAN_MS, 9, 30.0, 8, 0, 0)]


def test_a_quality_without_a_value_is_null_and_an_unset_clock_is_flagged() -> None:
    columns = from_readings([reading(), reading(value=None, quality=Quality.NO_SENSOR)])
    assert [row[2:] for row in rows_of(columns, [(7,)], uncertain=True)] == [
        (1.5, 7, TIME_UNCERTAIN, 0),
        (None, 7, Quality.NO_SENSOR + TIME_UNCERTAIN, 1),
    ]


def test_unnumbered_quantities_are_left_out() -> None:
    two = Reading(reading().frame, quantities=(Quantity("a", "m", 1.0), Quantity("b", "m", 2.0)))
    assert [row[2] for row in rows_of(from_readings([two]), [(UNNUMBERED, 8)])] == [2.0]


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3), max_size=8))
def test_values_are_those_that_the_wire_unfolds(values: list[list[float]]) -> None:
    readings = [
        Reading(reading(BEGAN_MS + at).frame, quantities=tuple(Quantity(f"p{i}", "m", v) for i, v in enumerate(row)))
        for at, row in enumerate(values)
    ]
    columns = from_readings(readings)
    numbers = [tuple(range(1, 1 + (len(columns.shapes[s.shape]) if s.shape >= 0 else 0))) for s in columns.streams]
    assert [row[2] for row in rows_of(columns, numbers)] == list(chain.from_iterable(floats(columns)))
