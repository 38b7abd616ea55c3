"""No damaged file stops a start: it is moved aside, and whatever can be read of it goes into a fresh spool.

The chain goes on only where its position is proven: the salvaged spool is not older than the head beside it
(`head.py`). Else a new epoch begins, the old one's batches are delivered under their own epoch, and a gap record says
which of its numbers may be missing. Decision 008.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import msgspec
import structlog

from gateway.durable import replace_file
from gateway.spool.head import Head
from gateway.spool.room import Header, note_gap, stretches
from gateway.spool.sqlite import PAGE_BYTES, checksummed, connect
from wire import dsse
from wire.batch import BatchError, Cause, Event, Gap, parse_payload

log = structlog.get_logger(__name__)

_QUARANTINED = 3  # damaged spools kept for a person to look at
_QUICK_BYTES = 64_000_000  # a file up to this is read through at each start; a larger one only in its live tables
_KEEP_CONFIRMED = 2_000  # confirmed batches that are copied: the newest; the rest stays in quarantine
PROVEN = 2  # of `header.confirmed`: the hub has it, and it is proven to be ours (schema/003.sql)
_FURTHEST = 10_000_000  # a damaged counter must not make us count for ever
_LIVE = ("spool", "reading", "event", "header", "gap", "older")


def inspect(db: apsw.Connection, known: Head | None) -> str:
    """Return what is wrong with a spool that opens, "" when nothing is found; raises apsw.Error on damage."""
    # Closing would else write the log into a file whose first page may be gone, and then without the checksums that
    # this page asks for: the newest pages would count as damaged.
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.pragma("query_only", True)
    _pad(Path(db.filename), db.pragma("page_count"))
    if db.pragma("user_version") < 2:
        return ""
    if Path(db.filename).stat().st_size <= _QUICK_BYTES:
        found = str(db.pragma("quick_check", 1))
        if found != "ok":
            return found
    else:
        for table in _LIVE:
            for _ in db.execute(f"SELECT * FROM {table}"):  # noqa: S608 - our own names
                pass
    row = _one(db, "SELECT epoch, last_seq FROM spool")
    if row is None:
        return "" if known is None else "its chain is gone"
    return behind(str(row[0]), int(row[1]), _kept(db), known)


def _pad(path: Path, pages: int) -> None:
    """Let a page that was cut off fail its checksum; SQLite reads what lies behind a file's end as zeros, unverified.

    What the log holds is read from there, and overwrites this when it goes into the file.
    """
    short = pages * PAGE_BYTES - path.stat().st_size
    if short > 0:
        with suppress(OSError), path.open("ab") as file:  # a full card: the next start looks again
            file.write(b"\xff" * short)


def behind(epoch: str, last_seq: int, kept: int, known: Head | None) -> str:
    """Return why a spool is not as new as its head says, "" when it is."""
    if known is None:
        return "its head is gone: where the chain stands cannot be proven"
    if known.epoch != epoch:
        return f"its head is of epoch {known.epoch}, the file of {epoch}"
    if known.last_seq > last_seq or known.kept > kept:
        return f"it goes to sequence {last_seq} and reading {kept}, its head to {known.last_seq} and {known.kept}"
    return ""


def _kept(db: apsw.Connection) -> int:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'reading'").fetchone()
    return int(row[0]) if row else 0


def recover(
    path: Path, known: Head | None, findings: str, fresh: Callable[[Path], apsw.Connection], now_ms: int
) -> None:
    """Put a fresh spool with everything that can be read in a damaged one's place; after a crash in between, go on."""
    damaged = _quarantine(path, now_ms)
    if damaged is None:
        _pending(path).unlink()
        return
    building = path.with_suffix(".salvage")
    _clear(building)
    with closing(fresh(building)) as new:
        with closing(_open_damaged(damaged, fresh)) as old, new:
            report = _salvage(old, new, known, now_ms)
            _note(new, now_ms, "salvaged", f"{findings}; {report}; kept as {damaged.name}")
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    building.replace(path)
    sync_folder(path.parent)  # before the note of where the damaged one lies goes
    _pending(path).unlink()
    for suffix in (".graft", ".nothing", ".template"):
        for scaffold in damaged.parent.glob(f"{damaged.stem}{suffix}*"):
            scaffold.unlink()
    with suppress(FileNotFoundError):
        path.with_suffix(".suspect").unlink()
    log.error("spool salvaged", problem=findings, result=report, quarantine=str(damaged))


