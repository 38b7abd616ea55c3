"""`machine:self`: boots, temperature, memory, load."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gateway.clock import Clock
from gateway.probes.machine.boots import UNPLANNED, day_before, noted
from gateway.probes.machine.power import supply_is_bad
from gateway.probes.machine.settings import Machine
from gateway.probes.machine.tree import folders, number_of, text_of
from gateway.probes.machine.verdict import Part, assess_parts
from gateway.probes.outcome import Outcome, Reason, State
from wire.identity import SourceId
from wire.reading import Quantity

SOURCE = SourceId("machine:self")


@dataclass(frozen=True, kw_only=True)
class Board:
    """The machine as a whole. `boots_file` is the memory of its boots."""

    settings: Machine
    clock: Clock
    boots_file: Path
    root: Path = Path("/")
    source: SourceId = SOURCE
    device: str = "machine:self"
    rungs: tuple[str, ...] = ("measured",)
    deadline_s: float = 10.0

    @property
    def every_s(self) -> float:
        """The section's."""
        return self.settings.every_s

    async def run(self) -> Outcome:
        """Read what is there."""
        parts = (self._boots(), _temperature(self.root, self.settings.hot_c), _memory(self.root, self.settings))
        return assess_parts([part for part in parts if part is not None], "this machine tells nothing of itself")

    def _boots(self) -> Part:
        now = self.clock.now()
        log = noted(
            self.boots_file, self.root, now.boot, now.wall_ms, supply_bad=supply_is_bad(self.root, self.settings)
        )
        last = log.boots[-1].reason
        unplanned = log.unplanned_since(day_before(now.wall_ms))
        figures = [
            Quantity("boots", "1", float(log.count)),
            Quantity("unplanned_boots", "1", float(unplanned)),
            Quantity("uptime", "s", now.monotonic_ms / 1000),
        ]
        load = re.match(r"\d+\.\d+", text_of(self.root / "proc/loadavg") or "")
        if load:
            figures.append(Quantity("load", "1", float(load[0])))
        often = unplanned >= self.settings.boots_a_day
        return Part(
            name="boots",
            state=State.DEGRADED if often else State.OK,
            reason=Reason.RESTARTED if often else Reason.NONE,
            why=f"{unplanned} unplanned restarts in a day, the last: {last}" if often else "",
            figures=figures,
            facts={"boot": now.boot, "boot_reason": last, "boot_unplanned": last in UNPLANNED},
        )


def _temperature(root: Path, hot_c: float) -> Part | None:
    """The hottest zone (thermal sysfs API: m°C)."""
    zones = [number_of(zone / "temp") for zone in folders(root / "sys/class/thermal") if zone.name.startswith("therm")]
    found = [zone / 1000 for zone in zones if zone is not None]
    if not found:
        return None
    hottest = max(found)
    hot = hottest >= hot_c
    return Part(
        name="temperature",
        state=State.DEGRADED if hot else State.OK,
        reason=Reason.HOT if hot else Reason.NONE,
        why=f"{hottest:.0f} °C: it slows itself down; shade, air" if hot else "",
        figures=[Quantity("cpu_temperature", "Cel", hottest)],
    )


def _memory(root: Path, settings: Machine) -> Part | None:
    """What programs can still have (proc(5): MemAvailable, kB of 1024 bytes)."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text_of(root / "proc/meminfo") or "", re.MULTILINE)
    if match is None:
        return None
    free_mb = int(match[1]) * 1024 / 1e6
    low = free_mb < settings.least_memory_mb
    return Part(
        name="memory",
        state=State.DEGRADED if low else State.OK,
        reason=Reason.LOW_MEMORY if low else Reason.NONE,
        why=f"{free_mb:.0f} MB of memory left" if low else "",
        figures=[Quantity("memory_available", "MBy", round(free_mb, 1))],
    )
