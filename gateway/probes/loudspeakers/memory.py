"""What must be known across restarts of one cluster: samples during broadcasts, what was judged, the last test.

A small JSON file, replaced as a whole. One that cannot be read is begun anew: then a broadcast of the time before is
judged no more, which is a missing slot and not a bad one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.durable import replace_file

log = structlog.get_logger(__name__)

KEPT_MS: Final = 2 * 86_400_000
_MOST_SAMPLES: Final = 4_000


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One look during a broadcast: what kind of sign, and whether it showed playing."""

    at_ms: int
    kind: str
    playing: bool


class Memory(msgspec.Struct):
    """Times are ms UTC by the wall clock, 0 for never."""

    since_ms: int = 0
    samples: list[Sample] = []
    judged: list[int] = []
    tested_ms: int = 0
    sound: str = ""
    sound_ms: int = 0
    booted_ms: int = 0

    def forget(self, now_ms: int) -> None:
        """Drop what no broadcast can need any more."""
        self.samples = [one for one in self.samples if one.at_ms > now_ms - KEPT_MS][-_MOST_SAMPLES:]
        self.judged = [one for one in self.judged if one > now_ms - 2 * KEPT_MS]


def recall(path: Path) -> Memory:
    """Return what was kept, or a fresh one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("a loudspeaker's memory cannot be read and is begun anew", path=str(path), why=str(error))
        return Memory()


def keep(path: Path, memory: Memory) -> None:
    """Replace the file as a whole, where it says something else; raises OSError."""
    data = msgspec.json.encode(memory)
    if path.exists() and path.read_bytes() == data:
        return  # a card lasts as long as it is not written to
    replace_file(path, data)
