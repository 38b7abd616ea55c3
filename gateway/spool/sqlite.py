"""SQLite as the spool uses it: a checksum on every page, and each of its errors sorted by what it means for us.

SQLite alone notices damage only where it breaks a structure; a flipped bit in a value it hands out as it is. With the
checksum VFS (`cksumvfs`, part of SQLite's own extensions, brought by apsw) every page is verified when it is read.
"""

from __future__ import annotations

import functools
import struct
from pathlib import Path

import apsw
import apsw.sqlite_extra

PAGE_BYTES = 4096
_RESERVED = 8  # bytes of a page that hold its checksum
_WORD = 0xFFFF_FFFF
_VFS = "cksmvfs"
_CACHE_KIB = 4000
_LOG_PAGES = 2000


class SpoolError(Exception):
    """The spool cannot be used: the message names the file, what is wrong and what to do."""


class NotKept(Exception):
    """The card does not take it now (full, failing, read-only): nothing was kept, try again later."""


class Damaged(Exception):
    """The file is damaged. The process ends, and the next start salvages what can be read."""


def sorted_error(error: apsw.Error) -> Exception:
    """Return what an error of SQLite means for us."""
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.FormatError) or _is_checksum(error):
        return Damaged(str(error))
    if isinstance(error, apsw.FullError):
        return NotKept("there is no space left on the card")
    if isinstance(error, apsw.IOError | apsw.ReadOnlyError | apsw.CantOpenError):
        return NotKept(f"the card does not take it: {error}")
    return error


def _is_checksum(error: apsw.Error) -> bool:
    return getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA


@functools.cache
def _checksums() -> str:
    """Register the checksum VFS once a process; returns its name."""
    loader = apsw.Connection(":memory:")
    try:
        apsw.sqlite_extra.load(loader, "cksumvfs")
    finally:
        loader.close()
    return _VFS


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """Open a file with checksums; a new file gets them."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    new = not read_only and (not path.exists() or path.stat().st_size == 0)
    db = apsw.Connection(str(path), flags=flags, vfs=_checksums())
    db.set_busy_timeout(5_000)  # `xom gateway status` reads now and then
    if new:
        db.reserve_bytes(reserve=_RESERVED)
    return db


def prepare(db: apsw.Connection) -> None:
    """Set how it writes."""
    # WAL with synchronous=FULL survives a power cut at any moment; NORMAL lost up to 914 confirmed rows in a
    # simulated one. Decision 005.
    # fetchall: apsw stops at a statement's first row, and what follows it would never run.
    db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()
    db.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES:d}; PRAGMA cache_size=-{_CACHE_KIB:d}").fetchall()
    db.execute("PRAGMA temp_store=MEMORY").fetchall()


def checksum(db: apsw.Connection) -> None:
    """Give a file of an older xom its checksums: once, by writing it anew."""
    if db.reserve_bytes() >= _RESERVED:
        return
    db.execute("PRAGMA journal_mode=DELETE").fetchall()
    db.reserve_bytes(reserve=_RESERVED)
    db.execute("VACUUM")
    db.execute("PRAGMA journal_mode=WAL").fetchall()


def checksummed(page: bytes) -> bytes:
    """Return a page with the checksum in its last bytes that cksumvfs will look for."""
    first = second = 0
    words = struct.unpack(f"<{(len(page) - _RESERVED) // 4}I", page[:-_RESERVED])
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & _WORD
        second = (second + words[at + 1] + first) & _WORD
    return page[:-_RESERVED] + struct.pack("<2I", first, second)


def used_bytes(db: apsw.Connection) -> int:
    """Return how much of the file holds something; free pages are written again before it grows."""
    return int(db.pragma("page_count") - db.pragma("freelist_count")) * PAGE_BYTES
