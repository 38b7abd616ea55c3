"""Whether a record from a device's memory repeats a sample that the log has kept before it (decision 012).

The gateway decided that with what its codec gave. With another codec a record may repeat what it did not repeat then.
A record that the gateway kept goes only where it is the correction that makes it a repetition: the gateway may have
known another interval than we do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from codec.history import HistoryRule, Known, known, reach_ms, repeats
from hub.store import derivations
from hub.store.database import Connection
from hub.store.derivations import StoredBatch
from hub.store.derived import Indexed, Proposed, unpack
from wire.batch import Batch, parse_payload
from wire.dsse import Envelope
from wire.identity import SourceId
from wire.reading import Kind, Reading


def batch_of(envelope: bytes) -> Batch:
    """Read a batch of the log, whose signature was verified when it was stored."""
    return parse_payload(Envelope.decode(envelope).payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a batch stands in its gateway's log."""

    gateway: str
    epoch: str
    seq: int
    batch_no: int

    def follows(self, other: StoredBatch) -> bool:
        """Whether another batch of the gateway comes before this one; of other epochs in order of arrival."""
        if other.epoch == self.epoch:
            return other.seq < self.seq
        return other.batch_no < self.batch_no


@dataclass(slots=True)
class Both:
    """Samples of one source: as they are derived now, and as they were sealed."""

    now: list[Known] = field(default_factory=list)
    sealed: list[Known] = field(default_factory=list)


class Samples:
    """The samples near a record, read from the log once a page. `forget` when batches have changed under it."""

    def __init__(self) -> None:
        self._batches: dict[int, tuple[StoredBatch, list[Reading], list[Reading]]] = {}

    def forget(self, batch_no: int | None = None) -> None:
        """Read this batch anew, or all of them."""
        if batch_no is None:
            self._batches.clear()
        else:
            self._batches.pop(batch_no, None)

    async def near(
        self, connection: Connection, position: Position, source: SourceId, at_ms: int, rule: HistoryRule
    ) -> Both:
        """Return the samples of a source near a time that stand in batches before this one."""
        reach = reach_ms(rule)
        numbers = await derivations.near(connection, position.gateway, source, at_ms - reach, at_ms + reach)
        await self._load(connection, [n for n in numbers if n not in self._batches and n != position.batch_no])
        both = Both()
        for number in numbers:
            if number == position.batch_no:
                continue
            batch, now, sealed = self._batches[number]
            if position.follows(batch):
                both.now += _samples(now, source)
                both.sealed += _samples(sealed, source)
        return both

    async def _load(self, connection: Connection, numbers: Sequence[int]) -> None:
        for one in await derivations.stored(connection, numbers) if numbers else ():
            sealed = batch_of(one.envelope).readings()
            now = sealed if one.readings is None else [item.reading for item in unpack(one.readings)]
            self._batches[one.batch_no] = (one, now, sealed)


def _samples(readings: Iterable[Reading], source: SourceId) -> list[Known]:
    return [sample_of(one) for one in readings if one.frame.source == source and one.quantities]


def sample_of(reading: Reading) -> Known:
    """A reading as what it is compared with."""
    frame = reading.frame
    return known(frame.key, frame.observed_at_ms, reading.quantities, stored=frame.kind is Kind.HISTORY)


def is_repetition(
    one: Proposed, both: Both, here: Sequence[Indexed], sealed_here: Sequence[Reading], rule: HistoryRule
) -> bool:
    """Whether a proposed record goes. `here` are the readings of its batch before it, as now and as sealed. Pure."""
    source = one.reading.frame.source
    now = both.now + _samples([item.reading for item in here], source)
    if not repeats(_keyless(one.reading), now, rule):
        return False
    if one.sealed is None:
        return True
    before = both.sealed + _samples(sealed_here[: one.index], source)
    return not repeats(_keyless(one.sealed), before, rule)


def _keyless(reading: Reading) -> Known:
    """A record as a sample: keys do not travel, so that the very same record is known by second and content."""
    sample = sample_of(reading)
    return Known(_NO_SAMPLE, sample.observed_at_ms, sample.values, sample.stored)


_NO_SAMPLE = b"?"  # equals no key: those of the log are empty
