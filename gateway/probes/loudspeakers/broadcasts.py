"""Whether a scheduled broadcast was played: at least nine tenths of its length (criteria.md OD-1). Pure.

A log of the device decides where there is one; else samples taken meanwhile: a share of them stands for a share of the
time, and too few of them for nothing. A silent day has no broadcast, which is not a bad one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.probes.local_time import VIET_NAM
from gateway.probes.loudspeakers.finding import FINE, Check
from gateway.probes.loudspeakers.memory import Sample
from gateway.probes.loudspeakers.settings import Broadcast
from gateway.probes.outcome import Reason, State

PLAYED: Final = 0.9
LEAST_SAMPLES: Final = 3
SETTLE_MS: Final = 600_000  # after its end: a device writes its log late, and a broadcast may begin late
_LATE_MS: Final = 120_000  # what may lie outside and still belongs to it


@dataclass(frozen=True, slots=True)
class Due:
    """One broadcast: from when to when, ms UTC."""

    start_ms: int
    end_ms: int


def due(broadcasts: Sequence[Broadcast], from_ms: int, to_ms: int) -> Iterator[Due]:
    """Yield what starts from `from_ms` on and is over before `to_ms`, in order of the calendar."""
    day = datetime.fromtimestamp(from_ms / 1000, UTC).astimezone(VIET_NAM).date() - timedelta(days=1)
    last = datetime.fromtimestamp(to_ms / 1000, UTC).astimezone(VIET_NAM).date()
    while day <= last:
        for one in broadcasts:
            if day.isoweekday() in one.days:
                hour, minute = map(int, one.start.split(":"))
                start = datetime(day.year, day.month, day.day, hour, minute, tzinfo=VIET_NAM)
                start_ms = round(start.timestamp() * 1000)
                found = Due(start_ms, start_ms + one.minutes * 60_000)
                if from_ms <= found.start_ms and found.end_ms <= to_ms:
                    yield found
        day += timedelta(days=1)


def share_of_log(one: Due, spans: Sequence[tuple[int, int]]) -> float:
    """Return the share of its length that was played: a late start still counts as long as it all falls near it."""
    played = reached = 0
    for start, end in sorted(spans):
        begin = max(start, one.start_ms - _LATE_MS, reached)
        stop = min(end, one.end_ms + _LATE_MS)
        if stop > begin:
            played, reached = played + stop - begin, stop
    return min(1.0, played / (one.end_ms - one.start_ms))


def share_of_samples(one: Due, samples: Sequence[Sample], kinds: frozenset[str]) -> float | None:
    """Return the share of the samples within it that showed playing; None where they are too few."""
    within = [sample for sample in samples if sample.kind in kinds and one.start_ms <= sample.at_ms <= one.end_ms]
    if len(within) < LEAST_SAMPLES:
        return None
    return sum(sample.playing for sample in within) / len(within)


def judge(share: float | None) -> Check:
    """Return the verdict on one broadcast."""
    if share is None:
        return Check(State.UNKNOWN, Reason.STALE, "a broadcast was due, and nobody knows whether it was played")
    if share >= PLAYED:
        return FINE
    return Check(State.FAIL, Reason.NOT_PLAYED, f"{share:.0%} of a broadcast was played")


def is_on(broadcasts: Sequence[Broadcast], now_ms: int) -> bool:
    """Whether one is due at this moment."""
    day_ms = 86_400_000
    return any(one.start_ms <= now_ms <= one.end_ms for one in due(broadcasts, now_ms - day_ms, now_ms + day_ms))
