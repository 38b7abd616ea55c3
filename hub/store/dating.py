"""When a reading was observed, told by the clock that was set only afterwards (decision 014). Pure.

Wall and boot clock differ by a constant between two steps of the wall clock. So one moment at which both are known, and
the wall clock is right, dates everything else in that boot by the boot clock alone: no offsets are added up, and a step
that nobody noted does no harm.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from wire.batch import Batch
from wire.columns import Columns, observed_at_ms, spread
from wire.identity import GatewayId
from wire.reading import ClockState

STEP_EVENT: Final = "clock_step"
_LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01, as in wire.batch
_LONGEST_BOOT: Final = 64
_LONGEST_MONOTONIC_MS: Final = 2**53
_SAME_CLOCK_MS: Final = 1_000  # how far two programs' readings of one clock may contradict each other
_MOST_STEPS: Final = 100  # of one batch: what is beyond stands in its body

Boot = tuple[GatewayId, str]


class Setting(NamedTuple):
    """A moment at which the gateway's clock was right: its boot clock and its wall clock, ms. In order of time."""

    monotonic_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dating:
    """What is known of the times of one batch that was written with an unset clock, `times_ms` per reading.

    `originals` has, by index in the batch, the times as written of the readings that a setting dates; the others stand
    as written. `certain` says of each reading whether it is one of those.
    `settled` is the last setting that was used, None while a reading waits for one; `settings` counts those that were
    known from the first reading up to it. Only another one among these can change this dating.
    """

    boot: Boot
    times_ms: list[int]
    written_ms: list[int]
    originals: dict[int, int] = field(default_factory=dict)
    certain: list[bool]
    first_monotonic_ms: int
    settled: Setting | None
    settings: int


class _Step(msgspec.Struct, frozen=True):
    """A `clock_step` event's detail, as far as we need it."""

    boot: str
    monotonic_ms: int
    state_after: ClockState


def told(batch: Batch) -> Iterator[tuple[Boot, Setting]]:
    """Yield the settings that a batch's events tell of. A step after which the clock is still unset tells nothing."""
    steps = [event for event in batch.body.ev if event.name == STEP_EVENT]
    for event in steps[:_MOST_STEPS]:
        try:
            step = _decode(event.detail)
        except msgspec.MsgspecError:
            continue
        if step.state_after is not ClockState.NONE and _usable(step.boot) and _plausible(step.monotonic_ms):
            yield (batch.gateway, step.boot), Setting(step.monotonic_ms, event.at_ms)


def is_unset(batch: Batch) -> bool:
    """Whether a batch's readings were taken while the clock had not been set, in a boot that can be named."""
    body = batch.body
    return body.clock.state is ClockState.NONE and body.r.n > 0 and _usable(body.boot)


def date(boot: Boot, columns: Columns, known: Iterable[Setting], *, indexes: Sequence[int] | None = None) -> Dating:
    """Date the readings of a batch for which `is_unset` holds, from all that is known of its boot.

    A reading is dated by the first setting after it. One that was dated by another clock than the gateway's (a radio
    with GNSS, an earlier boot) is left as it is: its time does not lie between the boot and its reception.
    `indexes` say which readings of the batch these are; None: all of them, in order.
    """
    written = observed_at_ms(columns)
    indexes = range(len(written)) if indexes is None else indexes
    settings, times, originals = sorted(set(known)), list(written), dict[int, int]()
    certain = [False] * len(written)
    moments = list(_moments(columns, written))
    used: list[Setting | None] = []
    for at, monotonic_ms, lag_ms in moments:
        nearest = bisect.bisect_left(settings, (monotonic_ms, 0))
        setting = settings[nearest] if nearest < len(settings) else None
        used.append(setting)
        if setting is not None:
            dated = setting.wall_ms - setting.monotonic_ms + monotonic_ms - lag_ms
            if 0 <= dated <= _LATEST_MS:
                times[at], originals[indexes[at]], certain[at] = dated, written[at], True
    first = min((monotonic_ms for _, monotonic_ms, _ in moments), default=_LONGEST_MONOTONIC_MS)
    settled = max((one for one in used if one is not None), default=None) if None not in used else None
    return Dating(
        boot=boot,
        times_ms=times,
        written_ms=written,
        originals=originals,
        certain=certain,
        first_monotonic_ms=first,
        settled=settled,
        settings=_between(settings, first, settled),
    )


def _moments(columns: Columns, written: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield index, boot clock and lag of the readings that were dated by this boot's own clock."""
    lags, drifts = spread(columns.lag, columns.n), spread(columns.drift, columns.n)
    base_drift = columns.mono - (columns.base + lags[0])
    for at, (observed_ms, lag_ms, drift_ms) in enumerate(zip(written, lags, drifts, strict=True)):
        monotonic_ms = observed_ms + lag_ms + drift_ms + base_drift
        if _plausible(monotonic_ms) and -_SAME_CLOCK_MS <= lag_ms <= monotonic_ms + _SAME_CLOCK_MS:
            yield at, monotonic_ms, lag_ms


def _between(settings: Sequence[Setting], first_ms: int, settled: Setting | None) -> int:
    low = bisect.bisect_left(settings, (first_ms, 0))
    high = len(settings) if settled is None else bisect.bisect_right(settings, settled)
    return high - low


def _usable(boot: str) -> bool:
    return 0 < len(boot) <= _LONGEST_BOOT and boot.isprintable()


def _plausible(monotonic_ms: int) -> bool:
    return 0 <= monotonic_ms <= _LONGEST_MONOTONIC_MS


_decode = msgspec.json.Decoder(_Step).decode
