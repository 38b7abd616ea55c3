"""`machine:clock`: is the clock kept by a time service, how sure is the kernel of it, what does the battery clock say.

Report only: what sets the clock is chrony. The battery clock (RTC) is read as the kernel gives it, UTC, in whole
seconds (Documentation/ABI/testing/sysfs-class-rtc: `since_epoch`, else `date` and `time`).
"""

from __future__ import annotations

import ctypes
import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.clock import Clock
from gateway.probes.machine.settings import Machine
from gateway.probes.machine.tree import folders, number_of, text_of
from gateway.probes.machine.verdict import Part, assess_parts
from gateway.probes.outcome import Fact, Outcome, Reason, State
from wire.identity import SourceId
from wire.reading import Quantity

SOURCE: Final = SourceId("machine:clock")

_TIME_ERROR: Final = 5  # adjtimex(2)
_STA_UNSYNC: Final = 0x0040
_STA_NANO: Final = 0x2000


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), as far as we read it, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Discipline:
    """What the kernel says of its clock. `most_error_ms` is the bound that it puts on its own error."""

    synchronised: bool
    most_error_ms: float
    error_ms: float
    offset_ms: float


def kernel_discipline() -> Discipline | None:
    """Ask the kernel, changing nothing; None where it does not let us."""
    buffer = _Timex()
    outcome = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(buffer))
    if outcome < 0:
        return None
    return Discipline(
        synchronised=outcome != _TIME_ERROR and not buffer.status & _STA_UNSYNC,
        most_error_ms=buffer.maxerror / 1e3,
        error_ms=buffer.esterror / 1e3,
        offset_ms=buffer.offset / (1e6 if buffer.status & _STA_NANO else 1e3),
    )


@dataclass(frozen=True, kw_only=True)
class ClockWatch:
    """The machine's clock. `discipline` stands for adjtimex."""

    settings: Machine
    clock: Clock
    root: Path = Path("/")
    discipline: Callable[[], Discipline | None] = kernel_discipline
    source: SourceId = SOURCE
    device: str = "machine:clock"
    rungs: tuple[str, ...] = ("measured",)
    deadline_s: float = 10.0

    @property
    def every_s(self) -> float:
        """The section's."""
        return self.settings.every_s

    async def run(self) -> Outcome:
        """Read what is there."""
        found = (_kept(self.discipline()), self._battery_clock())
        return assess_parts([part for part in found if part is not None], "the kernel tells nothing of its clock")

    def _battery_clock(self) -> Part | None:
        clocks = list(folders(self.root / "sys/class/rtc"))
        if not clocks:
            return None
        at_s = _rtc_s(clocks[0])
        name: dict[str, Fact] = {"rtc": text_of(clocks[0] / "name")}
        if at_s is None:
            why = "the battery clock is there, and cannot be read: its battery?"
            return Part(name="rtc", state=State.DEGRADED, reason=Reason.DEVICE_ERROR, why=why, facts=name)
        offset_s = self.clock.now().wall_ms / 1000 - at_s
        off = abs(offset_s) > self.settings.skew_s
        return Part(
            name="rtc",
            state=State.DEGRADED if off else State.OK,
            reason=Reason.CLOCK_SKEW if off else Reason.NONE,
            why=f"clock and battery clock are {offset_s:+.0f} s apart" if off else "",
            figures=[Quantity("rtc_offset", "s", round(offset_s, 1))],
            facts=name,
        )


def _kept(discipline: Discipline | None) -> Part | None:
    if discipline is None:
        return None
    figures = [Quantity("clock_synchronised", "1", float(discipline.synchronised))]
    if discipline.synchronised:  # without a time service these are what the kernel was born with
        figures += [
            Quantity("clock_max_error", "ms", round(discipline.most_error_ms, 3)),
            Quantity("clock_error", "ms", round(discipline.error_ms, 3)),
            Quantity("clock_correction", "ms", round(discipline.offset_ms, 3)),
        ]
    return Part(
        name="time",
        state=State.OK if discipline.synchronised else State.DEGRADED,
        reason=Reason.NONE if discipline.synchronised else Reason.UNSYNCHRONISED,
        why="" if discipline.synchronised else "no time service keeps the clock (chrony, its servers, the line)",
        figures=figures,
    )


def _rtc_s(folder: Path) -> float | None:
    """Return the battery clock's time, s since 1970; None where it cannot be read."""
    at = number_of(folder / "since_epoch")
    if at is not None:
        return float(at)
    try:
        text = f"{text_of(folder / 'date')}T{text_of(folder / 'time')}+00:00"
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
