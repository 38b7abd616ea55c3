"""Observations of batches that were written with an unset clock, derived anew at the times known now (decision 014)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from hub.store import clocks
from hub.store.admission import Admitted
from hub.store.clocks import Due
from hub.store.database import Connection, Database
from hub.store.derived import Indexed, unpack
from hub.store.locks import REGISTRY_LOCK, gateway_lock
from hub.store.partitions import Partitions, months_of
from hub.store.series import Findings, Series, Tally
from hub.store.statements import statements
from hub.store.unfolded import Unfolded, copy_observations, unfold
from wire.batch import parse_payload
from wire.dsse import Envelope
from wire.identity import GatewayId

_SQL: Final = statements("batches")


async def redate(database: Database, partitions: Partitions, series: Series) -> bool:
    """Date anew a page of the batches that a setting of their gateway's clock, come later, dates otherwise.

    Returns whether anything waited. Rows are derived from the batch log, and from what was redecoded of it, anew: doing
    it twice, or in another order, leaves the same ones. Raises StoreUnavailable.
    """
    async with database.snapshot() as connection:
        waiting = await clocks.queued(connection)
        if waiting is None:
            return False
        boot, after = waiting
        known = (await clocks.known_settings(connection, [boot]))[boot]
        ahead = [stored(boot[0], one).dated(known).times_ms for one in await clocks.due(connection, boot, after)]
    await partitions.prepare(set().union(*map(months_of, ahead)), datetime.now(UTC))
    async with database.transaction() as connection:
        await connection.execute(_SQL["lock"], {"registry": REGISTRY_LOCK, "gateways": [gateway_lock(boot[0])]})
        progress = await clocks.progress(connection, boot)
        page = [] if progress is None else await clocks.due(connection, boot, progress)
        known = (await clocks.known_settings(connection, [boot]))[boot]
        found = await derive_anew(connection, series, [(one, stored(boot[0], one).dated(known)) for one in page])
        await clocks.advance(connection, boot, page)
    series.remember(found)
    return True


async def rewrite(
    connection: Connection, series: Series, gateway: GatewayId, due: Due, readings: Sequence[Indexed]
) -> Findings:
    """Give one batch these readings at the times known now, in the caller's transaction; returns the numbers learnt."""
    one = stored(gateway, due, readings)
    known = await clocks.known_settings(connection, [one.boot])
    return await derive_anew(connection, series, [(due, one.dated(known[one.boot]))])


async def derive_anew(connection: Connection, series: Series, page: Sequence[tuple[Due, Unfolded]]) -> Findings:
    """Put observations in the place of those that stand; returns the numbers learnt."""
    known, found = await series.resolve(connection, [pair for _, one in page for pair in one.streams])
    tally, left = Tally(), set[int]()
    for due, one in page:
        numbers = one.numbers(known)
        datastreams = {number for stream in numbers for number in stream.datastreams}
        await clocks.remove(connection, due, datastreams)
        tally.extend(one.columns, one.times_ms, numbers, one.certain)
        left |= datastreams if due.dated else set()
    await copy_observations(connection, [(due.batch_no, one) for due, one in page], known)
    await clocks.keep_datings(connection, {due.batch_no: one.dating for due, one in page if one.dating is not None})
    await tally.write(connection)
    if left:
        await clocks.recount_extents(connection, left)
    return found


def stored(gateway: GatewayId, due: Due, readings: Sequence[Indexed] | None = None) -> Unfolded:
    """Unfold a batch of the log, which was verified when it was stored, with these readings or those that stand."""
    batch = parse_payload(Envelope.decode(due.envelope).payload)
    if readings is None and due.readings is not None:
        readings = unpack(due.readings)
    return unfold(Admitted(gateway=gateway, envelope=due.envelope, batch=batch), readings)
