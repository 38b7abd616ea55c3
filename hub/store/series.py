"""Numbers of sources and datastreams: given once, remembered, and looked up by what a batch's streams say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import compress
from typing import Final

from hub.store.database import Connection
from hub.store.rows import UNNUMBERED
from hub.store.statements import statements
from wire.columns import NONE, Columns, Stream, spread
from wire.identity import GatewayId

Property = tuple[str, str]  # observed property, UCUM unit
StreamKey = tuple[GatewayId, bytes, str, tuple[Property, ...]]

_SQL: Final = statements("series")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The source's number and the datastream numbers of a stream's quantities, in the order of its shape."""

    source: int
    datastreams: tuple[int, ...]


@dataclass(slots=True)
class Findings:
    """Numbers learnt inside a transaction: they count for everyone only after its commit."""

    sources: dict[tuple[GatewayId, str], int] = field(default_factory=dict)
    datastreams: dict[tuple[int, str, str], int] = field(default_factory=dict)
    streams: dict[StreamKey, Numbers] = field(default_factory=dict)


def stream_keys(gateway: GatewayId, columns: Columns) -> list[StreamKey]:
    """Return what each of a batch's streams is known by."""
    named = [[columns.quantities[at][:2] for at in shape] for shape in columns.shapes]
    shapes: dict[int, tuple[Property, ...]] = {NONE: (), **dict(enumerate(map(tuple, named)))}
    return [(gateway, stream.dev_eui, stream.source, shapes[stream.shape]) for stream in columns.streams]


class Series:
    """Every number this process has seen. Rows are never deleted, so what is known stays true."""

    def __init__(self) -> None:
        self._known = Findings()

    async def resolve(
        self, connection: Connection, streams: Sequence[tuple[StreamKey, Stream]]
    ) -> tuple[Mapping[StreamKey, Numbers], Findings]:
        """Return the numbers of these streams, giving new ones in the caller's transaction, and what to `remember`."""
        known, found = self._known.streams, Findings()
        unseen = {key: stream for key, stream in streams if key not in known}
        if not unseen:
            return known, found
        await self._find_sources(connection, unseen, found)
        await self._find_datastreams(connection, unseen, found)
        for key, stream in unseen.items():
            source = self._source(key[0], stream, found)
            datastreams = tuple(self._datastream(source, one, found) for one in _numbered(key[3]))
            found.streams[key] = Numbers(source, datastreams)
        return {key: known.get(key) or found.streams[key] for key, _ in streams}, found

    def remember(self, found: Findings) -> None:
        """Keep what a committed transaction has learnt."""
        self._known.sources.update(found.sources)
        self._known.datastreams.update(found.datastreams)
        self._known.streams.update(found.streams)

    def _source(self, gateway: GatewayId, stream: Stream, found: Findings) -> int:
        """Return the source's number, UNNUMBERED while it has none."""
        key = (gateway, str(stream.source_id))
        return self._known.sources.get(key) or found.sources.get(key, UNNUMBERED)

    def _datastream(self, source: int, one: Property | None, found: Findings) -> int:
        if one is None:
            return UNNUMBERED
        key = (source, *one)
        return self._known.datastreams.get(key) or found.datastreams[key]

    async def _find_sources(self, connection: Connection, unseen: Mapping[StreamKey, Stream], found: Findings) -> None:
        for name in ("sources", "discover"):
            missing = sorted(
                {(key[0], str(s.source_id)) for key, s in unseen.items() if not self._source(key[0], s, found)}
            )
            if missing:
                values = {"gateway": [str(g) for g, _ in missing], "source": [source for _, source in missing]}
                rows = await (await connection.execute(_SQL[name], values)).fetchall()
                found.sources.update({(GatewayId(gateway), source): number for gateway, source, number in rows})

    async def _find_datastreams(
        self, connection: Connection, unseen: Mapping[StreamKey, Stream], found: Findings
    ) -> None:
        wanted = {
            (self._source(key[0], stream, found), *one)
            for key, stream in unseen.items()
            for one in _numbered(key[3])
            if one is not None
        }
        for name in ("datastreams", "begin"):
            missing = [key for key in wanted if key not in self._known.datastreams and key not in found.datastreams]
            if missing:
                values = {
                    "source_no": [source for source, _, _ in missing],
                    "observed_property": [observed for _, observed, _ in missing],
                    "unit": [unit for _, _, unit in missing],
                }
                rows = await (await connection.execute(_SQL[name], values)).fetchall()
                found.datastreams.update({(source, observed, unit): no for source, observed, unit, no in rows})


