"""How often the machine came back, and why: a small file remembers each boot, and what was seen last in the one before.

The kernel tells a new boot by its id. Why it came is read from what is there, first that holds: a watchdog that says so
(WDIOF_CARDRESET in `bootstatus`), a record of a crash in pstore, an orderly shutdown in wtmp, mains or supply that were
bad when we last looked. Otherwise the reason is `unexpected`, which a power cut is; without a wtmp `unknown`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.durable import replace_file
from gateway.probes.machine.tree import folders, number_of, text_of

BootReason = Literal["first", "watchdog", "crash", "orderly", "power", "unexpected", "unknown"]
UNPLANNED: Final = ("watchdog", "crash", "power", "unexpected")

_MOST_BOOTS: Final = 50
_DAY_MS: Final = 86_400_000
_CARD_RESET: Final = 0x20  # linux/watchdog.h
_RUN_LEVEL, _BOOT_TIME = 1, 2  # utmp(5)
_MOST_RECORDS: Final = 500


class Boot(msgspec.Struct, frozen=True):
    """One boot: its id, when we first saw it (ms UTC by the wall clock, which may not have been set), why it came."""

    id: str
    seen_ms: int
    reason: BootReason


class Log(msgspec.Struct, frozen=True):
    """The file. `count` counts all boots since it was made; `supply_bad` is what was seen last."""

    count: int = 0
    boots: tuple[Boot, ...] = ()
    supply_bad: bool = False

    def unplanned_since(self, at_ms: int) -> int:
        """Return how many boots since a moment nobody had ordered."""
        return sum(boot.seen_ms >= at_ms and boot.reason in UNPLANNED for boot in self.boots)


def noted(path: Path, root: Path, boot: str, now_ms: int, *, supply_bad: bool) -> Log:
    """Return the log with this boot in it, written where it has changed. A file that cannot be read begins anew."""
    before = _read(path)
    log = before
    if not before.boots or before.boots[-1].id != boot:
        reason = _reason(before, root)
        log = Log(before.count + 1, (*before.boots, Boot(boot, now_ms, reason))[-_MOST_BOOTS:], supply_bad)
    elif before.supply_bad != supply_bad:
        log = Log(before.count, before.boots, supply_bad)
    if log != before:
        _write(path, log)
    return log


def day_before(now_ms: int) -> int:
    """Return the moment a day ago."""
    return now_ms - _DAY_MS


def _reason(before: Log, root: Path) -> BootReason:
    if not before.boots:
        return "first"
    status = number_of(root / "sys/class/watchdog/watchdog0/bootstatus")
    if status is not None and status & _CARD_RESET:
        return "watchdog"
    if any(True for _ in folders(root / "sys/fs/pstore")):
        return "crash"
    orderly = _shut_down_in_order(root / "var/log/wtmp")
    if orderly:
        return "orderly"
    if before.supply_bad:
        return "power"
    return "unknown" if orderly is None else "unexpected"


def _shut_down_in_order(wtmp: Path) -> bool | None:
    """Whether a shutdown stands between the last two boots in wtmp; None where wtmp does not tell."""
    try:
        raw = wtmp.read_bytes()
    except OSError:
        return None
    for size in (384, 400):  # utmp(5): times of 32 bits (x86-64, arm) and of 64 bits (arm64)
        if raw and len(raw) % size == 0:
            kinds = list(_records(raw[-_MOST_RECORDS * size :], size))
            if kinds and all(0 <= kind <= 9 for kind, _ in kinds):
                return _before_last_boot(kinds)
    return None


def _records(raw: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(raw), size):
        (kind,) = struct.unpack_from("<h", raw, at)
        yield kind, raw[at + 44 : at + 76].rstrip(b"\0")


def _before_last_boot(kinds: list[tuple[int, bytes]]) -> bool | None:
    boots = [at for at, (kind, _) in enumerate(kinds) if kind == _BOOT_TIME]
    if len(boots) < 2:
        return None
    return any(kind == _RUN_LEVEL and user == b"shutdown" for kind, user in kinds[boots[-2] : boots[-1]])


def _read(path: Path) -> Log:
    try:
        return msgspec.json.decode((text_of(path) or "").encode(), type=Log)
    except msgspec.MsgspecError:
        return Log()


def _write(path: Path, log: Log) -> None:
    """Replace the file; a power cut leaves the old one or the new one."""
    replace_file(path, msgspec.json.encode(log))
