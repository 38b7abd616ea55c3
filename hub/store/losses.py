"""How much is lost when declared ranges overlap, and some of what they declare is here all the same. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

_END: Final = 1  # of a pair (first, last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A range of one epoch's batches, declared lost: certainly or perhaps, with so many readings if that is known."""

    first: int
    last: int
    readings: int | None
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is stored of a range: batches, and readings in them."""

    batches: int
    readings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Batches that are lost, those that may be, and readings that are lost at the least."""

    batches: int
    uncertain: int
    readings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    first: int
    last: int
    certain: bool


def pieces(declared: Sequence[Declared]) -> list[tuple[int, int]]:
    """Cut ranges into inclusive ones that do not overlap, ascending: what `held` must be found out for."""
    return [(one.first, one.last) for one in _pieces(declared)]


def _pieces(declared: Sequence[Declared]) -> list[_Piece]:
    begins: dict[int, tuple[int, int]] = {}
    for one in declared:
        for at, step in ((one.first, 1), (one.last + 1, -1)):
            deep, certain = begins.get(at, (0, 0))
            begins[at] = (deep + step, certain + step * one.certain)
    found, deep, certain = [], 0, 0
    for first, following in pairwise(sorted(begins)):
        deep, certain = deep + begins[first][0], certain + begins[first][1]
        if deep:
            found.append(_Piece(first=first, last=following - 1, certain=certain > 0))
    return found


def held_within(declared: Sequence[Declared], held: Sequence[Held]) -> list[Held]:
    """Return what is stored of each declared range, from what is stored of each piece."""
    cut = pieces(declared)
    starts = [first for first, _ in cut]
    batches = [0, *accumulate(one.batches for one in held)]
    readings = [0, *accumulate(one.readings for one in held)]
    found = []
    for one in declared:
        low, high = bisect_left(starts, one.first), bisect_right(starts, one.last)
        found.append(Held(batches=batches[high] - batches[low], readings=readings[high] - readings[low]))
    return found


def loss(declared: Sequence[Declared], held: Sequence[Held]) -> Loss:
    """Return what is lost of an epoch. `held` says what is stored of each of the `pieces`.

    A number that two ranges declare counts once. Readings count from ranges that share no number, the longest first: a
    record that joins two earlier ones takes their place.
    """
    batches, uncertain = 0, 0
    for piece, there in zip(_pieces(declared), held, strict=True):
        left = piece.last - piece.first + 1 - there.batches
        batches, uncertain = batches + left * piece.certain, uncertain + left * (not piece.certain)
    return Loss(batches=batches, uncertain=uncertain, readings=_readings(declared, held_within(declared, held)))


def _readings(declared: Sequence[Declared], within: Sequence[Held]) -> int:
    taken: list[tuple[int, int]] = []
    total = 0
    for one, there in sorted(
        zip(declared, within, strict=True), key=lambda pair: (pair[0].first - pair[0].last, pair[0].first)
    ):
        if one.readings is None:
            continue
        at = bisect_left(taken, (one.first, one.last))
        before_ends = taken[at - 1][_END] if at else 0
        after_begins = taken[at][0] if at < len(taken) else one.last + 1
        if before_ends < one.first and one.last < after_begins:
            insort(taken, (one.first, one.last))
            total += max(0, one.readings - there.readings)
    return total