def _clear(scaffold: Path) -> None:
    """Remove what a recovery that was cut short has left: a fresh spool is made only where there is no file."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{scaffold}{suffix}").unlink(missing_ok=True)


# ---- the damaged file


def is_pending(path: Path) -> bool:
    """Whether an earlier recovery was cut short."""
    return _pending(path).exists()


def _pending(path: Path) -> Path:
    return path.parent / "quarantine" / "pending"


def _quarantine(path: Path, now_ms: int) -> Path | None:
    """Move file and log aside, the file last; returns where to, None when an earlier recovery had only this left to do.

    `pending` holds the name until the fresh spool stands: a crash at any step goes on from there.
    """
    pending = _pending(path)
    pending.parent.mkdir(exist_ok=True)
    if not pending.exists():
        _write_durably(pending, _free_name(pending.parent, now_ms))
    target = pending.parent / pending.read_text()
    if target.exists() and path.exists():
        return None
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(Path(f"{target}{suffix}"))
    sync_folder(path.parent)
    _forget_oldest(pending.parent)
    return target


def _write_durably(path: Path, text: str) -> None:
    """Make a file that a power cut leaves whole or not there.

    Else its name may reach the card before its content does, together with the renames that follow: an empty note of
    where the damaged spool lies loses everything in it.
    """
    replace_file(path, text.encode())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the card."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _free_name(folder: Path, now_ms: int) -> str:
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S%f")
    turn = sum(1 for _ in folder.glob(f"{stamp}-*.db"))
    return f"{stamp}-{turn}.db"


def _forget_oldest(folder: Path) -> None:
    for old in sorted(folder.glob("*.db"))[:-_QUARANTINED]:
        for file in folder.glob(f"{old.stem}.*"):
            file.unlink(missing_ok=True)


def _open_damaged(path: Path, fresh: Callable[[Path], apsw.Connection]) -> apsw.Connection:
    """Open what was moved aside. Where its schema cannot be read, a fresh spool's takes its place in a copy."""
    try:
        return _readable(path)
    except apsw.Error:
        pass
    graft = path.with_suffix(".graft")
    _clear(graft)
    with suppress(OSError):
        _graft(path, graft, fresh)
        with suppress(apsw.Error):
            return _readable(graft)
    _clear(path.with_suffix(".nothing"))
    nothing = fresh(path.with_suffix(".nothing"))
    nothing.execute("DELETE FROM spool")
    return nothing


def _readable(path: Path) -> apsw.Connection:
    if not path.exists():
        raise apsw.CantOpenError("the file is gone")
    db = connect(path)
    try:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # what lies in quarantine stays as it was
        db.execute("SELECT * FROM spool").fetchall()
    except apsw.Error:
        if db.execute("SELECT 1").fetchone() is None or not _schema_stands(db):
            db.close()
            raise
    return db


