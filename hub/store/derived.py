"""The readings of a batch as they are derived now: from frames that were decoded anew to what changes. Pure.

A reading keeps the index under which it was sealed, so that an observation still points at its evidence. A record from
a device's memory that only the corrected codec finds gets the next index behind those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from wire.batch import compress, decompress
from wire.columns import Columns, from_readings, to_readings
from wire.identity import SourceId
from wire.reading import ClockState, Kind, Reading, Undecoded

# The most that a batch's readings may unfold to: those of its body, and the records found anew.
_LARGEST: Final = 64 * 1024 * 1024
NO_RECORD: Final = "no_record"  # why an observation was superseded: its frame holds no such record
REDECODED: Final = "redecoded"

Decoded = Mapping[int, Sequence[Reading]]  # by index of the frame: its own reading, then its records


@dataclass(frozen=True, slots=True)
class Indexed:
    """A reading with its index in its batch."""

    index: int
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A frame's readings as they would be now, beside what stands. `record` False: the frame's own.

    `sealed` is what the gateway sealed under the same index, None where it sealed nothing.
    """

    index: int
    reading: Reading
    record: bool = False
    sealed: Reading | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A frame with its records: as they stand (`old`), and as proposed. Without proposal it stays as it is.

    Records that were sealed in the batch behind their frame are a family there, without the frame itself.
    """

    old: tuple[Indexed, ...]
    proposed: tuple[Proposed, ...] | None = None


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """How derived readings are stored."""

    indexes: list[int]
    columns: Columns
    boot: str
    clock: ClockState


def pack(readings: Sequence[Indexed]) -> bytes:
    """Write derived readings as they are stored."""
    first = readings[0].reading.frame if readings else None
    folded = from_readings([one.reading for one in readings])
    indexes = [one.index for one in readings]
    return compress(
        _encode(_Packed(indexes, folded, first.boot if first else "", first.clock if first else ClockState.NONE))
    )


def unpack(stored: bytes) -> list[Indexed]:
    """Read what `pack` wrote; the frames' keys do not travel."""
    packed = _decode(decompress(stored, _LARGEST))
    readings = to_readings(packed.columns, boot=packed.boot, clock=packed.clock)
    return [Indexed(index, reading) for index, reading in zip(packed.indexes, readings, strict=True)]


def families(
    sealed: Sequence[Reading],
    stands: Sequence[Indexed],
    decoded: Decoded,
    *,
    before: Sequence[Reading] = (),
    decoded_before: Decoded | None = None,
    after: Sequence[Reading] = (),
) -> list[Family]:
    """Return a batch's readings by frame, in order: what stands, and what the frames decoded anew give.

    `before` and `after` are what the neighbouring batches of the log sealed: a batch may end between a frame and its
    records. `decoded_before` are frames of the batch before.
    """
    orphans, records = _by_frame(list(map(Indexed, range(len(sealed)), sealed)))
    stray, standing = _by_frame(stands)
    own = {one.index: one for one in stands if one.reading.frame.kind is not Kind.HISTORY}
    fresh = max([len(sealed), *(one.index + 1 for one in stands)])
    found = _orphans(orphans, stray, before, decoded_before or {})
    behind = _times_behind(sealed, after)
    for at, reading in enumerate(sealed):
        if reading.frame.kind is Kind.HISTORY:
            continue
        old = (own[at], *standing.get(at, ()))
        if at not in decoded:
            found.append(Family(old=old))
            continue
        mine, *past = decoded[at]
        ours = [one for one in past if (at, one.frame.observed_at_ms) not in behind]
        children = _numbered(ours, standing.get(at, ()), records.get(at, ()), fresh)
        fresh = max([fresh, *(one.index + 1 for one in children)])
        found.append(Family(old=old, proposed=(Proposed(index=at, reading=mine, sealed=reading), *children)))
    return found


def _by_frame(readings: Iterable[Indexed]) -> tuple[list[Indexed], dict[int, list[Indexed]]]:
    """Return the records whose frame is not among these, and the others by the index of their frame (decision 012)."""
    last: dict[tuple[SourceId, int], int] = {}
    orphans, records = [], dict[int, list[Indexed]]()
    for one in readings:
        frame = one.reading.frame
        key = (frame.source, frame.received_at_ms)
        if frame.kind is Kind.UPLINK:
            last[key] = one.index
        elif frame.kind is Kind.HISTORY and key in last:
            records.setdefault(last[key], []).append(one)
        elif frame.kind is Kind.HISTORY:
            orphans.append(one)
    return orphans, records


def frame_of(record: Reading, readings: Sequence[Reading]) -> int | None:
    """Return the index of the frame in these readings that a record came with."""
    key = (record.frame.source, record.frame.received_at_ms)
    matching = [
        at
        for at, one in enumerate(readings)
        if one.frame.kind is Kind.UPLINK and (one.frame.source, one.frame.received_at_ms) == key
    ]
    return matching[-1] if matching else None


