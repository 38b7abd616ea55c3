"""Room on the card: what is given up when the spool is full, in which order, and what that leaves behind.

First what the hub has confirmed and we only keep for its restoration; then routine batches that it has not, oldest
first. Never an alarm, never a header, never what is not sealed yet. Decision 008.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw
import msgspec

from gateway.spool.sqlite import NotKept, used_bytes
from wire import dsse
from wire.batch import GAP, Cause, Event, Gap, parse_payload

_AT_A_TIME = 16
_event = msgspec.msgpack.Decoder(Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How large the spool may grow, and how much of that only alarms may use. Bytes."""

    cap: int = 4_096_000_000
    reserve: int = 64_000_000

    def allows(self, used: int, *, urgent: bool) -> bool:
        """Whether something may be added."""
        return used < (self.cap if urgent else self.cap - self.reserve)

    def is_tight(self, used: int) -> bool:
        """Whether something has to go first."""
        return used >= self.cap - self.reserve


DEFAULT_ROOM = Room()


def make_room(db: apsw.Connection, room: Room, *, urgent: bool, now_ms: int) -> None:
    """Give up what may be given up until there is room; raises NotKept when there is none. Inside a transaction."""
    while room.is_tight(used_bytes(db)) and (_forget_confirmed(db) or _evict_routine(db, now_ms)):
        pass
    if not room.allows(used_bytes(db), urgent=urgent):
        raise NotKept("the spool has reached its limit (spool.megabytes), and nothing is left that may go")


def _forget_confirmed(db: apsw.Connection) -> bool:
    """Let the oldest confirmed batches go: an early retention, no gap."""
    ids = [row[0] for row in db.execute(_CONFIRMED, (_AT_A_TIME,))]
    forget(db, ids)
    return bool(ids)


def forget(db: apsw.Connection, ids: Sequence[int]) -> None:
    """Delete batches with their headers."""
    if not ids:
        return
    these = (apsw.carray(array("q", ids)),)
    db.execute("DELETE FROM envelope WHERE id IN (SELECT value FROM carray(?))", these)
    db.execute("DELETE FROM header WHERE id IN (SELECT value FROM carray(?))", these)


def _evict_routine(db: apsw.Connection, now_ms: int) -> bool:
    """Let the oldest routine batches go; their headers stay, and each stretch of them is a gap record."""
    rows: list[tuple[Any, ...]] = db.execute(_ROUTINE, (_AT_A_TIME,)).fetchall()
    headers = [Header(*row) for row in rows]
    for gap in stretches(headers):
        note_gap(db, gap, now_ms)
    for header in headers:
        _carry_on(db, header)
    if headers:
        _fold_pending(db, now_ms)
        ids = apsw.carray(array("q", [header.id for header in headers]))
        db.execute("DELETE FROM envelope WHERE id IN (SELECT value FROM carray(?))", (ids,))
        db.execute("UPDATE header SET gone = ? WHERE id IN (SELECT value FROM carray(?))", (Cause.EVICTED.value, ids))
        _limit_gone(db)
    return bool(headers)


def _limit_gone(db: apsw.Connection) -> None:
    """Let the oldest headers of evicted batches go: a year's outage must not fill the card with them."""
    count: Any = db.execute("SELECT count(*) FROM header WHERE gone != ''").fetchone()
    if count[0] > _MOST_GONE:
        db.execute(_OLDEST_GONE, (count[0] - _MOST_GONE,))


def _carry_on(db: apsw.Connection, header: Header) -> None:
    """Take the events of a batch that goes into the next one: what happened, and above all earlier gap records."""
    rows: list[tuple[Any, ...]] = db.execute("SELECT bytes FROM envelope WHERE id = ?", (header.id,)).fetchall()
    for event in parse_payload(dsse.Envelope.decode(rows[0][0]).payload).body.ev:
        db.execute("INSERT INTO event (body) VALUES (?)", (msgspec.msgpack.encode(event),))


