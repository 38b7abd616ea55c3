"""`python -m tests.faults.gateway_broken SWITCH[+SWITCH] --config FILE`: the gateway with a guarantee switched off.

The switches live here and not in the product: nothing that is installed in a hamlet loses data on request.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import apsw
import msgspec

from gateway import __main__ as program
from gateway import crash, pipeline
from gateway.clock import Instant, SystemClock
from gateway.delivery.pace import Pace
from gateway.sources.chirpstack import ChirpStackSource, Pack
from gateway.spool import card, recovery, sqlite, store
from gateway.spool.sealing import Sealer
from gateway.spool.spool import Spool
from gateway.spool.sqlite import NotKept
from gateway.watchdog import Watchdog
from wire.mqtt import Message
from wire.reading import Reading

_PUBACK_LEAVES_S = 0.05  # long enough for the broker to have it


class Switch(enum.StrEnum):
    """A guarantee that can be switched off."""

    NONE = "none"
    ACK_BEFORE_COMMIT = "ack_before_commit"
    SYNCHRONOUS_NORMAL = "synchronous_normal"
    FAILED_IS_KEPT = "failed_is_kept"
    ALWAYS_CONTENT = "always_content"
    WALL_RHYTHM = "wall_rhythm"
    HASTY_RECOVERY = "hasty_recovery"
    SMALL_LOG = "small_log"
    NO_PACE = "no_pace"
    MALFORMED_DROPPED = "malformed_dropped"


def ack_before_commit() -> None:
    """Tell the broker before the readings are on the card."""

    async def keep(pack: Pack, readings: list[Reading], source: ChirpStackSource, spool: Spool, sealer: Sealer) -> None:
        source.keep(pack)
        await asyncio.sleep(_PUBACK_LEAVES_S)
        crash.reach(crash.Point.BEFORE_APPEND)
        await spool.append(readings)
        sealer.notice(readings)

    pipeline._keep = keep


def synchronous_normal() -> None:
    """Commit without waiting for the card: SQLite's own advice for WAL, and what a power cut does not forgive."""
    prepare = sqlite.prepare

    def hasty(db: apsw.Connection) -> None:
        prepare(db)
        db.execute("PRAGMA synchronous=NORMAL").fetchall()

    _prepare_by(hasty)


def _prepare_by(other: Callable[[apsw.Connection], None]) -> None:
    """Have it both where a file is opened and where it is opened anew."""
    for module in (store, card):
        vars(module)["prepare"] = other


def failed_is_kept() -> None:
    """Take a commit that the card refused for a good one."""
    append = store.SpoolFile.append

    def hopeful(file: store.SpoolFile, readings: Sequence[Reading]) -> int:
        try:
            return append(file, readings)
        except NotKept:
            return len(readings)

    store.SpoolFile.append = hopeful  # type: ignore[assignment,method-assign]


def always_content() -> None:
    """Tell the supervisor that all is well without having asked the spool."""
    keep_alive = Watchdog.keep_alive

    async def unasked() -> None: ...

    async def blind(watchdog: Watchdog, _: Callable[[], Awaitable[object]]) -> None:
        await keep_alive(watchdog, unasked)

    Watchdog.keep_alive = blind  # type: ignore[assignment,method-assign]


def wall_rhythm() -> None:
    """Let the wall clock set the rhythm: what is due after a step is then early, or years away."""
    now = SystemClock.now

    def walled(clock: SystemClock) -> Instant:
        instant = now(clock)
        return msgspec.structs.replace(instant, monotonic_ms=instant.wall_ms)

    SystemClock.now = walled  # type: ignore[assignment,method-assign]


def hasty_recovery() -> None:
    """Move a damaged spool aside without waiting for the card."""

    def write(path: Path, text: str) -> None:
        path.write_text(text)

    def leave(folder: Path) -> None: ...

    recovery._write_durably = write
    recovery.sync_folder = leave


def small_log() -> None:
    """No guarantee: SQLite's log goes into the file every 20 pages instead of 2,000, so that a cut meets it often."""
    prepare = sqlite.prepare

    def often(db: apsw.Connection) -> None:
        prepare(db)
        db.execute("PRAGMA wal_autocheckpoint=20").fetchall()

    _prepare_by(often)


def no_pace() -> None:
    """Put a whole window of backlog on the line, whatever the line can carry."""
    Pace.has_room = True  # type: ignore[assignment, method-assign]


def malformed_dropped() -> None:
    """Count what cannot be read, and keep nothing of it."""
    read = ChirpStackSource._pack

    def forgetful(self: ChirpStackSource, messages: list[Message]) -> Pack:
        return dataclasses.replace(read(self, messages), rejected=())

    ChirpStackSource._pack = forgetful  # type: ignore[method-assign]


THROW: dict[Switch, Callable[[], None]] = {
    Switch.NONE: lambda: None,
    Switch.ACK_BEFORE_COMMIT: ack_before_commit,
    Switch.SYNCHRONOUS_NORMAL: synchronous_normal,
    Switch.FAILED_IS_KEPT: failed_is_kept,
    Switch.ALWAYS_CONTENT: always_content,
    Switch.WALL_RHYTHM: wall_rhythm,
    Switch.HASTY_RECOVERY: hasty_recovery,
    Switch.SMALL_LOG: small_log,
    Switch.NO_PACE: no_pace,
    Switch.MALFORMED_DROPPED: malformed_dropped,
}


if __name__ == "__main__":
    for name in sys.argv.pop(1).split("+"):
        THROW[Switch(name)]()
    sys.exit(program.main())
