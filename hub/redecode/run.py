"""`xom hub redecode`: from the frames of the log to observations as a corrected library gives them.

    batch log ──▶ frames ──▶ codec worker ──▶ readings ──▶ what differs ──▶ one transaction a page
                                                                             │  old rows put aside
                                                                             │  new rows, tallies, extents
                                                                             └─ the derivation's record

The log never changes. Doing it again, or going on after an interruption, ends in the same place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from codec.client import CodecWorker
from codec.profiles import ProfileLibrary
from hub.crash import Point, Reach, nowhere
from hub.redecode.devices import DeviceBook, Given, Unresolved, is_frame
from hub.redecode.samples import Position, Samples, batch_of, is_repetition
from hub.store import derivations
from hub.store.database import Connection, Database
from hub.store.dating import is_unset
from hub.store.derivations import BatchRow, Followed, LogPart, Place, Rewriter, Scope
from hub.store.derived import Change, Counts, Decoded, Family, Indexed, Outcome, families, frame_of, orphans_of, unpack
from hub.store.partitions import Partitions, months_of
from wire.batch import Batch
from wire.identity import SourceId
from wire.reading import Reading, Undecoded

MOST_BATCHES: Final = 50  # in one transaction: ingest of that gateway waits for it
MOST_READINGS: Final = 5_000
MOST_EXAMPLES: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Who derives what anew with what, and why. `dry_run`: everything is done and rolled back."""

    scope: Scope
    library: ProfileLibrary
    given: Mapping[SourceId, Given] = field(default_factory=dict)
    operator: str
    reason: str
    version: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One reading before and after."""

    gateway: str
    batch_no: int
    change: Change


@dataclass(slots=True)
class Report:
    """What a redecoding did, or would do. `left` are the sources whose profile nobody knows, and why.

    `behind` are gateways whose newest batch still names a codec that was replaced, or another library.
    """

    derivation: int = 0
    batches: int = 0
    of_batches: int = 0
    counts: Counts = field(default_factory=Counts)
    gateways: set[str] = field(default_factory=set)
    left: dict[tuple[str, str], str] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)  # codecs that sealed readings name, and that gave way


async def redecode(
    database: Database, order: Order, *, tell: Callable[[Report], None] | None = None, reach: Reach = nowhere
) -> Report:
    """Derive the observations of a scope anew; returns what changed.

    Raises RedecodeRunning, NotThere, ProfileError, WorkerError, StoreUnavailable. What was committed until then stays,
    and the same order again does the rest.
    """
    async with derivations.alone(database), CodecWorker(order.library) as worker:
        registered = await derivations.registered_profiles(database)
        book = DeviceBook(order.library, order.given, registered, only=order.scope.codec)
        run = _Run(database, order, book, worker, tell or _silent, reach)
        return await run.all()


def _silent(_: Report) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A batch of a page with all that its new readings follow from."""

    row: BatchRow
    batch: Batch
    sealed: list[Reading]
    decoded: Decoded
    before: list[Reading]
    decoded_before: Decoded
    after: list[Reading]