def orphans_of(sealed: Sequence[Reading]) -> list[Indexed]:
    """Return the records whose frame was sealed in the batch before."""
    return _by_frame(list(map(Indexed, range(len(sealed)), sealed)))[0]


def _orphans(
    orphans: Sequence[Indexed], stray: Sequence[Indexed], before: Sequence[Reading], decoded_before: Decoded
) -> list[Family]:
    """Families of records whose frame stands in the batch before."""
    standing = {one.index: one for one in stray}
    found = []
    for one in orphans:
        old = (standing[one.index],) if one.index in standing else ()
        at = frame_of(one.reading, before)
        if at is None or at not in decoded_before:
            found.append(Family(old=old))
            continue
        same = [r for r in decoded_before[at][1:] if r.frame.observed_at_ms == one.reading.frame.observed_at_ms]
        proposed = [Proposed(index=one.index, reading=r, record=True, sealed=one.reading) for r in same[:1]]
        found.append(Family(old=old, proposed=tuple(proposed)))
    return found


def _times_behind(sealed: Sequence[Reading], after: Sequence[Reading]) -> set[tuple[int, int]]:
    """The records, by frame and time, that were sealed in the batch behind this one."""
    return {
        (at, one.reading.frame.observed_at_ms)
        for one in orphans_of(after)
        if (at := frame_of(one.reading, sealed)) is not None
    }


def _numbered(
    records: Sequence[Reading], standing: Sequence[Indexed], sealed: Sequence[Indexed], fresh: int
) -> list[Proposed]:
    """Give each record the index of the one of its time that stands or was sealed, else a fresh one."""
    was = {one.index: one.reading for one in sealed}
    known: dict[int, list[int]] = {}
    for one in sorted({i.index: i for i in (*sealed, *standing)}.values(), key=lambda i: i.index):
        known.setdefault(one.reading.frame.observed_at_ms, []).append(one.index)
    numbered = []
    for reading in records:
        free = known.get(reading.frame.observed_at_ms, [])
        index = free.pop(0) if free else fresh
        fresh = max(fresh, index + 1)
        numbered.append(Proposed(index=index, reading=reading, record=True, sealed=was.get(index)))
    return numbered


# ---- what it comes to


@dataclass(slots=True)
class Counts:
    """Frames by what became of them. `undecided`: the codec met its limits, and what stood was left."""

    frames: int = 0
    unchanged: int = 0
    changed: int = 0
    newly_decoded: int = 0
    now_undecodable: int = 0
    undecided: int = 0
    superseded: int = 0

    def add(self, other: Counts) -> None:
        """Add another count."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One reading that is derived otherwise now: what stood, what stands; None where there is none."""

    index: int
    old: Reading | None
    new: Reading | None

    @property
    def why(self) -> str:
        """Why the old one was superseded."""
        if self.new is None:
            return NO_RECORD
        return REDECODED if self.new.undecoded is None else str(self.new.undecoded)


@dataclass(slots=True)
class Outcome:
    """What redecoding does to a batch: all its readings from now on, what changes, and the count."""

    readings: list[Indexed] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def keep(self, family: Family) -> None:
        """Leave a family as it stands."""
        self.readings += family.old

    def settle(self, family: Family, new: Sequence[Indexed]) -> None:
        """Take a frame's new readings, where they say something else."""
        counted = bool(new) and new[0].reading.frame.kind is Kind.UPLINK
        self.counts.frames += counted
        if counted and gave_up(family):
            self.counts.undecided += 1
            self.keep(family)
            return
        changes = list(_changes(family.old, new))
        if not changes:
            self.counts.unchanged += counted
            self.keep(family)
            return
        if counted:
            word = _became(family.old[0].reading, new[0].reading)
            setattr(self.counts, word, getattr(self.counts, word) + 1)
        self.changes += changes
        self.readings += new


def gave_up(family: Family) -> bool:
    """Whether the codec met its limits on a frame where it did not before: that says nothing about the frame."""
    if not family.proposed or not family.old:
        return False
    new, old = family.proposed[0].reading.undecoded, family.old[0].reading.undecoded
    return new is Undecoded.CODEC_LIMIT and old is not Undecoded.CODEC_LIMIT


def _changes(old: Sequence[Indexed], new: Sequence[Indexed]) -> Iterable[Change]:
    before, now = {one.index: one.reading for one in old}, {one.index: one.reading for one in new}
    for index in sorted(before.keys() | now.keys()):
        was, is_now = before.get(index), now.get(index)
        if was is None or is_now is None or _said(was) != _said(is_now):
            yield Change(index=index, old=was, new=is_now)


def _said(reading: Reading) -> tuple[object, ...]:
    """What of a reading becomes an observation or is counted."""
    return (reading.frame.observed_at_ms, reading.quantities, reading.undecoded is None)


def _became(old: Reading, new: Reading) -> str:
    if old.undecoded is not None and new.undecoded is None:
        return "newly_decoded"
    if old.undecoded is None and new.undecoded is not None:
        return "now_undecodable"
    return "changed"


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode
