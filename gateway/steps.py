"""Steps of the wall clock, found by the boot clock, which never steps: when, by how much, and when it was first set."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gateway.clock import Instant
from wire.batch import Event
from wire.reading import ClockState

_LEAST_MS = 1_000  # smaller ones are what a time service does all day


class Step(msgspec.Struct, frozen=True):
    """A `clock_step` event's detail (JSON): add `offset_ms` to earlier wall times of this boot to have the newer ones.

    `monotonic_ms` is when; the readings' own times stay as they were written down.
    """

    offset_ms: int
    boot: str
    monotonic_ms: int
    state_before: ClockState
    state_after: ClockState


@dataclass(slots=True)
class StepFinder:
    """Compares each moment with the one before it."""

    last: Instant

    def look(self, now: Instant) -> Event | None:
        """Return the event of a step, or of the clock having been set; None when there is none."""
        last, self.last = self.last, now
        if now.boot != last.boot:
            return None
        offset = (now.wall_ms - last.wall_ms) - (now.monotonic_ms - last.monotonic_ms)
        was_set = last.state is ClockState.NONE and now.state is not ClockState.NONE
        if abs(offset) < _LEAST_MS and not was_set:
            return None
        step = Step(offset, now.boot, now.monotonic_ms, last.state, now.state)
        return Event(now.wall_ms, "clock_step", msgspec.json.encode(step).decode())