class _Run:
    """One redecoding."""

    def __init__(
        self,
        database: Database,
        order: Order,
        book: DeviceBook,
        worker: CodecWorker,
        tell: Callable[[Report], None],
        reach: Reach,
    ) -> None:
        self._database = database
        self._order = order
        self._book = book
        self._worker = worker
        self._tell = tell
        self._reach = reach
        self._partitions = Partitions(database)
        self._rewriter = Rewriter()
        self._samples = Samples()
        self._profiles: dict[tuple[str, SourceId], str] = {}
        self._report = Report()

    async def all(self) -> Report:
        order, report = self._order, self._report
        newest = await derivations.newest_batch(self._database)
        parts = await derivations.log_parts(self._database, order.scope, newest)
        report.of_batches = sum(part.batches for part in parts)
        if not order.dry_run:
            report.derivation = await derivations.begin_derivation(
                self._database,
                order.scope,
                operator=order.operator,
                reason=order.reason,
                library=bytes.fromhex(order.library.library_hash),
                version=order.version,
            )
        for part in parts:
            await self._log(part, newest)
        if not order.dry_run:
            await derivations.finish_derivation(self._database, report.derivation)
        report.behind = await self._behind()
        return report

    async def _log(self, part: LogPart, newest: int) -> None:
        after = 0
        while True:
            rows = await derivations.page_of(
                self._database, part, self._order.scope, newest, after=after, most=MOST_BATCHES
            )
            if not rows:
                return
            page = _bounded(rows)
            after = page[-1].seq
            await self._page(part, page)
            self._report.batches += len(page)
            self._tell(self._report)

    async def _page(self, part: LogPart, page: Sequence[BatchRow]) -> None:
        """Derive a page of one log anew: decode first, then one transaction."""
        work = await self._decoded(part, page)
        if not any(one.decoded or one.decoded_before for one in work):
            return
        if not self._order.dry_run:
            times = [r.frame.observed_at_ms for one in work for readings in one.decoded.values() for r in readings]
            await self._partitions.prepare(months_of(times), datetime.now(UTC))
        counts, examples = Counts(), list[Example]()
        try:
            await self._commit(part, work, counts, examples)
        finally:
            self._samples.forget()
            self._rewriter.forget()
        self._reach(Point.AFTER_COMMIT)
        self._report.counts.add(counts)
        self._report.examples += examples[: MOST_EXAMPLES - len(self._report.examples)]
        if counts.frames:
            self._report.gateways.add(str(part.gateway))

    async def _commit(self, part: LogPart, work: Sequence[_Work], counts: Counts, examples: list[Example]) -> None:
        async with derivations.rewriting(self._database, part.gateway, keep=not self._order.dry_run) as connection:
            await self._write(connection, part, work, counts, examples)
            self._reach(Point.BEFORE_COMMIT)
        if not self._order.dry_run:
            self._rewriter.remember()

    # ---- decoding

    async def _decoded(self, part: LogPart, page: Sequence[BatchRow]) -> list[_Work]:
        seqs = {row.seq + step for row in page for step in (-1, 0, 1)}
        envelopes = await derivations.envelopes_of(self._database, part, seqs)
        batches = {seq: batch_of(envelope) for seq, envelope in envelopes.items()}
        sealed = {seq: batch.readings() for seq, batch in batches.items()}
        wanted = [(row.seq, at) for row in page for at in range(len(sealed[row.seq]))]
        wanted += [pair for row in page for pair in _frames_before(row.seq, sealed)]
        decoded = await self._decode(str(part.gateway), sealed, list(dict.fromkeys(wanted)))
        return [
            _Work(
                row=row,
                batch=batches[row.seq],
                sealed=sealed[row.seq],
                decoded=decoded.get(row.seq, {}),
                before=sealed.get(row.seq - 1, []),
                decoded_before=_sure(decoded.get(row.seq - 1, {})),
                after=sealed.get(row.seq + 1, []),
            )
            for row in page
        ]

    async def _decode(
        self, gateway: str, sealed: Mapping[int, Sequence[Reading]], wanted: Sequence[tuple[int, int]]
    ) -> dict[int, dict[int, Sequence[Reading]]]:
        """Decode the frames among these readings whose profile is known, in their order."""
        chosen = []
        for seq, at in sorted(wanted):
            reading = sealed[seq][at]
            profile = self._book.choose(gateway, reading) if is_frame(reading) else None
            if isinstance(profile, Unresolved):
                self._report.left[gateway, str(reading.frame.source)] = profile.reason
            elif profile is not None:
                self._profiles[gateway, reading.frame.source] = profile
                chosen.append((seq, at, profile))
        unfolded = await self._worker.unfold([(profile, sealed[seq][at].frame) for seq, at, profile in chosen])
        decoded: dict[int, dict[int, Sequence[Reading]]] = {}
        for (seq, at, _), readings in zip(chosen, unfolded, strict=True):
            decoded.setdefault(seq, {})[at] = readings
            self._note_replaced(sealed[seq][at].codec, readings[0].codec)
        return decoded

    def _note_replaced(self, old: str, new: str) -> None:
        if old and old != new:
            self._report.replaced.add(old)

    # ---- writing

    async def _write(
        self, connection: Connection, part: LogPart, work: Sequence[_Work], counts: Counts, examples: list[Example]
    ) -> None:
        """Write what a page comes to, batch by batch: a record may repeat a sample of the batch before."""
        stands = await derivations.derived(connection, [one.row.batch_no for one in work])
        followed, changed = Followed(), False
        for one in work:
            stored = stands.get(one.row.batch_no)
            now = unpack(stored) if stored is not None else list(map(Indexed, itertools.count(), one.sealed))
            outcome = await self._settle(connection, part, one, now)
            if outcome.changes:
                changed = True
                place = Place(
                    gateway=part.gateway,
                    batch_no=one.row.batch_no,
                    derivation=self._report.derivation,
                    unset=is_unset(one.batch),
                )
                outcome.counts.superseded = await self._rewriter.rewrite(connection, place, outcome, followed)
                self._samples.forget(one.row.batch_no)
                examples += [
                    Example(gateway=str(part.gateway), batch_no=one.row.batch_no, change=change)
                    for change in outcome.changes[:MOST_EXAMPLES]
                ]
            counts.add(outcome.counts)
        if changed:
            await self._rewriter.follow(connection, followed)
        if not self._order.dry_run and counts.frames:
            await derivations.count(connection, self._report.derivation, str(part.gateway), counts)

    async def _settle(self, connection: Connection, part: LogPart, one: _Work, now: Sequence[Indexed]) -> Outcome:
        """Find out what a batch's readings are now, and which of them differ."""
        outcome = Outcome()
        for family in families(
            one.sealed,
            now,
            one.decoded,
            before=one.before,
            decoded_before=one.decoded_before,
            after=one.after,
        ):
            if family.proposed is None:
                outcome.keep(family)
            else:
                outcome.settle(family, await self._kept(connection, part, one, family, outcome.readings))
        return outcome

    async def _kept(
        self, connection: Connection, part: LogPart, one: _Work, family: Family, here: Sequence[Indexed]
    ) -> list[Indexed]:
        """Return a frame's proposed readings without the records that repeat a sample."""
        kept: list[Indexed] = []
        position = Position(gateway=str(part.gateway), epoch=part.epoch, seq=one.row.seq, batch_no=one.row.batch_no)
        for proposed in family.proposed or ():
            source = proposed.reading.frame.source
            rule = self._book.rule(self._profiles[str(part.gateway), source], source) if proposed.record else None
            if rule is not None:
                at_ms = proposed.reading.frame.observed_at_ms
                both = await self._samples.near(connection, position, source, at_ms, rule)
                if is_repetition(proposed, both, [*here, *kept], one.sealed, rule):
                    continue
            kept.append(Indexed(proposed.index, proposed.reading))
        return kept

    # ---- afterwards

    async def _behind(self) -> list[str]:
        """Return the gateways of this redecoding whose newest batch still names what was replaced."""
        mark, behind = self._order.library.library_hash[:16], []
        for gateway, envelope in (await derivations.last_batches(self._database, self._report.gateways)).items():
            batch = batch_of(envelope)
            named = {f"{name}@{digest.hex()}" for name, digest in batch.columns.codecs}
            library = batch.body.sw.codecs
            if named & self._report.replaced or (library and library != mark):
                behind.append(gateway)
        return sorted(behind)


def _bounded(rows: Sequence[BatchRow]) -> Sequence[BatchRow]:
    """Return as many of the first rows as hold MOST_READINGS together, at least one."""
    readings = 0
    for at, row in enumerate(rows):
        readings += row.readings
        if at and readings > MOST_READINGS:
            return rows[:at]
    return rows


def _frames_before(seq: int, sealed: Mapping[int, Sequence[Reading]]) -> list[tuple[int, int]]:
    """Return the frames of the batch before whose records this one begins with."""
    before = sealed.get(seq - 1, ())
    frames = [frame_of(one.reading, before) for one in orphans_of(sealed[seq])] if before else []
    return [(seq - 1, at) for at in frames if at is not None]


def _sure(decoded: Decoded) -> Decoded:
    """Leave out the frames on which the codec met its limits: their records stay."""
    return {at: readings for at, readings in decoded.items() if readings[0].undecoded is not Undecoded.CODEC_LIMIT}
