"""The hot path: a group of verified batches, stored once each in one transaction.

What arrives twice is refused per batch, never per row, so that observations stream in by COPY without a check each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from psycopg import errors

from hub.crash import Point, Reach, nowhere
from hub.store import clocks
from hub.store.accounts import accounts_of, keep_accounts
from hub.store.admission import Admitted, Chain, Held, Key, Outcome, Verdict, judge, neighbours
from hub.store.database import Connection, Database, StoreUnavailable
from hub.store.dating import is_unset, told
from hub.store.deliveries import Delivery, Log, settle
from hub.store.gaps import Completeness, completeness, keep
from hub.store.incidents import DEFAULT_CAP, Incident, record_within
from hub.store.locks import REGISTRY_LOCK, gateway_lock
from hub.store.partitions import Partitions, months_of
from hub.store.redating import redate
from hub.store.reports import reported
from hub.store.series import Numbers, Series, StreamKey, Tally, int_array
from hub.store.statements import statements
from hub.store.unfolded import Unfolded, copy_observations, unfold
from wire.identity import Epoch, GatewayId
from wire.keys import Algorithm, PublicKey

__all__ = ["Admitted", "BatchStore", "Committed", "NotEnrolled", "Outcome"]

_SQL: Final = statements("batches")


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a commit did: outcomes in the order of the group, and the delivery of every epoch it touched.

    Touched is also an epoch that a batch of another one accounts for: those come first, so that the last word to a
    gateway is about the log that it writes.
    `readings`, `undecoded` and `observations` count what was newly stored, `incidents` what was recorded;
    `newest_batch` is the highest number that a batch of the group got, 0 when none was new.
    """

    outcomes: tuple[Outcome, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    readings: int = 0
    undecoded: int = 0
    observations: int = 0
    incidents: int = 0
    newest_batch: int = 0


class NotEnrolled(ValueError):
    """Batches of a gateway that the registry does not have: admit only what a key of `verifiers` has signed."""

    def __init__(self, gateways: Sequence[str]) -> None:
        super().__init__(f"not in the registry: {', '.join(gateways)}. Load the registry entry, then commit again.")


class BatchStore:
    """Stores batches. Several commits may run at once: those that share a gateway wait for each other."""

    def __init__(self, database: Database, *, incident_cap: int = DEFAULT_CAP, reach: Reach = nowhere) -> None:
        self._database = database
        self._reach = reach
        self._incident_cap = incident_cap
        self._partitions = Partitions(database)
        self._series = Series()

    async def commit(self, admitted: Sequence[Admitted]) -> Committed:
        """Store a group in one transaction; raises StoreUnavailable, and then the same group can be committed again.

        Every gateway must be enrolled, else NotEnrolled. The result describes the moment of this commit.
        """
        if not admitted:
            return Committed()
        unfolded = await self._dated([unfold(one) for one in admitted])
        months = set().union(*(months_of(one.times_ms) for one in unfolded))
        await self._partitions.prepare(months, datetime.now(UTC))
        async with self._database.transaction() as connection:
            verdict = judge(admitted, *await _locked(connection, admitted))
            fresh = [unfolded[at] for at, _ in verdict.new]
            batch_numbers = await _insert(connection, [one.admitted for one in fresh], [c for _, c in verdict.new])
            numbers, found = await self._series.resolve(connection, [pair for one in fresh for pair in one.streams])
            numbered = [(batch_numbers[one.admitted.key], one) for one in fresh]
            observations = await copy_observations(connection, numbered, numbers)
            await _count(connection, admitted, fresh, numbers, verdict, batch_numbers)
            accounted, incidents = await _account(connection, fresh, batch_numbers)
            incidents = [*verdict.incidents, *incidents, *(word for one in fresh for word in reported(one.admitted))]
            await record_within(connection, incidents, cap=self._incident_cap)
            await _keep_clocks(connection, fresh, batch_numbers)
            logs = {(one.gateway, one.batch.epoch) for one in admitted}
            deliveries = await settle(connection, [*sorted(accounted - logs), *sorted(logs)])
            self._reach(Point.BEFORE_COMMIT)
        self._series.remember(found)
        return Committed(
            outcomes=verdict.outcomes,
            deliveries=tuple(deliveries),
            readings=sum(one.columns.n for one in fresh),
            undecoded=sum(len(dict(one.columns.undecoded)) for one in fresh),
            observations=observations,
            incidents=len(incidents),
            newest_batch=max(batch_numbers.values(), default=0),
        )

    async def _dated(self, unfolded: list[Unfolded]) -> list[Unfolded]:
        """Date what was written with an unset clock by what its batch, or one stored before, says of that boot."""
        boots = {one.boot for one in unfolded if is_unset(one.admitted.batch)}
        if not boots:
            return unfolded
        async with self._database.connection() as connection:
            known = await clocks.known_settings(connection, boots)
        return [one.dated(known[one.boot]) if is_unset(one.admitted.batch) else one for one in unfolded]

    async def redate(self) -> bool:
        """Date anew a page of batches that a setting of their gateway's clock, come later, dates otherwise.

        Returns whether anything waited. Raises StoreUnavailable.
        """
        return await redate(self._database, self._partitions, self._series)


async def _locked(
    connection: Connection, admitted: Sequence[Admitted]
) -> tuple[dict[Key, Held], dict[GatewayId, PublicKey]]:
    """Lock the group's gateways and return what is held around its batches, and the keys of those that begin a log."""
    locks = sorted({gateway_lock(one.gateway) for one in admitted})
    beginning = sorted({str(one.gateway) for one in admitted if one.batch.seq == 1})
    async with connection.pipeline():
        # Each statement sees what was committed when it starts: the later two see all that happened before the lock.
        await connection.execute(_SQL["lock"], {"registry": REGISTRY_LOCK, "gateways": locks})
        stored = await connection.execute(_SQL["stored"], _columns(sorted(neighbours(admitted))))
        enrolled = await connection.execute(_SQL["keys"], {"gateway": beginning})
    held = {
        (GatewayId(gateway), Epoch(epoch), seq): Held(payload_sha256=payload, prev_sha256=prev, chain=Chain(chain))
        for gateway, epoch, seq, payload, prev, chain in await stored.fetchall()
    }
    keys = {GatewayId(g): PublicKey(Algorithm(algorithm), key) for g, algorithm, key in await enrolled.fetchall()}
    if strangers := sorted(set(beginning) - keys.keys()):
        raise NotEnrolled(strangers)
    return held, keys


async def _insert(connection: Connection, new: Sequence[Admitted], chains: Sequence[Chain]) -> dict[Key, int]:
    """Insert the new batches and return their numbers."""
    if not new:
        return {}
    bodies = [one.batch.body for one in new]
    values = _columns([one.key for one in new]) | {
        "payload_sha256": [one.batch.payload_sha256 for one in new],
        "prev_sha256": [body.prev for body in bodies],
        "from_ms": int_array(body.from_ms for body in bodies),
        "to_ms": int_array(body.to_ms for body in bodies),
        "readings": int_array(body.r.n for body in bodies),
        "envelope": [one.envelope for one in new],
        "chain": int_array(chains),
    }
    try:
        rows = await (await connection.execute(_SQL["insert"], values)).fetchall()
    except errors.ForeignKeyViolation:
        raise NotEnrolled(sorted({str(one.gateway) for one in new})) from None
    if len(rows) != len(new):
        # Only a writer that does not take our locks can come between; the next try sees its rows.
        raise StoreUnavailable("another program wrote the same batches", "Nothing was stored; commit the group again.")
    return {(GatewayId(gateway), Epoch(epoch), seq): number for gateway, epoch, seq, number in rows}


async def _count(
    connection: Connection,
    admitted: Sequence[Admitted],
    fresh: Sequence[Unfolded],
    known: Mapping[StreamKey, Numbers],
    verdict: Verdict,
    batch_numbers: Mapping[Key, int],
) -> None:
    """Write what follows from the group beside its rows: tallies, samples due, who was heard, chains that now close."""
    tally = Tally()
    for one in fresh:
        tally.add(one.columns, one.times_ms, one.numbers(known), one.certain)
    said: dict[int, Completeness] = {}
    for one in fresh:
        due = completeness(one.admitted.batch)
        if due is not None:
            said[batch_numbers[one.admitted.key]] = due
    relinked = _columns([key for key, _ in verdict.relinked]) | {
        "chain": int_array(chain for _, chain in verdict.relinked)
    }
    async with connection.pipeline():
        await tally.write(connection)
        await keep(connection, said)
        await connection.execute(_SQL["heard"], {"gateway": sorted({str(one.gateway) for one in admitted})})
        await connection.execute(_SQL["relink"], relinked)


async def _account(
    connection: Connection, fresh: Sequence[Unfolded], batch_numbers: Mapping[Key, int]
) -> tuple[set[Log], list[Incident]]:
    """Write what the new batches declare lost; returns the logs that it concerns, and an incident where it is much."""
    declared = [
        (one.admitted.gateway, batch_numbers[one.admitted.key], accounts_of(one.admitted.batch))
        for one in fresh
        if one.admitted.batch.body.ev
    ]
    declared = [one for one in declared if one[2]]
    return await keep_accounts(connection, declared) if declared else (set(), [])


async def _keep_clocks(connection: Connection, fresh: Sequence[Unfolded], batch_numbers: Mapping[Key, int]) -> None:
    """Write what the new batches tell of their gateways' clocks. Nearly always nothing."""
    settings = [
        (batch_numbers[one.admitted.key], boot, setting)
        for one in fresh
        if one.admitted.batch.body.ev
        for boot, setting in told(one.admitted.batch)
    ]
    datings = {batch_numbers[one.admitted.key]: one.dating for one in fresh if one.dating is not None}
    if settings or datings:
        await clocks.keep_clocks(connection, settings, datings)


def _columns(keys: Sequence[Key]) -> dict[str, object]:
    return {
        "gateway": [str(gateway) for gateway, _, _ in keys],
        "epoch": [bytes.fromhex(epoch) for _, epoch, _ in keys],
        "seq": int_array(seq for _, _, seq in keys),
    }
