"""What was derived anew (decision 015): the derivations, what they changed, and what stood before.

Everything here can be lost: the batch log stands, and the same frames with the same library give the same observations.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from psycopg import Rollback
from psycopg.rows import class_row

from hub.store import clocks, redating
from hub.store.clocks import Due
from hub.store.database import Connection, Database
from hub.store.derived import Change, Counts, Outcome, pack
from hub.store.locks import REDECODE_LOCK, REGISTRY_LOCK, gateway_lock
from hub.store.rows import HEADER, TRAILER, UNNUMBERED, encode_rows
from hub.store.series import Findings, Numbers, Series, int_array, moment, stream_keys
from hub.store.statements import statements
from wire.columns import from_readings, observed_at_ms, spread
from wire.identity import Epoch, GatewayId, SourceId
from wire.reading import ClockState, Reading

_SQL: Final = statements("derivations")
_BATCHES: Final = statements("batches")


class RedecodeRunning(Exception):
    """Another redecoding is under way: two at a time would undo each other."""

    def __init__(self) -> None:
        super().__init__("another `xom hub redecode` is running on this database; wait until it has ended")


class NotThere(Exception):
    """A batch's observations are not those of its readings: nothing of it was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is derived anew: batches whose window overlaps [start, end), of one gateway or all, of one codec or all."""

    start: datetime
    end: datetime
    gateway: str | None = None
    codec: str | None = None


@dataclass(frozen=True, slots=True)
class LogPart:
    """One epoch of a gateway, and how many of its batches are in scope."""

    gateway: GatewayId
    epoch: Epoch
    batches: int


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch in scope: its number, sequence and how many readings it holds."""

    batch_no: int
    seq: int
    readings: int


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch of the log with what it was derived to, None: as it was sealed."""

    batch_no: int
    epoch: str
    seq: int
    envelope: bytes
    readings: bytes | None


@asynccontextmanager
async def alone(database: Database) -> AsyncIterator[None]:
    """Hold the right to derive anew; raises RedecodeRunning, StoreUnavailable. It ends with us, however we end."""
    async with database.connection() as connection:
        row = await (await connection.execute(_SQL["exclusive"], {"lock": REDECODE_LOCK})).fetchone()
        if row != (True,):
            raise RedecodeRunning
        try:
            yield
        finally:
            await connection.execute("select pg_advisory_unlock_all()")


async def begin_derivation(
    database: Database, scope: Scope, *, operator: str, reason: str, library: bytes, version: str
) -> int:
    """Put on record that a derivation begins; returns its number."""
    values = _scope(scope) | {
        "operator": operator,
        "reason": reason,
        "library": library,
        "version": version,
        "codec": scope.codec,
    }
    async with database.connection() as connection:
        row = await (await connection.execute(_SQL["begin"], values)).fetchone()
    return int(row[0]) if row else 0


async def finish_derivation(database: Database, derivation: int) -> None:
    """Put on record that a derivation has come to its end."""
    async with database.connection() as connection:
        await connection.execute(_SQL["finish"], {"derivation": derivation})


async def registered_profiles(database: Database) -> dict[tuple[str, str], str]:
    """Return the profiles that the registry names, by gateway and source."""
    async with database.connection() as connection:
        rows = await (await connection.execute(_SQL["registered"])).fetchall()
    return {(gateway, source): profile for gateway, source, profile in rows}


async def newest_batch(database: Database) -> int:
    """Return the highest number of a stored batch, 0 when there is none."""
    async with database.connection() as connection:
        row = await (await connection.execute(_SQL["newest"])).fetchone()
    return int(row[0]) if row else 0


async def log_parts(database: Database, scope: Scope, newest: int) -> list[LogPart]:
    """Return the logs with batches in scope, numbered up to `newest`, by gateway and in order of their beginning."""
    async with database.connection() as connection:
        rows = await (await connection.execute(_SQL["logs"], _scope(scope) | {"newest": newest})).fetchall()
    return [LogPart(GatewayId(gateway), Epoch(epoch), count) for gateway, epoch, count in rows]


