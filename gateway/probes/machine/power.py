"""`machine:power`: the supply's voltage, mains and battery, as far as this machine can tell.

Under-voltage: the firmware's word `get_throttled` (Raspberry Pi documentation of vcgencmd: bit 0 under-voltage now, 1
frequency capped, 2 throttled, 3 soft temperature limit; 16 to 19 the same since boot), or the hwmon device `rpi_volt`
(`in0_lcrit_alarm`). Mains and battery: /sys/class/power_supply, or one line of a GPIO as a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.probes.machine.settings import Machine
from gateway.probes.machine.tree import folders, number_of, text_of
from gateway.probes.machine.verdict import Part, assess_parts
from gateway.probes.outcome import Outcome, Reason, State
from wire.identity import SourceId
from wire.reading import Quantity

SOURCE: Final = SourceId("machine:power")

_THROTTLED: Final = "sys/devices/platform/soc/soc:firmware/get_throttled"
_UNDER_VOLTAGE, _THROTTLED_NOW = 1 << 0, 1 << 2
_SINCE_BOOT: Final = 16
_MAINS_TYPES: Final = ("Mains", "USB", "UPS", "Wireless")  # power_supply class ABI: `online` is theirs
_LEAST_BATTERY: Final = 20  # percent: time to look after it


@dataclass(frozen=True, kw_only=True)
class Power:
    """The power of the machine."""

    settings: Machine
    root: Path = Path("/")
    source: SourceId = SOURCE
    device: str = "machine:power"
    rungs: tuple[str, ...] = ("measured",)
    deadline_s: float = 10.0

    @property
    def every_s(self) -> float:
        """The section's."""
        return self.settings.every_s

    async def run(self) -> Outcome:
        """Read what is there."""
        found = (_voltage(self.root), _mains(self.root, self.settings), _battery(self.root))
        return assess_parts(
            [part for part in found if part is not None], "this machine tells neither its voltage nor mains or battery"
        )


def supply_is_bad(root: Path, settings: Machine) -> bool:
    """Whether mains are away or the voltage is too low at this moment: why a boot after this one may come."""
    voltage, mains = _voltage(root), _mains(root, settings)
    return (voltage is not None and voltage.facts.get("under_voltage_now") is True) or (
        mains is not None and mains.state is State.DEGRADED
    )


def _voltage(root: Path) -> Part | None:
    flags = number_of(root / _THROTTLED, 16)
    alarm = _alarm(root)
    if flags is None and alarm is None:
        return None
    now = bool((flags or 0) & _UNDER_VOLTAGE) or alarm == 1
    before = bool((flags or 0) >> _SINCE_BOOT & _UNDER_VOLTAGE)
    figures = [Quantity("under_voltage", "1", float(now))]
    if flags is not None:
        figures.append(Quantity("under_voltage_since_boot", "1", float(before)))
        figures.append(Quantity("throttled", "1", float(bool(flags & _THROTTLED_NOW))))
    why = "under-voltage now: the supply or its cable is too weak" if now else ""
    if before and not now:
        why = "under-voltage since the last boot: the supply or its cable is too weak"
    bad = now or before
    return Part(
        name="voltage",
        state=State.DEGRADED if bad else State.OK,
        reason=Reason.UNDER_VOLTAGE if bad else Reason.NONE,
        why=why,
        figures=figures,
        facts={"under_voltage_now": now, "throttled": None if flags is None else f"0x{flags:x}"},
    )


def _alarm(root: Path) -> int | None:
    for folder in folders(root / "sys/class/hwmon"):
        if text_of(folder / "name") == "rpi_volt":
            return number_of(folder / "in0_lcrit_alarm")
    return None


def _mains(root: Path, settings: Machine) -> Part | None:
    """Mains: the configured line first, then any supply that says whether it is online. A line that is named and
    cannot be read is unknown: not having it is no mains and no lack of them.
    """
    if settings.mains_file is not None:
        said = text_of(root / str(settings.mains_file).lstrip("/"))
        if said is None:
            return Part(
                name="mains",
                state=State.UNKNOWN,
                reason=Reason.NO_EQUIPMENT,
                why=f"mains_file {settings.mains_file} cannot be read",
            )
        return _mains_part(said == settings.mains_present)
    online = [number_of(folder / "online") for folder in _supplies(root, _MAINS_TYPES)]
    told = [one for one in online if one is not None]
    return _mains_part(any(told)) if told else None


def _mains_part(present: bool) -> Part:
    return Part(
        name="mains",
        state=State.OK if present else State.DEGRADED,
        reason=Reason.NONE if present else Reason.NO_MAINS,
        why="" if present else "no mains: it runs on its battery",
        figures=[Quantity("mains", "1", float(present))],
    )


def _battery(root: Path) -> Part | None:
    levels = [number_of(folder / "capacity") for folder in _supplies(root, ("Battery", "UPS"))]
    told = [level for level in levels if level is not None]
    if not told:
        return None
    level = min(told)
    low = level < _LEAST_BATTERY
    return Part(
        name="battery",
        state=State.DEGRADED if low else State.OK,
        reason=Reason.LOW_BATTERY if low else Reason.NONE,
        why=f"battery at {level} %" if low else "",
        figures=[Quantity("battery_level", "%", float(level))],
    )


def _supplies(root: Path, types: tuple[str, ...]) -> Iterable[Path]:
    return [one for one in folders(root / "sys/class/power_supply") if text_of(one / "type") in types]
