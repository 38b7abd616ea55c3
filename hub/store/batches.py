"""The hot path: a group of verified batches, stored once each in one transaction.

What arrives twice is refused per batch, never per row, so that observations stream in by COPY without a check each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from hub.store.admission import Admitted, Chain, Held, Key, Outcome, Verdict, judge, neighbours
from hub.store.database import Connection, Database, StoreUnavailable
from hub.store.deliveries import Delivery, settle
from hub.store.incidents import DEFAULT_CAP, record_within
from hub.store.locks import REGISTRY_LOCK, gateway_lock
from hub.store.partitions import Partitions, months_of
from hub.store.rows import HEADER, TRAILER, encode_rows
from hub.store.series import Findings, Numbers, Series, StreamKey, Tally, moment, stream_keys
from hub.store.statements import statements
from wire.columns import Stream, observed_at_ms
from wire.identity import Epoch, GatewayId
from wire.keys import Algorithm, PublicKey
from wire.reading import ClockState

__all__ = ["Admitted", "BatchStore", "Committed", "Outcome"]

_CHUNK_BYTES: Final = 64 * 1024  # one write to the server: it works on one chunk while we make the next

_SQL: Final = statements("batches")


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a commit did: outcomes in the order of the group, and the delivery of every epoch it touched.

    `readings`, `undecoded` and `observations` count what was newly stored, `incidents` what was recorded.
    """

    outcomes: tuple[Outcome, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    readings: int = 0
    undecoded: int = 0
    observations: int = 0
    incidents: int = 0


class BatchStore:
    """Stores batches. Several commits may run at once: those that share a gateway wait for each other."""

    def __init__(self, database: Database, *, incident_cap: int = DEFAULT_CAP) -> None:
        self._database = database
        self._incident_cap = incident_cap
        self._partitions = Partitions(database)
        self._series = Series()

    async def commit(self, admitted: Sequence[Admitted]) -> Committed:
        """Store a group in one transaction; raises StoreUnavailable, and then the same group can be committed again.

        Every gateway must be enrolled. The result describes the moment of this commit.
        """
        if not admitted:
            return Committed()
        months = [months_of(observed_at_ms(one.batch.columns)) for one in admitted]
        await self._partitions.prepare(set().union(*months), datetime.now(UTC))
        async with self._database.transaction() as connection:
            committed, found = await self._store(connection, admitted)
        self._series.remember(found)
        return committed

    async def _store(self, connection: Connection, admitted: Sequence[Admitted]) -> tuple[Committed, Findings]:
        await _lock(connection, admitted)
        held = await _held(connection, admitted)
        verdict = judge(admitted, held, await _enrolled_keys(connection, admitted))
        numbers = await _insert(connection, verdict)
        observations, found = await self._derive(connection, [one for one, _ in verdict.new], numbers)
        await _relink(connection, verdict)
        await record_within(connection, verdict.incidents, cap=self._incident_cap)
        await connection.execute(_SQL["heard"], {"gateway": sorted({str(one.gateway) for one in admitted})})
        deliveries = await settle(connection, {(one.gateway, one.batch.epoch) for one in admitted})
        committed = Committed(
            outcomes=verdict.outcomes,
            deliveries=tuple(deliveries),
            readings=sum(one.batch.columns.n for one, _ in verdict.new),
            undecoded=sum(len(one.batch.columns.undecoded) for one, _ in verdict.new),
            observations=observations,
            incidents=len(verdict.incidents),
        )
        return committed, found

    async def _derive(
        self, connection: Connection, new: Sequence[Admitted], batch_numbers: dict[Key, int]
    ) -> tuple[int, Findings]:
        """Turn the readings of new batches into observations and tallies; return how many, and the numbers learnt."""
        keys = [stream_keys(one.gateway, one.batch.columns) for one in new]
        streams: Iterator[tuple[StreamKey, Stream]] = (
            pair
            for one, own in zip(new, keys, strict=True)
            for pair in zip(own, one.batch.columns.streams, strict=True)
        )
        known, found = await self._series.resolve(connection, streams)
        numbered = [(one, [known[key] for key in own]) for one, own in zip(new, keys, strict=True)]
        tally = Tally()
        for one, numbers in numbered:
            tally.add(one.batch, numbers)
        observations = await _copy(connection, numbered, batch_numbers)
        await tally.write(connection)
        return observations, found


async def _lock(connection: Connection, admitted: Sequence[Admitted]) -> None:
    locks = sorted({gateway_lock(one.gateway) for one in admitted})
    await connection.execute(_SQL["lock"], {"registry": REGISTRY_LOCK, "gateways": locks})


async def _held(connection: Connection, admitted: Sequence[Admitted]) -> dict[Key, Held]:
    rows = await (await connection.execute(_SQL["stored"], _columns(sorted(neighbours(admitted))))).fetchall()
    return {
        (GatewayId(gateway), Epoch(epoch), seq): Held(payload_sha256=payload, prev_sha256=prev, chain=Chain(chain))
        for gateway, epoch, seq, payload, prev, chain in rows
    }


async def _enrolled_keys(connection: Connection, admitted: Sequence[Admitted]) -> dict[GatewayId, PublicKey]:
    """Return the keys of the gateways whose first batch is here: it must follow their enrolment."""
    beginning = sorted({str(one.gateway) for one in admitted if one.batch.seq == 1})
    if not beginning:
        return {}
    rows = await (await connection.execute(_SQL["keys"], {"gateway": beginning})).fetchall()
    return {GatewayId(gateway): PublicKey(Algorithm(algorithm), key) for gateway, algorithm, key in rows}


async def _insert(connection: Connection, verdict: Verdict) -> dict[Key, int]:
    """Insert the new batches and return their numbers."""
    if not verdict.new:
        return {}
    bodies = [one.batch.body for one, _ in verdict.new]
    values = _columns([one.key for one, _ in verdict.new]) | {
        "payload_sha256": [one.batch.payload_sha256 for one, _ in verdict.new],
        "prev_sha256": [body.prev for body in bodies],
        "window_from": [moment(body.from_ms) for body in bodies],
        "window_to": [moment(body.to_ms) for body in bodies],
        "readings": [body.r.n for body in bodies],
        "envelope": [one.envelope for one, _ in verdict.new],
        "chain": [int(chain) for _, chain in verdict.new],
    }
    rows = await (await connection.execute(_SQL["insert"], values)).fetchall()
    if len(rows) != len(verdict.new):
        # Only a writer that does not take our locks can come between; the next try sees its rows.
        raise StoreUnavailable("another program wrote the same batches", "Nothing was stored; commit the group again.")
    return {(GatewayId(gateway), Epoch(epoch), seq): number for gateway, epoch, seq, number in rows}


async def _relink(connection: Connection, verdict: Verdict) -> None:
    if verdict.relinked:
        values = _columns([key for key, _ in verdict.relinked]) | {
            "chain": [int(chain) for _, chain in verdict.relinked]
        }
        await connection.execute(_SQL["relink"], values)


async def _copy(
    connection: Connection, numbered: Sequence[tuple[Admitted, list[Numbers]]], batch_numbers: dict[Key, int]
) -> int:
    """Stream the observations of new batches and return how many there were."""
    written, buffer = 0, bytearray(HEADER)
    async with connection.cursor() as cursor, cursor.copy(_SQL["copy"]) as copy:
        for one, numbers in numbered:
            datastreams = [number.datastreams for number in numbers]
            uncertain = one.batch.body.clock.state is ClockState.NONE
            rows = encode_rows(one.batch.columns, batch_numbers[one.key], datastreams, uncertain=uncertain)
            written += len(rows)
            buffer += b"".join(rows)
            if len(buffer) >= _CHUNK_BYTES:
                await copy.write(buffer)
                buffer = bytearray()
        await copy.write(buffer + TRAILER)
    return written


def _columns(keys: Sequence[Key]) -> dict[str, object]:
    return {
        "gateway": [str(gateway) for gateway, _, _ in keys],
        "epoch": [bytes.fromhex(epoch) for _, epoch, _ in keys],
        "seq": [seq for _, _, seq in keys],
    }
