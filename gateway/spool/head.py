"""The chain's head, written a second time beside the spool: by it a damaged log is recognised.

SQLite drops a damaged or cut end of its log without a word: the spool would look sound and be older than it was, and
the next batch would take a number that is already at the hub. The head says how far the spool had come. It is written
after each commit, and on the card (fsync) before a sealed batch is handed out. Two places in turn: one is always whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from pathlib import Path

import msgspec

_PLACE_BYTES = 4096
_PLACES = 2


class Head(msgspec.Struct, frozen=True, array_like=True):
    """How far the spool has come: the last sequence of its epoch, and reading ids kept and sealed so far."""

    epoch: str
    last_seq: int
    through: int
    kept: int
    sealed: int
    turn: int = 0


class HeadFile:
    """The file. `write` costs a system call; `sync` puts it on the card."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._turn = 0
        self._last: Head | None = None
        self._written: Head | None = None

    def open(self) -> Head | None:
        """Open or make it; returns the newest head that is whole, None where there is none."""
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        found = read(self.path)
        with contextlib.suppress(OSError):  # blocks for both places now: later writes need none of a full card
            os.posix_fallocate(self._fd, 0, _PLACES * _PLACE_BYTES)
        self._turn = found.turn if found else 0
        return found

    def write(self, head: Head) -> None:
        """Replace the older place. A card that does not take it leaves an older head, which `sync` replaces."""
        self._last = head
        with contextlib.suppress(OSError):
            self._write(head)

    def _write(self, head: Head) -> None:
        if self._fd is None:
            return
        self._turn += 1
        text = msgspec.msgpack.encode(msgspec.structs.replace(head, turn=self._turn))
        framed = zlib.crc32(text).to_bytes(4) + len(text).to_bytes(2) + text
        if os.pwrite(self._fd, framed, self._turn % _PLACES * _PLACE_BYTES) != len(framed):
            raise OSError(errno.EIO, "cut short")
        self._written = head

    def sync(self) -> None:
        """Return when the last head is on the card; raises OSError.

        After a sync that failed the head is written once more: the kernel may have dropped the page and call the next
        sync a success (decision 008).
        """
        if self._fd is None:
            return
        if self._written is self._last:
            with contextlib.suppress(OSError):
                os.fdatasync(self._fd)
                return
        if self._last is not None:
            self._write(self._last)
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go of it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def read(path: Path) -> Head | None:
    """Return the newest head in a file that is whole, None where there is none."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    heads = [head for at in range(_PLACES) if (head := _parse(data[at * _PLACE_BYTES : (at + 1) * _PLACE_BYTES]))]
    return max(heads, key=lambda head: head.turn, default=None)


def _parse(place: bytes) -> Head | None:
    crc, length = int.from_bytes(place[:4]), int.from_bytes(place[4:6])
    text = place[6 : 6 + length]
    if not length or len(text) != length or zlib.crc32(text) != crc:
        return None
    try:
        return msgspec.msgpack.decode(text, type=Head)
    except msgspec.MsgspecError:
        return None