async def page_of(
    database: Database, part: LogPart, scope: Scope, newest: int, *, after: int, most: int
) -> list[BatchRow]:
    """Return the next batches of a log in scope, by sequence."""
    values = _scope(scope) | _log(part) | {"newest": newest, "after": after, "page": most}
    async with database.connection() as connection:
        rows = await (await connection.execute(_SQL["page"], values)).fetchall()
    return [BatchRow(*row) for row in rows]


async def envelopes_of(database: Database, part: LogPart, seqs: Collection[int]) -> dict[int, bytes]:
    """Return the envelopes of these sequences, as far as they are stored."""
    async with database.connection() as connection:
        rows = await (await connection.execute(_SQL["around"], _log(part) | {"seqs": sorted(seqs)})).fetchall()
    return {seq: bytes(envelope) for seq, envelope in rows}


async def last_batches(database: Database, gateways: Collection[str]) -> dict[str, bytes]:
    """Return the newest envelope with readings of each gateway."""
    async with database.connection() as connection:
        rows = await (await connection.execute(_SQL["last_batches"], {"gateways": sorted(gateways)})).fetchall()
    return {gateway: bytes(envelope) for gateway, envelope in rows}


@asynccontextmanager
async def rewriting(database: Database, gateway: GatewayId, *, keep: bool) -> AsyncIterator[Connection]:
    """Lend a transaction that excludes commits of this gateway, as those exclude each other.

    With `keep` False it is rolled back at its end: the very same statements, so that what they say is what would be.
    """
    async with database.transaction() as connection:
        values = {"registry": REGISTRY_LOCK, "gateways": [gateway_lock(gateway)]}
        await connection.execute(_BATCHES["lock"], values)
        yield connection
        if not keep:
            raise Rollback


async def derived(connection: Connection, batches: Collection[int]) -> dict[int, bytes]:
    """Return, for those of these batches that were derived anew, what they were derived to."""
    rows = await (await connection.execute(_SQL["derived"], {"batches": list(batches)})).fetchall()
    return {number: bytes(readings) for number, readings in rows}


async def near(connection: Connection, gateway: str, source: SourceId, from_ms: int, to_ms: int) -> list[int]:
    """Return the batches with observations of a source in a time, both ends included."""
    values = {"gateway": gateway, "source": str(source), "from_ms": from_ms, "to_ms": to_ms}
    rows = await (await connection.execute(_SQL["near"], values)).fetchall()
    return [int(row[0]) for row in rows]


async def stored(connection: Connection, batches: Collection[int]) -> list[StoredBatch]:
    """Return batches of the log by number."""
    rows = await (await connection.execute(_SQL["stored"], {"batches": list(batches)})).fetchall()
    return [
        StoredBatch(number, epoch, seq, bytes(envelope), None if readings is None else bytes(readings))
        for number, epoch, seq, envelope, readings in rows
    ]


# ---- writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a batch stands."""

    gateway: GatewayId
    batch_no: int
    derivation: int
    unset: bool  # the clock had not been set: its observations may stand elsewhere than its readings say


@dataclass(slots=True)
class Followed:
    """What follows from the changes of a page, written once at its end."""

    readings: dict[int, int] = field(default_factory=dict)  # by source number, how many more
    undecoded: dict[int, int] = field(default_factory=dict)
    datastreams: set[int] = field(default_factory=set)

    def count(self, change: Change, old: Numbers | None, new: Numbers | None) -> None:
        """Count one changed reading."""
        for reading, numbers, sign in ((change.old, old, -1), (change.new, new, 1)):
            if reading is not None and numbers is not None:
                missing = sign * (reading.undecoded is not None)
                self.readings[numbers.source] = self.readings.get(numbers.source, 0) + sign
                self.undecoded[numbers.source] = self.undecoded.get(numbers.source, 0) + missing
                self.datastreams |= set(numbers.datastreams) - {UNNUMBERED}


