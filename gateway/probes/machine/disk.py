"""`machine:disk`: space where our data lie, whether it can be written, the file system's errors, the card's wear.

Wear: `life_time` of an eMMC (JEDEC eMMC 5.0: 0x01 is 0 to 10 % used, 0x0A 90 to 100 %, 0x0B beyond) and `pre_eol_info`
(0x01 normal, 0x02 80 % of the reserve used, 0x03 urgent). SD cards tell neither: then nothing is said of wear, only how
much has been written since boot (block layer `stat`, field 7: sectors of 512 bytes).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.probes.machine.settings import Machine
from gateway.probes.machine.tree import folders, number_of, text_of
from gateway.probes.machine.verdict import Part, assess_parts
from gateway.probes.outcome import Outcome, Reason, State
from wire.identity import SourceId
from wire.reading import Quality, Quantity

SOURCE: Final = SourceId("machine:disk")

_SECTOR: Final = 512
_WRITTEN: Final = 6
_BEYOND: Final = 0x0B
_URGENT: Final = 3


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The disk under `data`. `space` stands for statvfs."""

    settings: Machine
    data: Path
    root: Path = Path("/")
    space: Callable[[Path], os.statvfs_result] = os.statvfs
    source: SourceId = SOURCE
    device: str = "machine:disk"
    rungs: tuple[str, ...] = ("measured",)
    deadline_s: float = 10.0

    @property
    def every_s(self) -> float:
        """The section's."""
        return self.settings.every_s

    async def run(self) -> Outcome:
        """Read what is there; raises OSError where even the space cannot be read."""
        mount = _mount_of(self.root, self.data)
        parts = [self._room()]
        if mount is not None:
            parts.append(_writable(mount))
        parts += [part for part in (_errors(self.root), _wear(self.root, self.settings)) if part is not None]
        return assess_parts(parts, "")

    def _room(self) -> Part:
        found = self.space(self.data)
        free_mb = found.f_bavail * found.f_frsize / 1e6
        used = 100 * (1 - found.f_bavail / found.f_blocks) if found.f_blocks else 0.0
        full = free_mb < self.settings.least_free_mb
        figures = [Quantity("disk_free", "MBy", round(free_mb, 1)), Quantity("disk_used", "%", round(used, 1))]
        if found.f_files:
            figures.append(Quantity("inodes_free", "1", float(found.f_favail)))
        figures += _written(self.root)
        return Part(
            name="space",
            state=State.DEGRADED if full else State.OK,
            reason=Reason.DISK_FULL if full else Reason.NONE,
            why=f"{free_mb:.0f} MB left" if full else "",
            figures=figures,
        )


@dataclass(frozen=True, slots=True)
class _Mount:
    point: str
    device: str
    options: tuple[str, ...]


def _mount_of(root: Path, data: Path) -> _Mount | None:
    """Return the mount that holds a path: the longest that is above it, the last of those with one name (proc(5))."""
    path, best = str(data.absolute()), None
    for line in (text_of(root / "proc/mounts") or "").splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1])
        above = path == point or path.startswith(point.rstrip("/") + "/")
        if above and (best is None or len(point) >= len(best.point)):
            best = _Mount(point, fields[0], tuple(fields[3].split(",")))
    return best


def _writable(mount: _Mount) -> Part:
    """A card that fails is remounted read-only by the kernel (ext4: errors=remount-ro): nothing is kept any more."""
    read_only = "ro" in mount.options
    return Part(
        name="writable",
        state=State.FAIL if read_only else State.OK,
        reason=Reason.READ_ONLY if read_only else Reason.NONE,
        why=f"{mount.point} is read-only: its card is failing, or was mounted so" if read_only else "",
        facts={"mount": mount.point, "disk": mount.device},
    )


def _errors(root: Path) -> Part | None:
    """What ext4 has counted since its last check (Documentation/ABI/testing/sysfs-fs-ext4)."""
    counts = [number_of(folder / "errors_count") for folder in folders(root / "sys/fs/ext4")]
    told = [count for count in counts if count is not None]
    if not told:
        return None
    total = sum(told)
    return Part(
        name="file_system",
        state=State.DEGRADED if total else State.OK,
        reason=Reason.DEVICE_ERROR if total else Reason.NONE,
        why=f"{total} errors in the file system: save the data, replace the card" if total else "",
        figures=[Quantity("file_system_errors", "1", float(total))],
    )


def _wear(root: Path, settings: Machine) -> Part | None:
    """What the card says of its life; None where it says nothing."""
    levels: list[int] = []
    reserves: list[int] = []
    for folder in folders(root / "sys/block"):
        levels += [_hex(word) for word in (text_of(folder / "device/life_time") or "").split()]
        reserves.append(_hex(text_of(folder / "device/pre_eol_info") or ""))
    # 0 is "not defined" in both.
    used, reserve = max(filter(lambda level: level <= _BEYOND, levels), default=0), max(reserves, default=0)
    if not used and not reserve:
        return None
    percent = min(used * 10, 100)  # the upper end of its step: never better than it is
    worn = percent >= settings.worn_percent or reserve >= _URGENT
    quality = Quality.ABOVE_RANGE if used == _BEYOND else Quality.GOOD
    return Part(
        name="wear",
        state=State.DEGRADED if worn else State.OK,
        reason=Reason.DISK_WORN if worn else Reason.NONE,
        why=f"the card has used up to {percent} % of its life: replace it" if worn else "",
        figures=[Quantity("disk_wear", "%", float(percent), quality)] if used else [],
        facts={"card_reserve": reserve},
    )


def _written(root: Path) -> list[Quantity]:
    """What has gone to all disks since boot."""
    sectors = []
    for folder in folders(root / "sys/block"):
        fields = (text_of(folder / "stat") or "").split()
        # Memory that only looks like a disk wears nothing.
        if not folder.name.startswith(("loop", "ram", "zram", "dm-")) and len(fields) > _WRITTEN:
            sectors.append(int(fields[_WRITTEN]) if fields[_WRITTEN].isdecimal() else 0)
    return [Quantity("disk_written", "MBy", round(sum(sectors) * _SECTOR / 1e6, 1))] if sectors else []


def _hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
