"""The spool's file: SQLite, one writing connection, every transaction on the card before it is reported.

Synchronous: `gateway.spool.spool` runs it in one thread of its own, so that a slow card never stops the event loop.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from gateway.spool import recovery
from gateway.spool.head import Head, HeadFile
from gateway.spool.recovery import PROVEN
from gateway.spool.room import DEFAULT_ROOM, Room, forget, make_room, note_gap
from gateway.spool.sqlite import Damaged, NotKept, SpoolError, checksum, connect, prepare, sorted_error, used_bytes
from wire.ack import Ack
from wire.batch import MAX_ENVELOPE_BYTES, Cause, Draft, Event, Gap, Sealed, genesis, seal
from wire.identity import Epoch, GatewayId, from_plain, to_plain
from wire.keys import SigningKey
from wire.reading import Kind, Reading

_SCHEMA = ("001.sql", "002.sql", "003.sql")
# More than a broker can redeliver: ChirpStack's and the broker's queues hold at most some thousand messages.
R = TypeVar("R")
NEW_EPOCH = "new_epoch"
_SAID = 1  # of `header.confirmed`: the hub says that it has it, above its watermark

_RECENT_KEYS = 100_000
_PRUNE_EVERY = 1_000
_MOST_TRIMMED = 240  # an hour's batches, four times over: trimming runs once an hour


__all__ = ["Contents", "Damaged", "Depth", "Heard", "NotKept", "Older", "Position", "SpoolError", "SpoolFile"]


class Position(msgspec.Struct, frozen=True):
    """Where the chain and the delivery stand."""

    epoch: Epoch
    last_seq: int
    last_hash: bytes
    window_to_ms: int
    through: int
    incarnation: int


class Older(msgspec.Struct, frozen=True):
    """An epoch before this one, whose salvaged batches are still here."""

    epoch: Epoch
    last_seq: int
    through: int
    incarnation: int


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """How full the spool is. `oldest_unsent_ms` is when the first batch that the hub has not confirmed was sealed."""

    unsealed: int
    unconfirmed: int
    unconfirmed_readings: int
    kept: int
    oldest_unsent_ms: int | None
    bytes_used: int
    bytes_on_disk: int


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One source's tally."""

    source: str
    frames: int
    undecoded: int
    last_reason: str
    first_at_ms: int
    last_at_ms: int


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The head of the queue: readings of one boot and clock state that go into the next batch, and pending events."""

    last_id: int
    readings: list[Reading]
    events: list[Event]


class SpoolFile:
    """One spool on disk. Every method is one transaction; when it returns, power may fail."""

    def __init__(
        self, path: Path, gateway: GatewayId, key: SigningKey, room: Room = DEFAULT_ROOM, *, verify: bool = True
    ) -> None:
        self.path = path
        self.room = room
        self.verify = verify
        self._head = HeadFile(path.with_suffix(".head"))
        self._gateway = gateway
        self._key = key
        self._db: apsw.Connection | None = None
        self._lock: int | None = None
        self._inserted = 0
        self._failed = False
        self._full = False

    # ---- opening

    def open(self) -> Position:
        """Open or make the file, to write; raises SpoolError when it is another gateway's, in use, or of a newer xom.

        A damaged file is no reason not to start: it is moved aside, and what it holds is salvaged.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        try:
            known = self._head.open()
            findings = self._findings(known)
            if findings:
                recovery.recover(self.path, known, findings, self._fresh_file, self._now_ms())
            return self._start()
        except apsw.Error as error:
            self.close()
            raise SpoolError(f"{self.path} cannot be opened: {error}") from error
        except (OSError, SpoolError, NotKept, Damaged) as error:
            self.close()
            raise error if isinstance(error, SpoolError) else SpoolError(f"{self.path}: {error}") from error

    def _start(self) -> Position:
        self._db = self._prepared(self.path)
        position = self._adopt()
        self._write_head()
        self._head.sync()
        return position

    def _findings(self, known: Head | None) -> str:
        """Return what is wrong with the file as it lies there, "" when nothing is."""
        if recovery.is_pending(self.path):
            return "an earlier recovery was cut short"
        if not self.path.exists():
            return "the file is gone" if known is not None else ""
        if not self.verify:
            return ""
        if self._suspicion.exists():
            return "damage was met while it ran"
        try:
            with closing(connect(self.path)) as db:
                return recovery.inspect(db, known)
        except apsw.Error as error:
            if isinstance(sorted_error(error), Damaged):
                return str(error)
            raise

    def _prepared(self, path: Path) -> apsw.Connection:
        """Open a file that is sound, with the newest schema."""
        db = connect(path)
        try:
            prepare(db)
            self._migrate(db)
            checksum(db)
        except BaseException:
            db.close()
            raise
        return db

    def _fresh_file(self, path: Path) -> apsw.Connection:
        """Make an empty spool, for what is salvaged."""
        db = self._prepared(path)
        db.execute("INSERT INTO spool VALUES (1, ?, ?, 0, ?, 0, 0, 0)", self._new_chain())
        return db

    def _new_chain(self) -> tuple[str, str, bytes]:
        epoch = Epoch.new()
        return str(self._gateway), str(epoch), genesis(self._gateway, epoch, self._key.public)

    def open_to_read(self) -> None:
        """Open an existing file beside a running gateway, without touching it; raises SpoolError."""
        if not self.path.exists():
            raise SpoolError(f"there is no spool at {self.path}: has this gateway run yet? (gateway.data)")
        try:
            self._db = connect(self.path, read_only=True)
        except apsw.Error as error:
            raise SpoolError(f"{self.path} cannot be read: {error}") from error

    def close(self) -> None:
        """Close the file and let go of its lock."""
        self._head.close()
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> int:
        """Keep a second gateway out: two writers of one chain would fork it."""
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise SpoolError(f"{self.path} is in use by another gateway process; stop that one first") from None
        return lock

    def _migrate(self, db: apsw.Connection) -> None:
        version = db.pragma("user_version")
        if version > len(_SCHEMA):
            raise SpoolError(f"{self.path} was written by a newer xom (schema {version}); install that one")
        for number, name in enumerate(_SCHEMA[version:], start=version + 1):
            text = resources.files("gateway.spool").joinpath("schema", name).read_text()
            with db:
                db.execute(text).fetchall()
                db.execute(f"PRAGMA user_version={number:d}")

    def _adopt(self) -> Position:
        """Start a new chain in a new file; refuse another gateway's."""
        row = self._one("SELECT gateway FROM spool")
        if row is None:
            with self._transaction() as db:
                db.execute("INSERT INTO spool VALUES (1, ?, ?, 0, ?, 0, 0, 0)", self._new_chain())
        elif row[0] != self._gateway:
            raise SpoolError(f"{self.path} belongs to gateway {row[0]!r}, we are {self._gateway!r}: check gateway.id")
        return self.position()

    def _write_head(self) -> None:
        """Say beside the spool how far it has come."""
        row = self._one(_HEAD)
        if row is not None:
            self._head.write(Head(*row))

    @property
    def _suspicion(self) -> Path:
        """A file whose presence says: look closely before you open this spool."""
        return self.path.with_suffix(".suspect")

    @staticmethod
    def _now_ms() -> int:
        return time.time_ns() // 1_000_000

    # ---- keeping readings

    def append(self, readings: Sequence[Reading]) -> int:
        """Keep readings, in order; returns how many were new. One commit, one fsync; raises NotKept."""
        with self._transaction() as db:
            make_room(db, self.room, urgent=all(reading.urgent for reading in readings), now_ms=self._now_ms())
            fresh = self._fresh(db, readings)
            if fresh:
                # One statement each, however many rows: SQLite lets go of Python's lock at every step, and in a burst
                # each step would wait for the event loop to hand it back.
                bodies = apsw.carray(tuple([_encode(reading) for reading in fresh]))
                db.execute("INSERT INTO reading (body) SELECT value FROM carray(?)", (bodies,))
                db.execute(_TALLY, (msgspec.json.encode(_tallies(fresh)).decode(),))
        self._write_head()
        return len(fresh)

    def _fresh(self, db: apsw.Connection, readings: Sequence[Reading]) -> list[Reading]:
        """Return the readings whose key has not been kept before, and note their keys."""
        keys = dict.fromkeys(reading.frame.key for reading in readings if reading.frame.key)
        if not keys:
            return list(readings)
        known = "SELECT key FROM recent WHERE key IN (SELECT value FROM carray(?))"
        for row in self._all(known, (apsw.carray(tuple(keys)),)):
            del keys[row[0]]
        if keys:
            db.execute("INSERT INTO recent (key) SELECT value FROM carray(?)", (apsw.carray(tuple(keys)),))
            self._prune(db, len(keys))
        new = set(keys)
        return [reading for reading in readings if not reading.frame.key or _take(new, reading.frame.key)]

    def _prune(self, db: apsw.Connection, inserted: int) -> None:
        self._inserted += inserted
        if self._inserted >= _PRUNE_EVERY:
            self._inserted = 0
            db.execute("DELETE FROM recent WHERE id <= (SELECT max(id) FROM recent) - ?", (_RECENT_KEYS,))

    def note(self, event: Event) -> None:
        """Keep an event for the next batch."""
        with self._transaction() as db:
            db.execute("INSERT INTO event (body) VALUES (?)", (_event_encoder.encode(event),))

    # ---- sealing

    def head(self, most: int) -> Contents:
        """Return the oldest unsealed readings that may share a batch: at most `most`, of one boot and clock state."""
        readings: list[Reading] = []
        last_id = 0
        for row_id, body in self._all("SELECT id, body FROM reading ORDER BY id LIMIT ?", (most,)):
            reading = _decoder.decode(body)
            if readings and _context(readings[0]) != _context(reading):
                break
            readings.append(reading)
            last_id = row_id
        events = [_event_decoder.decode(body) for (body,) in self._all("SELECT body FROM event ORDER BY id")]
        return Contents(last_id=last_id, readings=readings, events=events)

    def count_unsealed(self) -> int:
        """Return how many readings no batch holds yet."""
        row = self._one("SELECT count(*) FROM reading")
        return int(row[0]) if row else 0

    def unsealed(self) -> list[Reading]:
        """Return every reading that no batch holds yet."""
        return [_decoder.decode(body) for (body,) in self._all("SELECT body FROM reading ORDER BY id")]

    def seal(self, draft: Draft, last_id: int, sealed_at_ms: int, largest: int = MAX_ENVELOPE_BYTES) -> Sealed:
        """Sign a batch and put it in its readings' place, in one transaction: never both, never neither."""
        sealed = seal(draft, self._key, largest)
        urgent = any(reading.urgent for reading in draft.readings)
        position = self.position()
        if (draft.epoch, draft.seq) != (position.epoch, position.last_seq + 1):
            where = f"{position.last_seq} of epoch {position.epoch}"
            raise SpoolError(f"batch {draft.seq} of epoch {draft.epoch} does not follow {where}")
        with self._transaction() as db:
            header = (str(draft.epoch), sealed.seq, sealed.payload_sha256, draft.from_ms, draft.to_ms)
            db.execute(_NEW_HEADER, (*header, len(draft.readings), urgent, sealed_at_ms))
            db.execute("INSERT INTO envelope VALUES (?, ?)", (db.last_insert_rowid(), sealed.envelope))
            db.execute("DELETE FROM reading WHERE id <= ?", (last_id,))
            # Only those that the batch carries: one may have been noted since `head` was read.
            carried = tuple(_event_encoder.encode(event) for event in draft.events)
            if carried:
                db.execute("DELETE FROM event WHERE body IN (SELECT value FROM carray(?))", (apsw.carray(carried),))
            db.execute(
                "UPDATE spool SET last_seq = ?, last_hash = ?, window_to_ms = ?",
                (sealed.seq, sealed.payload_sha256, draft.to_ms),
            )
        self._write_head()
        self._head.sync()  # before anybody can send it: this number is taken for ever
        return sealed

    # ---- delivering

    def envelope(self, seq: int, epoch: Epoch | None = None) -> bytes | None:
        """Return a sealed batch's bytes, or None when it was let go; of this epoch where none is named."""
        row = self._one(_ENVELOPE, {"seq": seq, "epoch": epoch and str(epoch)})
        return row[0] if row else None

    def urgent_after(self, seq: int) -> list[int]:
        """Return the unconfirmed batches that hold an alarm, oldest first."""
        return [row[0] for row in self._all(_URGENT, (seq,))]

    def older(self) -> list[Older]:
        """Return the epochs before this one that still have batches for the hub."""
        rows = self._all("SELECT epoch, last_seq, through, incarnation FROM older ORDER BY epoch")
        return [Older(Epoch.parse(epoch), *rest) for epoch, *rest in rows]

    def payload_sha256(self, seq: int, epoch: Epoch) -> bytes | None:
        """Return the hash of a batch that we sealed, None where we know none any more."""
        row = self._one("SELECT payload_sha256 FROM header WHERE epoch = ? AND seq = ?", (str(epoch), seq))
        return row[0] or None if row else None

    def confirm(self, ack: Ack, proven: int) -> None:
        """Note the hub's word, of which everything up to `proven` is bound to what we wrote (decision 010).

        Nothing is deleted here: `trim` does that, behind the retention floor.
        """
        epoch = str(ack.epoch)
        table = "spool" if ack.epoch == self.position().epoch else "older"
        with self._transaction() as db:
            sql = f"UPDATE {table} SET through = ?, incarnation = ? WHERE epoch = ?"  # noqa: S608 - one of two names
            db.execute(sql, (ack.through, ack.incarnation, epoch))
            self._mark(db, epoch, ack, proven)
        self._write_head()

    @staticmethod
    def _mark(db: apsw.Connection, epoch: str, ack: Ack, proven: int) -> None:
        """Mark what the hub has, and unmark what a restored hub lacks."""
        highest = max(ack.highest, ack.through)
        db.execute(_UNCONFIRM, (epoch, highest + 1, 2**62))
        first = 0
        for hole, end in (*ack.missing, (highest + 1, highest + 1)):
            db.execute(_CONFIRM, (_SAID, epoch, first, hole - 1, 0))
            if hole <= highest:
                db.execute(_UNCONFIRM, (epoch, max(hole, ack.through + 1), end))
            first = end + 1
        db.execute(_CONFIRM, (PROVEN, epoch, 0, proven, _SAID))
        db.execute(_FORGET_GONE, (epoch, proven))

    def end_epoch(self, reason: str, now_ms: int) -> tuple[Older, Position]:
        """End this epoch, because somebody else writes it too, and begin another; returns both.

        What is not sealed goes on in the new one. What was sealed and not proven is delivered under its own epoch.
        """
        old = self.position()
        with self._transaction() as db:
            ended = (str(old.epoch), old.last_seq, old.through, old.incarnation)
            db.execute("INSERT OR REPLACE INTO older VALUES (?, ?, ?, ?)", ended)
            db.execute(_UNSAY, (ended[0], _SAID))
            _, epoch, genesis_hash = self._new_chain()
            db.execute("UPDATE spool SET epoch = ?, last_seq = 0, last_hash = ?, through = 0", (epoch, genesis_hash))
            detail = f"epoch {old.epoch} ended at sequence {old.last_seq}: {reason}"
            event = _event_encoder.encode(Event(now_ms, NEW_EPOCH, detail))
            db.execute("INSERT INTO event (body) VALUES (?)", (event,))
        self._write_head()
        self._head.sync()
        return Older(old.epoch, old.last_seq, old.through, old.incarnation), self.position()

    def note_expired(self, seq: int, epoch: Epoch, now_ms: int) -> int:
        """Say once that the batches from `seq` on are gone behind the retention floor; returns the last one gone.

        A restored hub may ask for what an earlier one had confirmed. What has a header has its gap record already.
        """
        if self._one("SELECT 1 FROM header WHERE epoch = ? AND seq = ?", (str(epoch), seq)) is not None:
            return seq
        row = self._one("SELECT min(seq) FROM header WHERE epoch = ? AND seq > ?", (str(epoch), seq))
        ends = {one.epoch: one.last_seq for one in self.older()} | {self.position().epoch: self.position().last_seq}
        last = row[0] - 1 if row is not None and row[0] is not None else ends.get(epoch, seq)
        gap = Gap(epoch=str(epoch), cause=Cause.EXPIRED, first=seq, last=max(seq, last))
        told = any(
            one.epoch == gap.epoch and one.cause is Cause.EXPIRED and one.first <= seq and gap.last <= one.last
            for one in self.gaps()
        )
        if not told:
            with self._transaction() as db:
                note_gap(db, gap, now_ms)
        return gap.last

    def trim(self, keep_from_ms: int, keep_bytes: int, *, most: int = _MOST_TRIMMED) -> int:
        """Delete confirmed batches sealed before `keep_from_ms`, and the oldest confirmed beyond `keep_bytes`.

        In order of sealing, and at most so many by their age: a clock that has jumped ten years ahead must not empty
        in one go what is kept for a hub's restoration.
        """
        with self._transaction() as db:
            oldest_kept: list[tuple[Any, ...]] = db.execute(_OLDEST, (most,)).fetchall()
            aged = itertools.takewhile(lambda row: row[1] < keep_from_ms, oldest_kept)
            # Adding up reads all envelopes, minutes on a card: not while the whole file is smaller.
            kept: list[tuple[Any, ...]] = db.execute(_KEPT).fetchall() if used_bytes(db) > keep_bytes else []
            beyond = itertools.takewhile(lambda row: row[2] > keep_bytes, kept)
            oldest = [int(row[0]) for row in max(list(aged), list(beyond), key=len)]
            forget(db, oldest)
            return len(oldest)

    # ---- looking

    def position(self) -> Position:
        """Return where chain and delivery stand."""
        row = self._one("SELECT epoch, last_seq, last_hash, window_to_ms, through, incarnation FROM spool")
        if row is None:
            raise SpoolError(f"{self.path} has no chain: it is not a spool of ours")
        epoch, last_seq, last_hash, window_to_ms, through, incarnation = row
        return Position(Epoch.parse(epoch), last_seq, last_hash, window_to_ms, through, incarnation)

    def depth(self) -> Depth:
        """Return how full the spool is."""
        row = self._one(_DEPTH)
        if row is None:
            raise SpoolError(f"{self.path} has no chain: it is not a spool of ours")
        unsealed, unconfirmed, readings, kept, oldest = row
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        return Depth(
            unsealed=unsealed,
            unconfirmed=unconfirmed,
            unconfirmed_readings=readings,
            kept=kept,
            oldest_unsent_ms=oldest,
            bytes_used=used_bytes(self._connection),
            bytes_on_disk=sum(file.stat().st_size for file in files if file.exists()),
        )

    def gaps(self) -> list[Gap]:
        """Return what is missing and why, oldest first."""
        return [msgspec.json.decode(body, type=Gap) for (body,) in self._all("SELECT body FROM gap ORDER BY id")]

    def heard(self) -> list[Heard]:
        """Return each source's tally, by name."""
        rows = self._all(
            "SELECT source, frames, undecoded, last_reason, first_at_ms, last_at_ms FROM heard ORDER BY source"
        )
        names = ("source", "frames", "undecoded", "last_reason", "first_at_ms", "last_at_ms")
        return [Heard(**dict(zip(names, row, strict=True))) for row in rows]

    # ---- SQLite

    @property
    def _connection(self) -> apsw.Connection:
        if self._db is None:
            raise SpoolError(f"{self.path} is not open")
        return self._db

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        if self._failed:
            self._reopen()
        if self._full:
            self._fold()
        db = self._connection
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(apsw.Error):  # after some errors SQLite has rolled back by itself
                if db.in_transaction:
                    db.execute("ROLLBACK")
            if isinstance(error, apsw.Error):
                raise self._sorted(error) from error
            raise

    def _sorted(self, error: apsw.Error) -> Exception:
        """Note what an error asks for beside the words: a close look at the next start, or a fresh connection."""
        meant = sorted_error(error)
        if isinstance(meant, Damaged):
            with contextlib.suppress(OSError):
                self._suspicion.touch()
        self._full = isinstance(error, apsw.FullError)
        self._failed = isinstance(meant, NotKept) and not self._full
        return meant

    def _fold(self) -> None:
        """Put the log into the file and shorten it: what finds no room behind a long log finds it there.

        SQLite would do so with a commit that succeeds, which does not come while the log has no room to grow.
        """
        with contextlib.suppress(apsw.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._full = False

    def _reopen(self) -> None:
        """After a failed write nothing that is in memory is believed: open anew, and put the log into the file.

        An fsync that failed once may succeed the second time although the pages were never written. Decision 008.
        """
        try:
            self._connection.close()
            self._db = connect(self.path)
            prepare(self._db)
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except apsw.Error as error:
            raise self._sorted(error) from error
        self._failed = False

    def _one(self, sql: str, values: Any = ()) -> tuple[Any, ...] | None:
        return self._look(lambda: self._connection.execute(sql, values).fetchone())

    def _all(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        return self._look(lambda: self._connection.execute(sql, values).fetchall())

    def _look(self, work: Callable[[], R]) -> R:
        try:
            return work()
        except apsw.Error as error:
            raise self._sorted(error) from error


_TALLY = """
INSERT INTO heard
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?) WHERE true
ON CONFLICT (source) DO UPDATE SET
    frames = frames + excluded.frames,
    undecoded = undecoded + excluded.undecoded,
    last_reason = CASE WHEN excluded.last_reason = '' THEN last_reason ELSE excluded.last_reason END,
    last_at_ms = max(last_at_ms, excluded.last_at_ms)
"""
_HEAD = """
SELECT epoch, last_seq, through,
       coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'reading'), 0),
       coalesce((SELECT min(id) - 1 FROM reading), (SELECT seq FROM sqlite_sequence WHERE name = 'reading'), 0)
FROM spool
"""
_NEW_HEADER = """
INSERT INTO header (epoch, seq, payload_sha256, from_ms, to_ms, readings, urgent, sealed_at_ms, confirmed, gone)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '')
"""
_ENVELOPE = """
SELECT bytes FROM envelope
WHERE id = (SELECT id FROM header WHERE epoch = coalesce(:epoch, (SELECT epoch FROM spool)) AND seq = :seq)
"""
_URGENT = """
SELECT seq FROM header
WHERE epoch = (SELECT epoch FROM spool) AND seq > ? AND urgent = 1 AND confirmed = 0 AND gone = '' ORDER BY seq
"""
# `IN`, not `<`: only so does SQLite go straight to the range in `header_told`.
_CONFIRM = """
UPDATE header SET confirmed = ? WHERE epoch = ? AND seq BETWEEN ? AND ? AND confirmed IN (0, ?) AND gone = ''
"""
_UNCONFIRM = """
UPDATE header SET confirmed = 0 WHERE epoch = ? AND seq BETWEEN ? AND ? AND confirmed IN (1, 2) AND gone = ''
"""
_UNSAY = "UPDATE header SET confirmed = 0 WHERE epoch = ? AND confirmed = ? AND gone = ''"
_FORGET_GONE = "DELETE FROM header WHERE epoch = ? AND seq <= ? AND gone != ''"
_DEPTH = """
SELECT (SELECT count(*) FROM reading),
       (SELECT count(*) FROM header WHERE confirmed = 0 AND gone = ''),
       (SELECT coalesce(sum(readings), 0) FROM header WHERE confirmed = 0 AND gone = ''),
       (SELECT count(*) FROM header WHERE confirmed > 0 AND gone = ''),
       (SELECT sealed_at_ms FROM header WHERE confirmed = 0 AND gone = '' ORDER BY id LIMIT 1)
"""
_OLDEST = "SELECT id, sealed_at_ms FROM header WHERE confirmed = 2 AND gone = '' ORDER BY id LIMIT ?"
_KEPT = """
SELECT header.id, sealed_at_ms, sum(length(bytes)) OVER (ORDER BY header.id DESC) AS newer
FROM header JOIN envelope ON envelope.id = header.id WHERE confirmed = 2 AND gone = '' ORDER BY header.id
"""

_encode = msgspec.msgpack.Encoder(enc_hook=to_plain).encode
_decoder = msgspec.msgpack.Decoder(Reading, dec_hook=from_plain)
_event_encoder = msgspec.msgpack.Encoder()
_event_decoder = msgspec.msgpack.Decoder(Event)


def _context(reading: Reading) -> tuple[str, str]:
    return reading.frame.boot, reading.frame.clock


def _take(keys: set[bytes], key: bytes) -> bool:
    """Whether the key is there, once: of two equal events in one pack only the first is kept."""
    present = key in keys
    keys.discard(key)
    return present


def _tallies(readings: Sequence[Reading]) -> list[tuple[Any, ...]]:
    """Sum a pack per source: one upsert each instead of one per frame."""
    packs: dict[str, list[Reading]] = {}
    for reading in readings:
        packs.setdefault(reading.frame.source, []).append(reading)
    return [_tally(source, pack) for source, pack in packs.items()]


def _tally(source: str, pack: list[Reading]) -> tuple[Any, ...]:
    reasons = [str(reading.undecoded) for reading in pack if reading.undecoded]
    times = [reading.frame.received_at_ms for reading in pack]
    frames = sum(reading.frame.kind is not Kind.HISTORY for reading in pack)
    return (str(source), frames, len(reasons), reasons[-1] if reasons else "", min(times), max(times))
