"""What can go wrong between the water and the broker, as probabilities, and the draw for one frame."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final


class DeviceFault(StrEnum):
    """A fault a device shows in its payload. Which model can show which: `devices.Device.possible_faults`."""

    NO_SENSOR = "no-sensor"  # LDDS75: distance 0, sensor flag 0
    INVALID_READING = "invalid-reading"  # LDDS75: distance 20
    COLLECTION_FAILED = "collection-failed"  # EM500-UDL: 0xFFFF
    PROBE_MISSING = "probe-missing"  # WQS-LB: the probe's flag and bytes are absent
    BATTERY_ONLY = "battery-only"  # Decentlab: sensor group absent from the flags
    STUCK = "stuck"  # every quantity but the battery repeats its last value
    LOW_BATTERY = "low-battery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Probabilities (0..1) per frame unless said otherwise; the default is a perfect world.

    The seven device faults apply only to models that can show them. Raises ValueError outside 0..1.
    """

    loss: float = 0.0  # lost on air: the counter advances, nothing is published
    duplicate: float = 0.0  # the same event published twice, byte-identical
    late: float = 0.0  # published up to `late_max_s` after it was observed, order within the device kept
    retransmission: float = 0.0  # the network server drops a repeated frame and writes a `log` event
    rejoin: float = 0.0  # the device joins again before this frame: new DevAddr, counter from 0
    no_sensor: float = 0.0
    invalid_reading: float = 0.0
    collection_failed: float = 0.0
    probe_missing: float = 0.0
    battery_only: float = 0.0
    stuck: float = 0.0  # start of an episode of `stuck_frames`
    low_battery: float = 0.0  # share of the devices, drawn once
    late_max_s: int = 900
    duplicate_max_s: int = 30
    stuck_frames: int = 12

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(("_s", "_frames")):
                if value < 1:
                    raise ValueError(f"{field.name} must be at least 1, not {value}")
            elif not 0.0 <= value <= 1.0:
                raise ValueError(f"{field.name} is a probability, not {value}")


PER_FRAME: Final = (  # the order is part of the seeded stream: append, never reorder
    DeviceFault.NO_SENSOR,
    DeviceFault.INVALID_READING,
    DeviceFault.COLLECTION_FAILED,
    DeviceFault.PROBE_MISSING,
    DeviceFault.BATTERY_ONLY,
    DeviceFault.STUCK,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to one frame. Delays in ms; `repeated_after_ms` is None when no duplicate is published."""

    lost: bool
    late_by_ms: int
    repeated_after_ms: int | None
    retransmitted: bool
    rejoins: bool
    shown: frozenset[DeviceFault]


def draw_fate(faults: Faults, rng: random.Random) -> Fate:
    """Decide one frame's fate.

    Draws the same number of random values whatever the probabilities are, so that turning one fault on leaves
    the dice of all others as they were.
    """
    dice = [rng.random() for _ in range(7 + len(PER_FRAME))]
    lost, late, delay, repeated, gap, retransmitted, rejoins, *shown = dice
    return Fate(
        lost=lost < faults.loss,
        late_by_ms=round(delay * faults.late_max_s * 1000) + 1 if late < faults.late else 0,
        repeated_after_ms=round(gap * faults.duplicate_max_s * 1000) + 1 if repeated < faults.duplicate else None,
        retransmitted=retransmitted < faults.retransmission,
        rejoins=rejoins < faults.rejoin,
        shown=_shown(faults, shown),
    )


def _shown(faults: Faults, dice: list[float]) -> frozenset[DeviceFault]:
    limits = (
        faults.no_sensor,
        faults.invalid_reading,
        faults.collection_failed,
        faults.probe_missing,
        faults.battery_only,
        faults.stuck,
    )
    return frozenset(fault for fault, die, limit in zip(PER_FRAME, dice, limits, strict=True) if die < limit)
