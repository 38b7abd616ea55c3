"""What the gateway remembers of its devices between frames: which firmware one told, and when its samples were taken.

A small file of its own beside the spool. What is in it decides only whether a stored record is dropped as a repetition
and which layout a frame is read by: without the file a record may come twice, and a frame may stay raw for a while;
nothing is lost. So a file that cannot be used is put aside, and a card that does not take a note is no reason to stop.
Notes are written before the spool takes the readings: what a power cut then undoes, the broker delivers again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, ParamSpec, Self, TypeVar

import apsw
import msgspec
import structlog

from codec.history import HistoryRule, Known, known, reach_ms, repeats
from wire.identity import SourceId
from wire.reading import Kind, Reading

log = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

# More than a device's own memory holds between two samples that could be confused: a week at ten minutes.
_MOST_SAMPLES: Final = 1_000
_PRUNE_EVERY: Final = 2_000

# One frame's readings, and how records of its device are compared; None for a device that sends none.
Unfolded = tuple[Sequence[Reading], HistoryRule | None]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS firmware (source TEXT PRIMARY KEY, version TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sample (      -- of devices that keep records
    source TEXT NOT NULL,
    observed_at_ms INTEGER NOT NULL,
    key BLOB NOT NULL,
    body BLOB NOT NULL,                  -- a Known in MessagePack
    PRIMARY KEY (source, observed_at_ms, key)
) STRICT, WITHOUT ROWID;
"""
_NEAR: Final = "SELECT body FROM sample WHERE source = ? AND observed_at_ms BETWEEN ? AND ?"
_NOTE: Final = "INSERT OR IGNORE INTO sample VALUES (?, ?, ?, ?)"
_PRUNE: Final = """
DELETE FROM sample WHERE (source, observed_at_ms, key) IN (
    SELECT source, observed_at_ms, key FROM (
        SELECT source, observed_at_ms, key, row_number() OVER (PARTITION BY source ORDER BY observed_at_ms DESC) AS age
        FROM sample
    ) WHERE age > ?
)
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Known).decode


class DeviceMemory:
    """One open memory. `repeated` counts the records that were dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repeated = 0
        self.firmware = FirmwareNotes(self)
        self._db: apsw.Connection | None = None
        self._noted = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device-memory")

    async def __aenter__(self) -> Self:
        await self._run(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._run(self._close)
        self._thread.shutdown()

    async def sift(self, unfolded: Sequence[Unfolded]) -> list[Reading]:
        """Return the readings of a pack without the records that repeat a sample, and note the samples of the rest.

        Only devices that send records cost anything: one transaction for a whole pack of them.
        """
        if all(rule is None for _, rule in unfolded):
            return [reading for readings, _ in unfolded for reading in readings]
        return await self._run(self._sift, unfolded)

    # ---- in the thread

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connect()
        except apsw.Error as error:
            log.warning("device memory put aside", path=str(self.path), problem=str(error))
            with contextlib.suppress(OSError):
                self.path.replace(self.path.with_suffix(".damaged"))
            try:
                self._connect()
            except apsw.Error as again:
                log.warning("no device memory", problem=str(again))

    def _connect(self) -> None:
        db = apsw.Connection(str(self.path))
        try:
            db.set_busy_timeout(1000)
            # FULL: after a power cut the notes are not older than the spool, or a record could come twice.
            db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()
            db.execute(_SCHEMA).fetchall()
            self.firmware.load(db.execute("SELECT source, version FROM firmware").fetchall())
        except BaseException:
            db.close()
            raise
        self._db = db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _sift(self, unfolded: Sequence[Unfolded]) -> list[Reading]:
        notes: dict[SourceId, list[Known]] = {}
        kept = [
            reading
            for readings, rule in unfolded
            for reading in readings
            if rule is None or self._is_new(reading, rule, notes)
        ]
        self._note(notes)
        return kept

    def _is_new(self, reading: Reading, rule: HistoryRule, notes: dict[SourceId, list[Known]]) -> bool:
        """Whether a reading is kept; its sample is then among the notes."""
        frame, stored = reading.frame, reading.frame.kind is Kind.HISTORY
        sample = known(frame.key, frame.observed_at_ms, reading.quantities, stored=stored)
        mine = notes.setdefault(frame.source, [])
        if stored and repeats(sample, [*self._near(frame.source, sample, rule), *mine], rule):
            self.repeated += 1
            return False
        if reading.quantities:
            mine.append(sample)
        return True

    def _near(self, source: SourceId, sample: Known, rule: HistoryRule) -> list[Known]:
        if self._db is None:
            return []
        reach = reach_ms(rule)
        span = (str(source), sample.observed_at_ms - reach, sample.observed_at_ms + reach)
        try:
            return [_decode(body) for (body,) in self._db.execute(_NEAR, span)]
        except (apsw.Error, msgspec.DecodeError) as error:
            log.warning("device memory not read", problem=str(error))
            return []

    def _note(self, notes: Mapping[SourceId, Sequence[Known]]) -> None:
        rows = [
            (str(source), one.observed_at_ms, one.key, _encode(one)) for source, ones in notes.items() for one in ones
        ]
        if not rows:
            return
        self._noted += len(rows)
        full = self._noted >= _PRUNE_EVERY
        if full:
            self._noted = 0
        self._write(lambda db: _write_down(db, rows, prune=full))

    def note_firmware(self, source: SourceId, version: str) -> None:
        """Write a device's firmware down; it is in use already."""
        self._thread.submit(
            self._write, lambda db: db.execute("INSERT OR REPLACE INTO firmware VALUES (?, ?)", (str(source), version))
        )

    def _write(self, work: Callable[[apsw.Connection], object]) -> None:
        if self._db is None:
            return
        try:
            with self._db:
                work(self._db)
        except apsw.Error as error:
            log.warning("device memory not written", problem=str(error))

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        call = functools.partial(work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _write_down(db: apsw.Connection, rows: Sequence[tuple[str, int, bytes, bytes]], *, prune: bool) -> None:
    db.executemany(_NOTE, rows)
    if prune:
        db.execute(_PRUNE, (_MOST_SAMPLES,))


class FirmwareNotes(MutableMapping[SourceId, str]):
    """Each device's firmware, as its info frame told it; the codec worker reads and writes it as a mapping."""

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory
        self._known: dict[SourceId, str] = {}

    def load(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take over what the file holds: source and version."""
        self._known = {SourceId.parse(source): version for source, version in rows}

    def __getitem__(self, source: SourceId) -> str:
        return self._known[source]

    def __setitem__(self, source: SourceId, version: str) -> None:
        self._known[source] = version
        self._memory.note_firmware(source, version)

    def __delitem__(self, source: SourceId) -> None:
        del self._known[source]

    def __iter__(self) -> Iterator[SourceId]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
