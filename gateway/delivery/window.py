"""Which batch goes next: the pure part of delivery. No socket, no file, no clock: `now` is seconds on any monotonic
scale.

    sealed, not sent ──▶ in flight ──▶ stored, says an Ack
                             ▲   │ no word in time, refused, named missing
                             └───┘         └──▶ refused three times: parked, an hour at a time

Order: live alarms, older alarms, then what the hub names as missing, then live batches, then the backlog, oldest first.
Live are batches sealed since the connection came up; a quarter of the window is kept free for them, so that no backlog
delays them. While the line is crowded (gateway/delivery/pace.py) only live batches and live alarms go.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field

from wire.ack import Ack
from wire.identity import Epoch

_MISSING_GRACE_S = 2.0  # an ack may cross a batch on the wire: what was sent just now is not missing yet
_LONGEST_RESEND_S = 900.0
_UNANSWERED = 3  # sendings of one batch without an acknowledgement: the hub is not taking data
_REFUSALS = 3  # of one batch; then it is parked
_PARKED_S = 3600.0
_MOST_PARKED = 10_000
_MOST_URGENT = 1_000  # alarms that overtake; beyond that many at once, order is all that is left to them


class Verdict(enum.StrEnum):
    """What became of an acknowledgement."""

    ACCEPTED = "accepted"
    OTHER_EPOCH = "other_epoch"
    OLD_INCARNATION = "old_incarnation"
    LATE = "late"  # a lower watermark of the same hub: an older message overtaken by a newer one
    FORK = "fork"  # it speaks of batches that we have not written: somebody else writes this log, too


@dataclass(slots=True)
class _Flight:
    sent_at: float
    attempts: int
    due_at: float


@dataclass(slots=True)
class _Parked:
    reason: str
    due_at: float


@dataclass(slots=True, kw_only=True)
class DeliveryWindow:
    """The state of one epoch's delivery. Memory is bounded by `size` and a few limits, whatever the backlog.

    `disputed`: another writer has been found in this epoch. Then only a proven watermark is believed, nothing above it.
    """

    epoch: Epoch
    through: int = 0
    highest: int = 0
    incarnation: int = 0
    size: int = 16
    resend_s: float = 30.0
    disputed: bool = False
    chance: random.Random = field(default_factory=random.SystemRandom)
    _flights: dict[int, _Flight] = field(default_factory=dict)
    _urgent: list[int] = field(default_factory=list)
    _missing: list[tuple[int, int]] = field(default_factory=list)
    _refused: dict[int, int] = field(default_factory=dict)  # how often the hub refused a batch
    _parked: dict[int, _Parked] = field(default_factory=dict)
    _gone: list[tuple[int, int]] = field(default_factory=list)  # stretches whose bytes retention let go
    _hub_highest: int = 0
    _backlog_next: int = 0
    _backlog_end: int = 0
    _live_next: int = 0

    def __post_init__(self) -> None:
        self._start_over()

    def _start_over(self) -> None:
        """Take everything above the watermark as backlog."""
        self._flights.clear()
        self._missing.clear()
        self._hub_highest = self.through
        self._backlog_next, self._backlog_end = self.through + 1, self.highest
        self._live_next = self.highest + 1

    # ---- what happens

    def seal(self, seq: int, *, urgent: bool = False) -> None:
        """Note a batch that has just been sealed."""
        self.highest = max(self.highest, seq)
        if urgent:
            self._urgent = [*self._urgent[1 - _MOST_URGENT :], seq]  # the oldest of too many stay in the backlog

    def reconnect(self) -> None:
        """Note a new connection: whatever was in flight has to go again, what is unsent until now is backlog."""
        for flight in self._flights.values():
            flight.due_at = float("-inf")
        if self._backlog_next > self._backlog_end:
            self._backlog_next = self._live_next
        self._backlog_end = self.highest
        self._live_next = self.highest + 1

    def acknowledge(self, ack: Ack, now: float, ours: bytes | None = None) -> Verdict:
        """Take the hub's word, if it may be taken; `through` then says up to where batches are free.

        `ours` is the payload hash of our batch at the acknowledgement's anchor, None where we know none (decision 010).
        """
        if ack.epoch != self.epoch:
            return Verdict.OTHER_EPOCH
        if ack.incarnation < self.incarnation:
            return Verdict.OLD_INCARNATION
        if self._is_of_another_writer(ack, ours):
            return Verdict.FORK
        if ack.incarnation == self.incarnation and ack.through < self.through:
            return Verdict.LATE
        # A restored hub may lack anything above its watermark, also what an earlier life confirmed beyond a hole.
        restored = ack.through < self.through or 0 < self.incarnation < ack.incarnation
        anchored = ack.anchor.seq if self.disputed and ack.anchor is not None else ack.through
        self.incarnation, self.through = ack.incarnation, anchored
        if restored:
            self._start_over()
        self._missing, self._hub_highest = ([], self.through) if self.disputed else (list(ack.missing), ack.highest)
        self._land(now)
        return Verdict.ACCEPTED

    def _is_of_another_writer(self, ack: Ack, ours: bytes | None) -> bool:
        """Whether an acknowledgement speaks of batches that are not ours.

        In a disputed epoch that is known: there the anchor alone has to be ours.
        """
        differs = ack.anchor is not None and ours is not None and ours.hex() != ack.anchor.sha256
        if self.disputed:
            return differs or ack.anchor is None or ack.anchor.seq > self.highest
        return differs or bool(ack.broken) or ack.highest > self.highest

    def _land(self, now: float) -> None:
        """Drop from the window what the hub has, and hurry what it lacks."""
        for seq, flight in list(self._flights.items()):
            if self._is_stored(seq):
                del self._flights[seq]
            elif seq < self._hub_highest and now - flight.sent_at > _MISSING_GRACE_S:
                flight.due_at = now
        self._urgent = [seq for seq in self._urgent if not self._is_stored(seq)]
        for seq in [seq for seq in self._parked if self._is_stored(seq)]:
            del self._parked[seq]
        self._backlog_next = max(self._backlog_next, self.through + 1)

    def fail(self, seq: int, now: float, *, wait: bool) -> None:
        """Note that a batch did not reach the broker, or (`wait`) reached it when nobody was there to take it."""
        flight = self._flights.get(seq)
        if flight is not None:
            flight.due_at = self._resend_at(now, flight.attempts) if wait else now

    def refuse(self, seq: int, reason: str, now: float) -> None:
        """Note that the hub refused a batch. After the third time it is parked, so that it holds up no other."""
        if self._is_stored(seq) or not 0 < seq <= self.highest:
            return
        self._refused[seq] = self._refused.get(seq, 0) + 1
        while len(self._refused) > _MOST_PARKED:
            del self._refused[next(iter(self._refused))]
        if self._refused.get(seq, 0) >= _REFUSALS:
            self._park(seq, reason, now)
        else:
            self.fail(seq, now, wait=True)

    def _park(self, seq: int, reason: str, now: float) -> None:
        """Send it again every hour only: a newer hub may take it one day."""
        self._flights.pop(seq, None)
        if seq in self._urgent:
            self._urgent.remove(seq)
        if seq in self._parked or len(self._parked) < _MOST_PARKED:
            self._parked[seq] = _Parked(reason, now + _PARKED_S * (0.75 + 0.5 * self.chance.random()))

    @property
    def parked(self) -> dict[int, str]:
        """The batches that the hub does not take, with its reason."""
        return {seq: parked.reason for seq, parked in self._parked.items()}

    def drop(self, seq: int, last: int | None = None) -> None:
        """Forget batches whose bytes are gone: what retention let go after an earlier hub had it, or the card lost."""
        first, last = seq, max(seq, last or seq)
        for one in [one for one in self._flights if first <= one <= last]:
            del self._flights[one]
        apart = []
        for low, high in self._gone:
            if high + 1 < first or last + 1 < low:
                apart.append((low, high))
            else:
                first, last = min(low, first), max(high, last)
        self._gone = [*apart, (first, last)]

    # ---- what to do

    def next(self, now: float, *, bulk: bool = True) -> int | None:
        """Return the batch to send now, and take it as in flight; None when there is nothing to do yet.

        Without `bulk` only what is live goes: the line has no room for more.
        """
        seq = self._choose(now, bulk=bulk)
        if seq is not None:
            self._parked.pop(seq, None)
            attempts = self._flights[seq].attempts + 1 if seq in self._flights else 1
            self._flights[seq] = _Flight(now, attempts, self._resend_at(now, attempts))
        return seq

    def wake_in(self, now: float) -> float | None:
        """Return in how many seconds something is due again; None: only an event can change that."""
        due = [flight.due_at for flight in self._flights.values()]
        due += [parked.due_at for parked in self._parked.values()]
        return max(0.0, min(due) - now) if due else None

    @property
    def in_flight(self) -> int:
        """Batches sent whose storing the hub has not confirmed."""
        return len(self._flights)

    @property
    def unanswered(self) -> bool:
        """Whether a batch has been sent three times and more without a word from the hub."""
        return any(flight.attempts >= _UNANSWERED for flight in self._flights.values())

    def _choose(self, now: float, *, bulk: bool) -> int | None:
        alarm = self._next_alarm(now, bulk=bulk)
        if alarm is not None:
            return alarm
        if not bulk:
            return self._next_live() if self.in_flight < self.size else None
        overdue = [seq for seq, flight in self._flights.items() if flight.due_at <= now]
        if self.disputed:
            overdue = [seq for seq in overdue if not self._gives_way(seq, now)]
        if overdue:
            return min(overdue)
        if self.in_flight >= self.size:
            return None
        return self._next_missing() or self._next_live() or self._next_backlog() or self._next_parked(now)

    def _gives_way(self, seq: int, now: float) -> bool:
        """In a disputed epoch the hub cannot name what it holds above the watermark: what gets no word steps aside."""
        if self._flights[seq].attempts < _UNANSWERED:
            return False
        self._park(seq, "unanswered", now)
        return True

    def _next_parked(self, now: float) -> int | None:
        return min((seq for seq, parked in self._parked.items() if parked.due_at <= now), default=None)

    def _next_alarm(self, now: float, *, bulk: bool) -> int | None:
        """Return the alarm to send now, a live one before those of the outage, which nobody waits for any more.

        Each kind may fill a window of its own beside the other batches'.
        """
        for live in (True, False) if bulk else (True,):
            alarms = [seq for seq in self._urgent if (seq > self._backlog_end) is live]
            flown = {seq: self._flights[seq] for seq in alarms if seq in self._flights}
            due = [seq for seq, flight in flown.items() if flight.due_at <= now]
            if not due and len(flown) < self.size:
                due = [seq for seq in alarms if seq not in flown and self._gone_to(seq) is None]
            if due:
                return min(due)
        return None

    def _next_missing(self) -> int | None:
        """Return what the hub lacks below its highest and we have sent: lost on the way, or by a restored hub."""
        for first, last in self._missing:
            seq = self._advance(first, min(last, self._backlog_next - 1))
            if seq is not None:
                return seq
        return None

    def _next_live(self) -> int | None:
        seq = self._advance(self._live_next, self.highest)
        self._live_next = seq + 1 if seq else max(self._live_next, self.highest + 1)
        return seq

    def _next_backlog(self) -> int | None:
        if self.in_flight >= max(1, self.size - self.size // 4):
            return None
        seq = self._advance(self._backlog_next, self._backlog_end)
        self._backlog_next = seq + 1 if seq else max(self._backlog_next, self._backlog_end + 1)
        return seq

    def _advance(self, seq: int, last: int) -> int | None:
        """Return the first batch from `seq` to `last` that is neither stored nor in flight nor gone."""
        while seq <= last:
            gone_to = self._gone_to(seq)
            if seq in self._flights or seq in self._parked:
                seq += 1
            elif gone_to is not None:
                seq = gone_to + 1
            elif self._is_stored(seq):
                seq = self._after_stored(seq)
            else:
                return seq
        return None

    def _after_stored(self, seq: int) -> int:
        """Skip a stored stretch in one step: it may be a million long. Always forward, whatever the hub has said."""
        later_holes = [first for first, _ in self._missing if first > seq]
        return max(seq, min(later_holes, default=max(self._hub_highest, self.through) + 1) - 1) + 1

    def _gone_to(self, seq: int) -> int | None:
        """Return the end of the stretch around `seq` that retention let go, None where there is none."""
        return next((last for first, last in self._gone if first <= seq <= last), None)

    def _is_stored(self, seq: int) -> bool:
        if seq <= self.through:
            return True
        return seq <= self._hub_highest and not any(first <= seq <= last for first, last in self._missing)

    def _resend_at(self, now: float, attempts: int) -> float:
        patience = min(_LONGEST_RESEND_S, self.resend_s * 2.0 ** min(attempts - 1, 16))
        return now + patience * (0.75 + 0.5 * self.chance.random())