def _numbered(shape: Sequence[Property]) -> list[Property | None]:
    """Return the quantities that get a number, None for the others.

    A shape that names a quantity twice has one observation of it a reading, the first: two could not be told apart.
    """
    return [one if one not in shape[:at] else None for at, one in enumerate(shape)]


class Tally:
    """What a commit adds to its sources and datastreams: counted in memory, written once."""

    def __init__(self) -> None:
        self._readings: Counter[int] = Counter()
        self._undecoded: Counter[int] = Counter()
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def add(
        self, columns: Columns, times_ms: list[int], numbers: Sequence[Numbers], certain: Sequence[bool] | None = None
    ) -> None:
        """Count one stored batch, `numbers` per stream, `times_ms` per reading; of its times only `certain` ones."""
        stream = spread(columns.stream, columns.n)
        for at, count in Counter(stream).items():
            self._readings[numbers[at].source] += count
        for at in dict(columns.undecoded):
            self._undecoded[numbers[stream[at]].source] += 1
        self.extend(columns, times_ms, numbers, certain)

    def extend(
        self, columns: Columns, times_ms: list[int], numbers: Sequence[Numbers], certain: Sequence[bool] | None = None
    ) -> None:
        """Take a batch's times alone."""
        stream = spread(columns.stream, columns.n)
        if certain is not None:
            stream, times_ms = list(compress(stream, certain)), list(compress(times_ms, certain))
        self._extend(stream, times_ms, numbers)

    def _extend(self, stream: list[int], times: list[int], numbers: Sequence[Numbers]) -> None:
        if times != sorted(times):
            times, stream = map(list, zip(*sorted(zip(times, stream, strict=True)), strict=True))
        # A dict keeps the last of equal keys: of ascending times the latest, of descending ones the earliest.
        last = dict(zip(stream, times, strict=True))
        first = dict(zip(reversed(stream), reversed(times), strict=True))
        for s, at in last.items():
            for datastream in numbers[s].datastreams:
                self._last[datastream] = max(at, self._last.get(datastream, at))
                self._first[datastream] = min(first[s], self._first.get(datastream, first[s]))

    async def write(self, connection: Connection) -> None:
        """Write the counts in the caller's transaction."""
        if self._readings:
            sources = sorted(self._readings)  # in one order, as everything that two commits may both touch
            values = {
                "source_no": int_array(sources),
                "readings": int_array([self._readings[source] for source in sources]),
                "undecoded": int_array([self._undecoded[source] for source in sources]),
            }
            await connection.execute(_SQL["tally"], values)
        numbers = sorted(self._last.keys() - {UNNUMBERED})
        if numbers:
            extent = {
                "datastream_no": int_array(numbers),
                "first_ms": int_array([self._first[number] for number in numbers]),
                "last_ms": int_array([self._last[number] for number in numbers]),
            }
            await connection.execute(_SQL["extend"], extent)


def int_array(numbers: Iterable[int]) -> str:
    """Return PostgreSQL's text for an array of integers: psycopg's dumper of lists costs ten times this."""
    return f"{{{','.join(map(str, numbers))}}}"


def moment(at_ms: int) -> datetime:
    """Return milliseconds since 1970 as an aware UTC time, exactly."""
    return _EPOCH + timedelta(milliseconds=at_ms)
