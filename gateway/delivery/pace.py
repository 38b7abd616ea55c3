"""How much of the backlog may be on the line at once, so that an alarm never waits long behind it.

Pure: no socket, no clock. What the socket, the modem and the network hold cannot be overtaken any more, and on a line
of 128 kbit/s a full window is seconds of it. The broker's PUBACK says how long a batch was on the line; what it took
longer than the quickest one is the queue before it. The pace keeps that queue between half a second and a second: it
gives more room while the queue is shorter and less when it is longer. Decision 011.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

_QUEUE_S = 1.0
_FIRST_BYTES = 8_000.0  # half a second of 128 kbit/s
_LEAST_BYTES = 1.0  # one batch at a time: on an empty line any batch goes
_MOST_BYTES = 256_000.0  # one batch of the largest size; 50 ms of 5 MB/s
_SLOWER = 0.7


@dataclass(slots=True)
class _Passage:
    """One batch on its way to the broker. `crowded`: it took the last of the room that there was."""

    size: float
    sent_at: float
    crowded: bool = False


@dataclass(slots=True)
class Pace:
    """Bytes that the broker has not confirmed yet, and how many there may be. `now` is seconds, any monotonic scale.

    A batch is named by whatever its sender likes, as long as it says the same at both ends.
    """

    allowed: float = _FIRST_BYTES
    _usual_size: float = 2_000.0
    _quickest_s: float = float("inf")
    _slowed_at: float | None = None
    _passages: dict[Hashable, _Passage] = field(default_factory=dict)

    @property
    def on_line(self) -> float:
        """Bytes that are under way."""
        return sum(one.size for one in self._passages.values())

    @property
    def has_room(self) -> bool:
        """Whether a batch of the backlog may go now. Live batches and alarms go whatever this says."""
        on_line = self.on_line
        return not on_line or on_line + self._usual_size <= self.allowed

    def start_over(self) -> None:
        """Forget the line: a new connection may be another one."""
        self.allowed, self._quickest_s, self._slowed_at = _FIRST_BYTES, float("inf"), None
        self._passages.clear()

    def begin(self, batch: Hashable, now: float) -> None:
        """Count a batch that is about to go, with the usual size until it is weighed."""
        self._passages[batch] = _Passage(self._usual_size, now)

    def weigh(self, batch: Hashable, size: int, now: float) -> None:
        """Note a batch's size at the moment when it is handed to the line."""
        self._usual_size += (size - self._usual_size) / 8
        if batch in self._passages:
            self._passages[batch] = _Passage(size, now)
            self._passages[batch].crowded = not self.has_room

    def end(self, batch: Hashable, now: float, *, taken: bool) -> None:
        """Note that a batch has left the line; `taken`: the broker has said so."""
        passage = self._passages.pop(batch, None)
        if passage is not None and taken:
            self._learn(passage, now)

    def _learn(self, passage: _Passage, now: float) -> None:
        took = now - passage.sent_at
        self._quickest_s = min(self._quickest_s, took)
        queue_s = took - self._quickest_s
        if queue_s < _QUEUE_S / 2:
            if passage.crowded:
                # Twice as much with every round trip at first; one batch more with each once the line has been full.
                share = 1.0 if self._slowed_at is None else min(1.0, passage.size / self.allowed)
                self.allowed = min(_MOST_BYTES, self.allowed + share * passage.size)
        elif queue_s > _QUEUE_S and (self._slowed_at is None or passage.sent_at > self._slowed_at):
            # Once for all that was on the line together: those behind it were sent before we could know.
            self.allowed, self._slowed_at = max(_LEAST_BYTES, self.allowed * _SLOWER), now