class Rewriter:
    """Puts a batch's new observations in the place of the old ones, in the caller's transactions."""

    def __init__(self) -> None:
        self._series = Series()
        self._found = Findings()

    async def rewrite(self, connection: Connection, place: Place, outcome: Outcome, followed: Followed) -> int:
        """Write what a batch comes to; returns how many observations were superseded. Raises NotThere."""
        old = [(change, change.old) for change in outcome.changes if change.old is not None]
        new = [(change, change.new) for change in outcome.changes if change.new is not None]
        numbers = await self._numbers(connection, place.gateway, [r for _, r in old] + [r for _, r in new])
        before, after = numbers[: len(old)], numbers[len(old) :]
        for (change, _), one in zip(old, before, strict=True):
            followed.count(Change(index=change.index, old=change.old, new=None), one, None)
        for (change, _), one in zip(new, after, strict=True):
            followed.count(Change(index=change.index, old=None, new=change.new), None, one)
        due = await clocks.standing(connection, place.batch_no) if place.unset else None
        gone = await _supersede(connection, place, [change for change, _ in old], before, due)
        if due is None:
            await _insert(connection, place, new, after)
        else:
            self._learn(await redating.rewrite(connection, self._series, place.gateway, due, outcome.readings))
        indexes = int_array(change.index for change in outcome.changes)
        values = {"batch_no": place.batch_no, "derivation": place.derivation}
        await connection.execute(_SQL["keep_readings"], values | {"reading_index": indexes})
        await connection.execute(_SQL["keep_batch"], values | {"readings": pack(outcome.readings)})
        return gone

    async def follow(self, connection: Connection, followed: Followed) -> None:
        """Write what follows from a page's changes: tallies, first and last times."""
        await _tally(connection, followed)
        await clocks.recount_extents(connection, followed.datastreams)

    def remember(self) -> None:
        """Keep the numbers that a committed transaction has learnt."""
        self._series.remember(self._found)
        self._found = Findings()

    def forget(self) -> None:
        """Let go of the numbers of a transaction that was rolled back."""
        self._found = Findings()

    async def _numbers(self, connection: Connection, gateway: GatewayId, readings: Sequence[Reading]) -> list[Numbers]:
        """Return each reading's numbers, giving new ones."""
        if not readings:
            return []
        columns = from_readings(readings)
        keys = stream_keys(gateway, columns)
        known, found = await self._series.resolve(connection, list(zip(keys, columns.streams, strict=True)))
        self._learn(found)
        return [known[keys[stream]] for stream in spread(columns.stream, columns.n)]

    def _learn(self, found: Findings) -> None:
        self._found.sources.update(found.sources)
        self._found.datastreams.update(found.datastreams)
        self._found.streams.update(found.streams)


async def _supersede(
    connection: Connection, place: Place, changes: Sequence[Change], numbers: Sequence[Numbers], due: Due | None
) -> int:
    """Put the observations of readings aside; raises NotThere where they are not all there."""
    readings = [change.old for change in changes if change.old is not None]
    if not readings:
        return 0
    expected = sum(len([n for n in one.datastreams if n != UNNUMBERED]) for one in numbers)
    times = [moment(reading.frame.observed_at_ms) for reading in readings]
    values = {
        "batch_no": place.batch_no,
        "derivation": place.derivation,
        "reading_index": int_array(change.index for change in changes),
        "codec": [reading.codec for reading in readings],
        "why": [change.why for change in changes],
        "datastreams": int_array({n for one in numbers for n in one.datastreams} - {UNNUMBERED}),
        "from": due.dated_from if due else min(times),
        "to": due.dated_to if due else max(times),
    }
    gone = (await connection.execute(_SQL["supersede"], values)).rowcount
    if gone != expected:
        raise NotThere(
            f"batch {place.batch_no} of {place.gateway} has {gone} observations where its readings give {expected}: "
            "were old ones removed? Choose a period that is still there"
        )
    return gone