def _schema_stands(db: apsw.Connection) -> bool:
    try:
        return bool(db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'envelope'").fetchone())
    except apsw.Error:
        return False


def _graft(path: Path, graft: Path, fresh: Callable[[Path], apsw.Connection]) -> None:
    """Copy a file whose schema is damaged, with the pages that hold the schema taken from a fresh one.

    Both were made by the same statements, so each table's root page has the same number.
    """
    template = path.with_suffix(".template")
    _clear(template)
    with closing(fresh(template)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        pages = [row[0] for row in db.execute("SELECT pageno FROM dbstat WHERE name = 'sqlite_schema'")]
        size = db.pragma("page_size")
    sound, data = template.read_bytes(), bytearray(path.read_bytes())
    for number in pages:
        at = (number - 1) * size
        data[at : at + size] = sound[at : at + size]
    data[28:32] = (len(data) // size).to_bytes(4)  # SQLite's file format, 1.3.8: the size in pages
    data[32:40] = bytes(8)  # no free pages known
    data[:size] = checksummed(bytes(data[:size]))
    graft.write_bytes(data)
    log_of = Path(f"{path}-wal")
    if log_of.exists():
        Path(f"{graft}-wal").write_bytes(log_of.read_bytes())
    template.unlink()


# ---- salvage


def _rows(db: apsw.Connection, table: str, columns: str, *, furthest: int = _FURTHEST) -> Iterator[tuple[Any, ...]]:
    """Yield a table's rows by id, past whatever cannot be read."""
    at = 0
    while at < furthest:
        try:
            for row in db.execute(f"SELECT id, {columns} FROM {table} WHERE id > ? ORDER BY id", (at,)):  # noqa: S608 - our own names
                at = row[0]
                yield row
        except apsw.Error:
            found = _next_id(db, table, columns, at)
            if found is None:
                return
            at = found[0]
            yield found
        else:
            return


def _next_id(db: apsw.Connection, table: str, columns: str, after: int) -> tuple[Any, ...] | None:
    """Feel for the next readable row: every id for a while, then in growing steps."""
    at, step = after, 1
    last = _last_id(db, table, after)
    while at < last:
        at += step
        try:
            row = db.execute(f"SELECT id, {columns} FROM {table} WHERE id = ?", (at,)).fetchone()  # noqa: S608 - our own names
        except apsw.Error:
            continue
        if row is not None:
            return tuple(row)
    return None


def _last_id(db: apsw.Connection, table: str, after: int) -> int:
    with suppress(apsw.Error):
        row = db.execute(f"SELECT max(id) FROM {table}").fetchone()  # noqa: S608 - our own names
        if row is not None and row[0] is not None:
            return min(int(row[0]), after + _FURTHEST)
    return after + 20_000


def _one(db: apsw.Connection, sql: str) -> tuple[Any, ...] | None:
    with suppress(apsw.Error):
        return db.execute(sql).fetchone()
    return None


def _salvage(old: apsw.Connection, new: apsw.Connection, known: Head | None, now_ms: int) -> str:
    """Copy every readable row, decide about the epoch, and note what is missing. Returns a line for people."""
    spool = _one(old, "SELECT * FROM spool")
    headers = list(_rows(old, "header", "epoch, seq, payload_sha256, from_ms, to_ms, readings, urgent, sealed_at_ms, "
                                        "confirmed, gone"))  # fmt: skip
    headers = sorted([*headers, *_headless(old, {row[0] for row in headers}, spool)])
    # No number beyond the head's has been handed out: a file that is newer than its head (the process was killed
    # between the two) proves its place as well.
    proven = spool is not None and known is not None and spool[2] == known.epoch and spool[3] >= known.last_seq
    if proven and spool is not None:
        new.execute("DELETE FROM spool")
        new.execute("INSERT INTO spool VALUES (?, ?, ?, ?, ?, ?, ?, ?)", spool)
    lost = _copy_batches(old, new, headers)
    for gap in stretches(lost, Cause.DAMAGED):
        note_gap(new, gap, now_ms)
    counted = known and _brought_up_to_date(known, headers)
    readings = _copy_readings(old, new, counted, now_ms, proven=proven, gone=spool is None)
    for table in ("event", "gap"):
        for _, body in _rows(old, table, "body"):
            new.execute(f"INSERT INTO {table} (body) VALUES (?)", (body,))  # noqa: S608 - our own names
    for _, key in _rows(old, "recent", "key"):
        new.execute("INSERT OR IGNORE INTO recent (key) VALUES (?)", (key,))
    with suppress(apsw.Error):
        for row in old.execute("SELECT * FROM heard"):
            new.execute("INSERT OR REPLACE INTO heard VALUES (?, ?, ?, ?, ?, ?)", row)
    _copy_epochs(old, new, spool, headers, known, proven, now_ms)
    return f"{len(headers) - len(lost)} batches and {readings} readings saved"


def _headless(old: apsw.Connection, known: Set[int], spool: tuple[Any, ...] | None) -> Iterator[tuple[Any, ...]]:
    """Write anew the headers that cannot be read: an envelope says all that its header did, but for the hub's word.

    One page holds the headers of some fifty batches; without this they would all go with it.
    """
    for number in [row[0] for row in _rows(old, "envelope", "1") if row[0] not in known]:
        row = _one(old, f"SELECT bytes FROM envelope WHERE id = {number:d}")  # noqa: S608 - our own names
        with suppress(dsse.EnvelopeError, BatchError):
            batch = parse_payload(dsse.Envelope.decode(row[0] if row else b"").payload)
            body = batch.body
            confirmed = spool is not None and (spool[2], spool[6] >= batch.seq) == (str(batch.epoch), True)
            yield (
                number, str(batch.epoch), batch.seq, batch.payload_sha256, body.from_ms, body.to_ms, body.r.n,
                bool(body.r.urgent), body.to_ms, confirmed, "",
            )  # fmt: skip


def _copy_batches(old: apsw.Connection, new: apsw.Connection, headers: Sequence[tuple[Any, ...]]) -> list[Header]:
    """Copy batches; returns those whose envelope cannot be read and that the hub does not have."""
    lost: list[Header] = []
    confirmed_ids = sorted(row[0] for row in headers if row[9] == PROVEN)
    newest_confirmed = set(confirmed_ids[-_KEEP_CONFIRMED:])
    for row in headers:
        number, epoch, seq, _, from_ms, to_ms, readings, _, _, confirmed, gone = row
        if confirmed == PROVEN and number not in newest_confirmed:
            continue
        envelope = None if gone else _one(old, f"SELECT bytes FROM envelope WHERE id = {number:d}")  # noqa: S608 - our own names
        if envelope is None and not gone:
            if not confirmed:
                lost.append(Header(number, seq, readings, from_ms, to_ms, epoch))
            row = (*row[:10], Cause.DAMAGED.value)
        new.execute("INSERT OR IGNORE INTO header VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        if envelope is not None:
            new.execute("INSERT OR IGNORE INTO envelope VALUES (?, ?)", (number, envelope[0]))
    return lost


def _copy_readings(
    old: apsw.Connection, new: apsw.Connection, known: Head | None, now_ms: int, *, proven: bool, gone: bool
) -> int:
    """Copy what was not sealed; what the head has counted and is not there is a gap of so many readings.

    The head on the card may be some commits old after a power cut. Where the file does not prove otherwise the number
    is a lower bound, `certain: false`; where the file is gone that is said also when the head knows of none.
    """
    count = 0
    for number, body in _rows(old, "reading", "body"):
        new.execute("INSERT INTO reading (id, body) VALUES (?, ?)", (number, body))
        count += 1
    if known is not None:
        there = len(new.execute("SELECT id FROM reading WHERE id > ?", (known.sealed,)).fetchall())
        missing = known.kept - known.sealed - there
        if missing > 0 or gone:
            # They may have been in a batch whose number is reported beside this.
            gap = Gap(epoch=known.epoch, cause=Cause.DAMAGED, readings=max(0, missing), certain=proven)
            note_gap(new, gap, now_ms)
        _count_on(new, known.kept)
    return count


def _brought_up_to_date(known: Head, headers: Sequence[tuple[Any, ...]]) -> Head:
    """Return the head with what the file shows to have been sealed after it was written."""
    later = sum(row[6] for row in headers if row[1] == known.epoch and row[2] > known.last_seq)
    sealed = known.sealed + later
    return msgspec.structs.replace(known, sealed=sealed, kept=max(known.kept, sealed))


def _count_on(new: apsw.Connection, kept: int) -> None:
    """Let reading ids go on where the damaged spool stood."""
    new.execute("DELETE FROM sqlite_sequence WHERE name = 'reading' AND seq < ?", (kept,))
    new.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'reading', ? WHERE NOT EXISTS "
        "(SELECT 1 FROM sqlite_sequence WHERE name = 'reading')",
        (kept,),
    )


def _copy_epochs(
    old: apsw.Connection,
    new: apsw.Connection,
    spool: tuple[Any, ...] | None,
    headers: Sequence[tuple[Any, ...]],
    known: Head | None,
    proven: bool,
    now_ms: int,
) -> None:
    """Carry over what is known of each epoch; of one that ends here, say which numbers may be missing."""
    ends: dict[str, tuple[int, int, int]] = {}
    with suppress(apsw.Error):
        for epoch, last, through, incarnation in old.execute("SELECT * FROM older"):
            ends[epoch] = (last, through, incarnation)
    seen: dict[str, set[int]] = {}
    for row in headers:
        seen.setdefault(row[1], set()).add(row[2])
    current = spool[2] if spool else (known.epoch if known else None)
    if current is not None:
        last = max(spool[3] if spool else 0, known.last_seq if known and known.epoch == current else 0)
        through = max(spool[6] if spool else 0, known.through if known and known.epoch == current else 0)
        ends[current] = (last, through, spool[7] if spool else 0)
    for epoch, present in seen.items():
        ends.setdefault(epoch, (max(present), 0, 0))
    for epoch, (last, through, incarnation) in ends.items():
        for first, end in holes(through, last, seen.get(epoch, set())):
            gap = Gap(epoch=epoch, cause=Cause.DAMAGED, first=first, last=end, certain=False)
            note_gap(new, gap, now_ms)
        if not (proven and epoch == current):
            new.execute("INSERT OR REPLACE INTO older VALUES (?, ?, ?, ?)", (epoch, last, through, incarnation))
    if not proven:
        past = (
            f"epoch {current} ended at sequence {ends[current][0]}" if current else "nothing is known of the one before"
        )
        _note(new, now_ms, "new_epoch", past)


def holes(through: int, last: int, present: set[int]) -> list[tuple[int, int]]:
    """Return the ranges above `through` up to `last` of which nothing is left."""
    ranges: list[tuple[int, int]] = []
    below = through
    for seq in sorted({seq for seq in present if through < seq <= last} | {last + 1}):
        if seq > below + 1:
            ranges.append((below + 1, seq - 1))
        below = seq
    return ranges


def _note(db: apsw.Connection, at_ms: int, name: str, detail: str) -> None:
    db.execute("INSERT INTO event (body) VALUES (?)", (msgspec.msgpack.encode(Event(at_ms, name, detail)),))
