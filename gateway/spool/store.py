"""The spool's file: SQLite, one writing connection, every transaction on the card before it is reported.

Synchronous: `gateway.spool.spool` runs it in one thread of its own, so that a slow card never stops the event loop.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import closing
from importlib import resources
from pathlib import Path

import apsw
import msgspec

from gateway.spool import confirmation, recovery, retention, tally
from gateway.spool.card import Card
from gateway.spool.head import Head, HeadFile
from gateway.spool.room import DEFAULT_ROOM, Room, make_room, note_gap
from gateway.spool.sqlite import Damaged, NotKept, SpoolError, checksum, connect, prepare, sorted_error, used_bytes
from gateway.spool.views import Contents, Depth, Heard, Older, Position
from wire.ack import Ack
from wire.batch import MAX_ENVELOPE_BYTES, Cause, Draft, Event, Gap, Sealed, genesis, seal
from wire.identity import Epoch, GatewayId, from_plain, to_plain
from wire.keys import SigningKey
from wire.reading import Reading

_SCHEMA = ("001.sql", "002.sql", "003.sql")
NEW_EPOCH = "new_epoch"
# More than a broker can redeliver: ChirpStack's and the broker's queues hold at most some thousand messages.
_RECENT_KEYS = 100_000
_PRUNE_EVERY = 1_000
_MOST_TRIMMED = 240  # an hour's batches, four times over: trimming runs once an hour


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
        self._card = Card(path)
        self._lock: int | None = None
        self._inserted = 0

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
        self._card.hold(self._prepared(self.path))
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
        if self._card.suspicion.exists():
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
            self._card.hold(connect(self.path, read_only=True))
        except apsw.Error as error:
            raise SpoolError(f"{self.path} cannot be read: {error}") from error

    def close(self) -> None:
        """Close the file and let go of its lock."""
        self._head.close()
        self._card.close()
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
        row = self._card.one("SELECT gateway FROM spool")
        if row is None:
            with self._card.transaction() as db:
                db.execute("INSERT INTO spool VALUES (1, ?, ?, 0, ?, 0, 0, 0)", self._new_chain())
        elif row[0] != self._gateway:
            raise SpoolError(f"{self.path} belongs to gateway {row[0]!r}, we are {self._gateway!r}: check gateway.id")
        return self.position()

    def _write_head(self) -> None:
        """Say beside the spool how far it has come."""
        row = self._card.one(_HEAD)
        if row is not None:
            self._head.write(Head(*row))

    @staticmethod
    def _now_ms() -> int:
        return time.time_ns() // 1_000_000

    # ---- keeping readings

    def append(self, readings: Sequence[Reading]) -> int:
        """Keep readings, in order; returns how many were new. One commit, one fsync; raises NotKept."""
        with self._card.transaction() as db:
            make_room(db, self.room, urgent=all(reading.urgent for reading in readings), now_ms=self._now_ms())
            fresh = self._fresh(db, readings)
            if fresh:
                # One statement each, however many rows: SQLite lets go of Python's lock at every step, and in a burst
                # each step would wait for the event loop to hand it back.
                bodies = apsw.carray(tuple([_encode(reading) for reading in fresh]))
                db.execute("INSERT INTO reading (body) SELECT value FROM carray(?)", (bodies,))
                tally.count(db, fresh)
        self._write_head()
        return len(fresh)

    def _fresh(self, db: apsw.Connection, readings: Sequence[Reading]) -> list[Reading]:
        """Return the readings whose key has not been kept before, and note their keys."""
        keys = dict.fromkeys(reading.frame.key for reading in readings if reading.frame.key)
        if not keys:
            return list(readings)
        known = "SELECT key FROM recent WHERE key IN (SELECT value FROM carray(?))"
        for row in self._card.all(known, (apsw.carray(tuple(keys)),)):
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
        with self._card.transaction() as db:
            db.execute("INSERT INTO event (body) VALUES (?)", (_event_encoder.encode(event),))

    # ---- sealing

    def head(self, most: int) -> Contents:
        """Return the oldest unsealed readings that may share a batch: at most `most`, of one boot and clock state."""
        readings: list[Reading] = []
        last_id = 0
        for row_id, body in self._card.all("SELECT id, body FROM reading ORDER BY id LIMIT ?", (most,)):
            reading = _decoder.decode(body)
            if readings and _context(readings[0]) != _context(reading):
                break
            readings.append(reading)
            last_id = row_id
        events = [_event_decoder.decode(body) for (body,) in self._card.all("SELECT body FROM event ORDER BY id")]
        return Contents(last_id=last_id, readings=readings, events=events)

    def count_unsealed(self) -> int:
        """Return how many readings no batch holds yet."""
        row = self._card.one("SELECT count(*) FROM reading")
        return int(row[0]) if row else 0

    def unsealed(self) -> list[Reading]:
        """Return every reading that no batch holds yet."""
        return [_decoder.decode(body) for (body,) in self._card.all("SELECT body FROM reading ORDER BY id")]

    def seal(self, draft: Draft, last_id: int, sealed_at_ms: int, largest: int = MAX_ENVELOPE_BYTES) -> Sealed:
        """Sign a batch and put it in its readings' place, in one transaction: never both, never neither."""
        sealed = seal(draft, self._key, largest)
        urgent = any(reading.urgent for reading in draft.readings)
        position = self.position()
        if (draft.epoch, draft.seq) != (position.epoch, position.last_seq + 1):
            where = f"{position.last_seq} of epoch {position.epoch}"
            raise SpoolError(f"batch {draft.seq} of epoch {draft.epoch} does not follow {where}")
        with self._card.transaction() as db:
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
        row = self._card.one(_ENVELOPE, {"seq": seq, "epoch": epoch and str(epoch)})
        return row[0] if row else None

    def urgent_after(self, seq: int) -> list[int]:
        """Return the unconfirmed batches that hold an alarm, oldest first."""
        return [row[0] for row in self._card.all(_URGENT, (seq,))]

    def older(self) -> list[Older]:
        """Return the epochs before this one that still have batches for the hub."""
        rows = self._card.all("SELECT epoch, last_seq, through, incarnation FROM older ORDER BY epoch")
        return [Older(Epoch.parse(epoch), *rest) for epoch, *rest in rows]

    def payload_sha256(self, seq: int, epoch: Epoch) -> bytes | None:
        """Return the hash of a batch that we sealed, None where we know none any more."""
        row = self._card.one("SELECT payload_sha256 FROM header WHERE epoch = ? AND seq = ?", (str(epoch), seq))
        return row[0] or None if row else None

    def confirm(self, ack: Ack, proven: int) -> None:
        """Note the hub's word, of which everything up to `proven` is bound to what we wrote (decision 010).

        Nothing is deleted here: `trim` does that, behind the retention floor.
        """
        epoch = str(ack.epoch)
        table = "spool" if ack.epoch == self.position().epoch else "older"
        with self._card.transaction() as db:
            sql = f"UPDATE {table} SET through = ?, incarnation = ? WHERE epoch = ?"  # noqa: S608 - one of two names
            db.execute(sql, (ack.through, ack.incarnation, epoch))
            confirmation.mark(db, epoch, ack, proven)
        self._write_head()

    def end_epoch(self, reason: str, now_ms: int) -> tuple[Older, Position]:
        """End this epoch, because somebody else writes it too, and begin another; returns both.

        What is not sealed goes on in the new one. What was sealed and not proven is delivered under its own epoch.
        """
        old = self.position()
        with self._card.transaction() as db:
            ended = (str(old.epoch), old.last_seq, old.through, old.incarnation)
            db.execute("INSERT OR REPLACE INTO older VALUES (?, ?, ?, ?)", ended)
            confirmation.unsay(db, ended[0])
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
        if self._card.one("SELECT 1 FROM header WHERE epoch = ? AND seq = ?", (str(epoch), seq)) is not None:
            return seq
        row = self._card.one("SELECT min(seq) FROM header WHERE epoch = ? AND seq > ?", (str(epoch), seq))
        ends = {one.epoch: one.last_seq for one in self.older()} | {self.position().epoch: self.position().last_seq}
        last = row[0] - 1 if row is not None and row[0] is not None else ends.get(epoch, seq)
        gap = Gap(epoch=str(epoch), cause=Cause.EXPIRED, first=seq, last=max(seq, last))
        told = any(
            one.epoch == gap.epoch and one.cause is Cause.EXPIRED and one.first <= seq and gap.last <= one.last
            for one in self.gaps()
        )
        if not told:
            with self._card.transaction() as db:
                note_gap(db, gap, now_ms)
        return gap.last

    def trim(self, keep_from_ms: int, keep_bytes: int, *, most: int = _MOST_TRIMMED) -> int:
        """Delete confirmed batches sealed before `keep_from_ms`, and the oldest confirmed beyond `keep_bytes`.

        In order of sealing, and at most so many by their age: a clock that has jumped ten years ahead must not empty
        in one go what is kept for a hub's restoration.
        """
        with self._card.transaction() as db:
            return retention.trim(db, keep_from_ms, keep_bytes, most)

    # ---- looking

    def position(self) -> Position:
        """Return where chain and delivery stand."""
        row = self._card.one("SELECT epoch, last_seq, last_hash, window_to_ms, through, incarnation FROM spool")
        if row is None:
            raise SpoolError(f"{self.path} has no chain: it is not a spool of ours")
        epoch, last_seq, last_hash, window_to_ms, through, incarnation = row
        return Position(Epoch.parse(epoch), last_seq, last_hash, window_to_ms, through, incarnation)

    def depth(self) -> Depth:
        """Return how full the spool is."""
        row = self._card.one(_DEPTH)
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
            bytes_used=used_bytes(self._card.connection),
            bytes_on_disk=sum(file.stat().st_size for file in files if file.exists()),
        )

    def gaps(self) -> list[Gap]:
        """Return what is missing and why, oldest first."""
        return [msgspec.json.decode(body, type=Gap) for (body,) in self._card.all("SELECT body FROM gap ORDER BY id")]

    def heard(self) -> list[Heard]:
        """Return each source's tally, by name."""
        return tally.told(self._card.all(tally.ALL))


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
_DEPTH = """
SELECT (SELECT count(*) FROM reading),
       (SELECT count(*) FROM header WHERE confirmed = 0 AND gone = ''),
       (SELECT coalesce(sum(readings), 0) FROM header WHERE confirmed = 0 AND gone = ''),
       (SELECT count(*) FROM header WHERE confirmed > 0 AND gone = ''),
       (SELECT sealed_at_ms FROM header WHERE confirmed = 0 AND gone = '' ORDER BY id LIMIT 1)
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
