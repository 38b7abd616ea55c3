"""The spool's file: SQLite, one writing connection, every transaction on the card before it is reported.

Synchronous: `gateway.spool.spool` runs it in one thread of its own, so that a slow card never stops the event loop.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import apsw
import msgspec

from wire.batch import MAX_ENVELOPE_BYTES, Draft, Event, Sealed, genesis, seal
from wire.identity import Epoch, GatewayId, from_plain, to_plain
from wire.keys import SigningKey
from wire.reading import Reading

_SCHEMA = ("001.sql",)
# More than a broker can redeliver: ChirpStack's and the broker's queues hold at most some thousand messages.
_RECENT_KEYS = 100_000
_PRUNE_EVERY = 1_000


class SpoolError(Exception):
    """The spool cannot be used: the message names the file, what is wrong and what to do."""


class Position(msgspec.Struct, frozen=True):
    """Where the chain and the delivery stand."""

    epoch: Epoch
    last_seq: int
    last_hash: bytes
    window_to_ms: int
    through: int
    incarnation: int


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """How full the spool is. `oldest_unsent_ms` is when the first batch that the hub has not confirmed was sealed."""

    unsealed: int
    unconfirmed: int
    unconfirmed_readings: int
    kept: int
    oldest_unsent_ms: int | None
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

    def __init__(self, path: Path, gateway: GatewayId, key: SigningKey) -> None:
        self.path = path
        self._gateway = gateway
        self._key = key
        self._db: apsw.Connection | None = None
        self._lock: int | None = None
        self._inserted = 0

    # ---- opening

    def open(self) -> Position:
        """Open or make the file, to write; raises SpoolError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        try:
            self._db = db = apsw.Connection(str(self.path))
            db.set_busy_timeout(5_000)  # `xom gateway status` reads now and then
            # WAL with synchronous=FULL survives a power cut at any moment; NORMAL lost up to 914 confirmed rows in a
            # simulated one. Decision 005.
            # fetchall: apsw stops at a statement's first row, and what follows it would never run.
            db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()
            db.execute("PRAGMA wal_autocheckpoint=2000; PRAGMA cache_size=-4000; PRAGMA temp_store=MEMORY").fetchall()
            self._migrate(db)
            return self._adopt()
        except apsw.Error as error:
            self.close()
            raise SpoolError(f"{self.path} cannot be opened: {error}") from error
        except SpoolError:
            self.close()
            raise

    def open_to_read(self) -> None:
        """Open an existing file beside a running gateway, without touching it; raises SpoolError."""
        if not self.path.exists():
            raise SpoolError(f"there is no spool at {self.path}: has this gateway run yet? (gateway.data)")
        try:
            self._db = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
            self._db.set_busy_timeout(5_000)
        except apsw.Error as error:
            raise SpoolError(f"{self.path} cannot be read: {error}") from error

    def close(self) -> None:
        """Close the file and let go of its lock."""
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
                db.execute(text)
                db.execute(f"PRAGMA user_version={number:d}")

    def _adopt(self) -> Position:
        """Start a new chain in a new file; refuse another gateway's."""
        row = self._one("SELECT gateway FROM spool")
        if row is None:
            epoch = Epoch.new()
            first = genesis(self._gateway, epoch, self._key.public)
            with self._transaction() as db:
                db.execute("INSERT INTO spool VALUES (1, ?, ?, 0, ?, 0, 0, 0)", (str(self._gateway), str(epoch), first))
        elif row[0] != self._gateway:
            raise SpoolError(f"{self.path} belongs to gateway {row[0]!r}, we are {self._gateway!r}: check gateway.id")
        return self.position()

    # ---- keeping readings

    def append(self, readings: Sequence[Reading]) -> int:
        """Keep readings, in order; returns how many were new. One commit, one fsync."""
        with self._transaction() as db:
            fresh = self._fresh(db, readings)
            if fresh:
                # One statement each, however many rows: SQLite lets go of Python's lock at every step, and in a burst
                # each step would wait for the event loop to hand it back.
                bodies = apsw.carray(tuple([_encode(reading) for reading in fresh]))
                db.execute("INSERT INTO reading (body) SELECT value FROM carray(?)", (bodies,))
                db.execute(_TALLY, (msgspec.json.encode(_tallies(fresh)).decode(),))
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

    def seal(self, draft: Draft, last_id: int, sealed_at_ms: int, largest: int = MAX_ENVELOPE_BYTES) -> Sealed:
        """Sign a batch and put it in its readings' place, in one transaction: never both, never neither."""
        sealed = seal(draft, self._key, largest)
        urgent = any(reading.urgent for reading in draft.readings)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO batch VALUES (?, ?, ?, ?, ?)",
                (sealed.seq, sealed.envelope, len(draft.readings), urgent, sealed_at_ms),
            )
            db.execute("DELETE FROM reading WHERE id <= ?", (last_id,))
            # Only those that the batch carries: one may have been noted since `head` was read.
            db.execute("DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?)", (len(draft.events),))
            db.execute(
                "UPDATE spool SET last_seq = ?, last_hash = ?, window_to_ms = ?",
                (sealed.seq, sealed.payload_sha256, draft.to_ms),
            )
        return sealed

    # ---- delivering

    def envelope(self, seq: int) -> bytes | None:
        """Return a sealed batch's bytes, or None when retention has let it go."""
        row = self._one("SELECT envelope FROM batch WHERE seq = ?", (seq,))
        return row[0] if row else None

    def urgent_after(self, seq: int) -> list[int]:
        """Return the unconfirmed batches that hold an alarm, oldest first."""
        return [row[0] for row in self._all("SELECT seq FROM batch WHERE seq > ? AND urgent ORDER BY seq", (seq,))]

    def confirm(self, through: int, incarnation: int) -> None:
        """Note the hub's watermark. Nothing is deleted here: `trim` does that, behind the retention floor."""
        with self._transaction() as db:
            db.execute("UPDATE spool SET through = ?, incarnation = ?", (through, incarnation))

    def trim(self, keep_from_ms: int, keep_bytes: int) -> int:
        """Delete confirmed batches sealed before `keep_from_ms`, and the oldest confirmed beyond `keep_bytes`."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM batch WHERE seq <= (SELECT through FROM spool) AND sealed_at_ms < ?", (keep_from_ms,)
            )
            deleted = db.changes()
            db.execute(_TRIM_BY_SIZE, {"keep": keep_bytes})
            return deleted + db.changes()

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
            bytes_on_disk=sum(file.stat().st_size for file in files if file.exists()),
        )

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
        db = self._connection
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        return self._connection.execute(sql, tuple(values)).fetchone()

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, tuple(values)).fetchall()


_TALLY = """
INSERT INTO heard
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?) WHERE true
ON CONFLICT (source) DO UPDATE SET
    frames = frames + excluded.frames,
    undecoded = undecoded + excluded.undecoded,
    last_reason = CASE WHEN excluded.last_reason = '' THEN last_reason ELSE excluded.last_reason END,
    last_at_ms = max(last_at_ms, excluded.last_at_ms)
"""
_DEPTH = """
SELECT (SELECT count(*) FROM reading),
       (SELECT count(*) FROM batch WHERE seq > through),
       (SELECT coalesce(sum(readings), 0) FROM batch WHERE seq > through),
       (SELECT count(*) FROM batch WHERE seq <= through),
       (SELECT sealed_at_ms FROM batch WHERE seq > through ORDER BY seq LIMIT 1)
FROM spool
"""
_TRIM_BY_SIZE = """
DELETE FROM batch WHERE seq IN (
    SELECT seq FROM (
        SELECT seq, sum(length(envelope)) OVER (ORDER BY seq DESC) AS newer
        FROM batch WHERE seq <= (SELECT through FROM spool)
    ) WHERE newer > :keep
)
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
    return (str(source), len(pack), len(reasons), reasons[-1] if reasons else "", min(times), max(times))