def _fold_pending(db: apsw.Connection, now_ms: int) -> None:
    """Join gap records that wait for the next batch where they touch: the alarms between them bound their number."""
    rows: list[tuple[Any, ...]] = db.execute("SELECT id, body FROM event").fetchall()
    waiting = [(number, _event.decode(body)) for number, body in rows]
    told = [(number, Gap.of(event)) for number, event in waiting if event.name == GAP]
    # What is no eviction keeps its event: a record without numbers is told apart from another by its time alone.
    gaps = [(number, gap) for number, gap in told if gap.cause is Cause.EVICTED]
    folded = folded_gaps([gap for _, gap in gaps])
    if len(folded) < len(gaps):
        ids = apsw.carray(array("q", [number for number, _ in gaps]))
        db.execute("DELETE FROM event WHERE id IN (SELECT value FROM carray(?))", (ids,))
        for gap in folded:
            db.execute("INSERT INTO event (body) VALUES (?)", (msgspec.msgpack.encode(gap.event(now_ms)),))


def folded_gaps(gaps: Sequence[Gap]) -> list[Gap]:
    """Join evictions that touch; whatever else there is stays as it is."""
    folded: list[Gap] = []
    for gap in sorted(gaps, key=lambda one: (one.epoch, one.cause, one.first)):
        last = folded[-1] if folded else None
        if (
            last is not None
            and gap.cause is last.cause is Cause.EVICTED
            and (gap.epoch, gap.first) == (last.epoch, last.last + 1)
        ):
            folded[-1] = joined(last, gap)
        elif gap != last:
            folded.append(gap)
    return folded


@dataclass(frozen=True, slots=True)
class Header:
    """What a gap record says of a batch."""

    id: int
    seq: int
    readings: int
    from_ms: int
    to_ms: int
    epoch: str


def stretches(headers: list[Header], cause: Cause = Cause.EVICTED) -> list[Gap]:
    """Fold batches, in order, into gap records: one for each contiguous stretch of an epoch."""
    gaps: list[Gap] = []
    for one in headers:
        fresh = Gap(
            epoch=one.epoch, cause=cause, first=one.seq, last=one.seq, readings=one.readings,
            from_ms=one.from_ms, to_ms=one.to_ms,
        )  # fmt: skip
        if gaps and (gaps[-1].epoch, gaps[-1].last + 1) == (one.epoch, one.seq):
            gaps[-1] = joined(gaps[-1], fresh)
        else:
            gaps.append(fresh)
    return gaps


def joined(earlier: Gap, later: Gap) -> Gap:
    """Return one record for two stretches that touch."""
    return msgspec.structs.replace(
        earlier, last=later.last, readings=(earlier.readings or 0) + (later.readings or 0), to_ms=later.to_ms
    )


def note_gap(db: apsw.Connection, gap: Gap, at_ms: int) -> None:
    """Keep a gap record, and as an event for the next batch."""
    event = gap.event(at_ms)
    _record(db, gap)
    db.execute("INSERT INTO event (body) VALUES (?)", (msgspec.msgpack.encode(event),))


def _record(db: apsw.Connection, gap: Gap) -> None:
    """Keep a gap record; an eviction that goes on where the last record ended makes that one longer."""
    row: Any = db.execute("SELECT id, body FROM gap ORDER BY id DESC LIMIT 1").fetchone()
    if row is not None and gap.cause is Cause.EVICTED:
        folded = folded_gaps([msgspec.json.decode(row[1], type=Gap), gap])
        if len(folded) == 1:
            db.execute("DELETE FROM gap WHERE id = ?", (row[0],))
            gap = folded[0]
    db.execute("INSERT INTO gap (body) VALUES (?)", (msgspec.json.encode(gap),))


_CONFIRMED = "SELECT id FROM header WHERE confirmed = 2 AND gone = '' ORDER BY id LIMIT ?"
_MOST_GONE = 100_000  # headers without an envelope: their gap records say the same, and stay
_OLDEST_GONE = """
DELETE FROM header WHERE id IN (SELECT id FROM header WHERE gone != '' ORDER BY id LIMIT ?)
"""
_ROUTINE = """
SELECT id, seq, readings, from_ms, to_ms, epoch FROM header
WHERE confirmed = 0 AND gone = '' AND urgent = 0 ORDER BY id LIMIT ?
"""