async def _insert(
    connection: Connection, place: Place, new: Sequence[tuple[Change, Reading]], numbers: Sequence[Numbers]
) -> None:
    readings = [reading for _, reading in new]
    if not readings:
        return
    columns = from_readings(readings)
    by_stream: dict[int, tuple[int, ...]] = {}
    for stream, one in zip(spread(columns.stream, columns.n), numbers, strict=True):
        by_stream[stream] = one.datastreams
    rows = encode_rows(
        columns,
        observed_at_ms(columns),
        place.batch_no,
        [by_stream[stream] for stream in range(len(columns.streams))],
        uncertain=readings[0].frame.clock is ClockState.NONE,
        indexes=[change.index for change, _ in new],
    )
    async with connection.cursor() as cursor, cursor.copy(_BATCHES["copy"]) as copy:
        await copy.write(HEADER + b"".join(rows) + TRAILER)


async def _tally(connection: Connection, followed: Followed) -> None:
    sources = sorted(followed.readings)  # in one order, as everything that two transactions may both touch
    values = {
        "source_no": int_array(sources),
        "readings": int_array(followed.readings[source] for source in sources),
        "undecoded": int_array(followed.undecoded[source] for source in sources),
    }
    await connection.execute(_SQL["tally"], values)


async def count(connection: Connection, derivation: int, gateway: str, counts: Counts) -> None:
    """Add what a transaction did to its derivation's record."""
    numbers = {name: getattr(counts, name) for name in Counts.__slots__}
    await connection.execute(_SQL["count"], numbers | {"derivation": derivation, "gateway": gateway})


def _scope(scope: Scope) -> dict[str, Any]:
    return {"start": scope.start, "end": scope.end, "gateway": scope.gateway}


def _log(part: LogPart) -> dict[str, Any]:
    return {"gateway": str(part.gateway), "epoch": bytes.fromhex(part.epoch)}


# ---- reading


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationRow:
    """A derivation on record. `finished_at` None: under way, or interrupted."""

    derivation_no: int
    started_at: datetime
    finished_at: datetime | None
    operator: str
    reason: str
    library_sha256: str
    version: str
    period_from: datetime
    period_to: datetime
    gateway_id: str | None
    codec: str | None
    gateways: list[str]
    frames: int
    unchanged: int
    changed: int
    newly_decoded: int
    now_undecodable: int
    undecided: int
    superseded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """An observation as it stood before the derivation `superseded_by`; `derivation` had given it, 0: as sealed."""

    superseded_no: int
    observed_at: datetime
    value: float | None
    quality: int
    time_uncertain: bool
    batch_no: int
    reading_index: int
    codec: str
    derivation: int
    superseded_by: int
    superseded_at: datetime
    why: str


async def list_derivations(database: Database, *, before: int | None = None, limit: int) -> list[DerivationRow]:
    """Return derivations, latest first, those numbered below `before`; raises StoreUnavailable."""
    async with database.snapshot() as connection, connection.cursor(row_factory=class_row(DerivationRow)) as cursor:
        await cursor.execute(_SQL["list"], {"before": before, "limit": limit})
        return await cursor.fetchall()


async def list_superseded(
    database: Database,
    datastream: int,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    after: int = 0,
    limit: int,
) -> list[Superseded]:
    """Return what was superseded of a datastream, in that order, observed in [start, end); raises StoreUnavailable."""
    values = {"datastream": datastream, "start": start, "end": end, "after": after, "limit": limit}
    async with database.snapshot() as connection, connection.cursor(row_factory=class_row(Superseded)) as cursor:
        await cursor.execute(_SQL["superseded"], values)
        return await cursor.fetchall()


async def derivations_of(connection: Connection, batches: Collection[int]) -> Mapping[tuple[int, int], int]:
    """Return the derivation of each reading (batch, index) of these batches that one has changed."""
    rows = await (await connection.execute(_SQL["of_readings"], {"batches": list(batches)})).fetchall()
    return {(batch, index): derivation for batch, index, derivation in rows}
