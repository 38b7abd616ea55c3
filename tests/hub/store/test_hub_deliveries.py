"""The watermark on a real PostgreSQL: what it passes, where it stops, and whose content it is bound to."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hub.store import deliveries
from hub.store.admission import Admitted, Chain
from hub.store.batches import BatchStore
from hub.store.database import Database
from hub.store.deliveries import Delivery, list_deliveries
from hub.store.incidents import IncidentKind, list_incidents
from tests.hub.written import Log, gap, series
from tests.hub_database import enrol
from wire.ack import Anchor
from wire.identity import Epoch, GatewayId

pytestmark = pytest.mark.postgres


def anchor_of(one: Admitted) -> Anchor:
    return Anchor(one.batch.seq, one.batch.payload_sha256.hex())


async def settled(database: Database, *group: Admitted) -> Delivery:
    """Store a group of one log, and see that what is said at the commit is what is said again later."""
    told = (await BatchStore(database).commit(group)).deliveries[-1]
    again = {one.epoch: one for one in await list_deliveries(database)}
    assert again[told.epoch] == told
    return told


async def chains(database: Database) -> list[tuple[int, int]]:
    async with database.connection() as connection:
        rows: list[Any] = await (await connection.execute("select seq, chain from batch order by seq")).fetchall()
    return rows


async def test_the_anchor_is_the_highest_stored_batch_at_or_below_the_watermark(database: Database, log: Log) -> None:
    one, two, three, four = log.many(4)
    assert (await settled(database, four)).anchor is None
    assert (await settled(database, one)).anchor == anchor_of(one)
    assert (await settled(database, two)).anchor == anchor_of(two)
    assert (await settled(database, three)).anchor == anchor_of(four)


async def test_the_watermark_stops_before_a_batch_that_follows_another_predecessor(
    database: Database, log: Log
) -> None:
    first, second = log.many(2)
    clone = log.fork()
    ours, theirs = log.many(3), [clone.seal(series(2)), *clone.many(2)]
    told = await settled(database, first, second, ours[0], theirs[1])
    assert (told.through, told.broken, told.highest) == (3, 4, 4)
    assert told.anchor == anchor_of(ours[0])
    # What lies behind is stored and not asked for, and does not move the watermark either.
    told = await settled(database, theirs[2])
    assert (told.through, told.broken, told.highest, told.holes()) == (3, 4, 5, ((), 5))
    assert [one.kind for one in await list_incidents(database)] == [IncidentKind.CHAIN_BREAK]


async def test_a_link_that_breaks_when_its_predecessor_comes_stops_the_watermark_too(
    database: Database, log: Log
) -> None:
    [first] = log.many(1)
    clone = log.fork()
    [ours], theirs = log.many(1), [clone.seal(series(2)), *clone.many(1)]
    told = await settled(database, first, theirs[1])
    assert (told.through, told.broken, told.holes()) == (1, 0, (((2, 2),), 3))
    told = await settled(database, ours)
    assert (told.through, told.broken, told.anchor) == (2, 3, anchor_of(ours))


async def test_a_log_whose_first_batch_follows_no_enrolment_has_no_anchor(database: Database, log: Log) -> None:
    told = await settled(database, log.seal(series(1), prev=b"\x02" * 32))
    assert (told.through, told.broken, told.anchor) == (0, 1, None)


async def test_a_declared_gap_is_passed_and_not_named(database: Database, log: Log) -> None:
    group = [*log.many(6), log.seal(series(1), events=[gap(log.epoch, 3, 5)])]
    told = await settled(database, group[0], group[1], group[5])
    assert (told.through, told.holes()) == (2, (((3, 5),), 6))
    told = await settled(database, group[6])
    assert (told.through, told.highest, told.anchor) == (7, 7, anchor_of(group[6]))


async def test_a_gap_above_a_hole_is_not_named_and_not_passed(database: Database, log: Log) -> None:
    group = [*log.many(6), log.seal(events=[gap(log.epoch, 4, 5)])]
    told = await settled(database, group[0], group[6])
    assert (told.through, told.holes()) == (1, (((2, 3), (6, 6)), 7))
    assert (told.accounted, (await settled(database, *group[1:3])).through) == (((4, 5),), 5)


async def test_a_gap_of_an_ended_epoch_moves_the_watermark_of_that_one(database: Database, log: Log) -> None:
    await settled(database, *log.many(4))
    newer = Log(log.gateway, log.key)
    tells = newer.seal(series(1), events=[gap(log.epoch, 5, 9, certain=False)])
    committed = await BatchStore(database).commit([tells])
    old, new = committed.deliveries
    assert (old.epoch, old.through, old.highest) == (log.epoch, 9, 9)
    assert old.anchor == Anchor(4, log.sealed[3].payload_sha256.hex())
    assert (new.epoch, new.through) == (newer.epoch, 1), "the last word is about the log that is written"


async def test_a_gap_of_an_epoch_that_never_arrived_makes_its_delivery(database: Database, log: Log) -> None:
    lost = Epoch.new()
    committed = await BatchStore(database).commit([log.seal(events=[gap(lost, 1, 7)])])
    told = next(one for one in committed.deliveries if one.epoch == lost)
    assert (told.through, told.highest, told.anchor, told.holes()) == (7, 7, None, ((), 7))
    assert told in await list_deliveries(database)


async def test_readings_without_a_range_move_nothing(database: Database, log: Log) -> None:
    lost = Epoch.new()
    committed = await BatchStore(database).commit([log.seal(events=[gap(lost, readings=5)])])
    assert [one.epoch for one in committed.deliveries] == [log.epoch]


async def test_a_late_batch_of_a_passed_gap_is_stored_and_the_watermark_stays(database: Database, log: Log) -> None:
    group = [*log.many(4), log.seal(events=[gap(log.epoch, 2, 4)])]
    await settled(database, group[0], group[4])
    told = await settled(database, group[2])
    assert (told.through, told.broken, told.anchor) == (5, 0, anchor_of(group[4]))
    await settled(database, group[1], group[3])
    assert await chains(database) == [(seq, Chain.LINKED) for seq in range(1, 6)]


async def test_a_late_batch_at_the_end_of_a_passed_gap_becomes_the_anchor(database: Database, log: Log) -> None:
    group, newer = log.many(3), Log(log.gateway, log.key)
    await settled(database, group[0])
    await settled(database, newer.seal(events=[gap(log.epoch, 2, 3)]))
    assert (await settled(database, group[2])).anchor == anchor_of(group[2])


async def test_another_writers_batch_within_a_passed_gap_is_stored_and_reported_and_moves_nothing_back(
    database: Database, log: Log
) -> None:
    # Within one life of the hub a watermark only rises: gateways ignore a lower one. What was passed was bound to the
    # content of batch 4, so the writer of the late 3 finds that it is not alone, and nothing of it is lost: it is here.
    [first] = log.many(1)
    clone = log.fork()
    log.many(2)
    tells = log.seal(series(1), events=[gap(log.epoch, 2, 3)])
    assert (await settled(database, first, tells)).through == 4
    late = [clone.seal(series(2)), *clone.many(1)][1]
    told = await settled(database, late)
    assert (told.through, told.broken, told.anchor) == (4, 0, anchor_of(tells))
    assert await chains(database) == [(1, Chain.LINKED), (3, Chain.PENDING), (4, Chain.BROKEN)]
    [incident] = await list_incidents(database)
    assert (incident.kind, incident.seq) == (IncidentKind.CHAIN_BREAK, 4)
    # A hub that has lost its row, or was restored, walks anew: it stops before the break, in a new life.
    async with database.connection() as connection:
        await connection.execute("delete from delivery")
    rest = await settled(database, late)
    assert (rest.through, rest.broken, rest.anchor) == (3, 4, anchor_of(late))


@pytest.mark.parametrize("page", [1, 2, 3, 7])
async def test_the_watermark_is_the_same_however_the_walk_is_paged(
    database: Database, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(deliveries, "PAGE", page)
    chance = random.Random(page)
    for number in range(8):
        log = Log(GatewayId(f"gw-{number}"))
        await enrol(database, log)
        group = [*log.many(12), log.seal(events=[gap(log.epoch, 4, 6), gap(log.epoch, 6, 9), gap(log.epoch, 11, 11)])]
        arrived = chance.sample(group[:12], 8)
        await BatchStore(database).commit(arrived)
        [told] = (await BatchStore(database).commit([group[12]])).deliveries
        [again] = await list_deliveries(database, log.gateway)
        assert (again.through, again.highest, again.anchor) == (told.through, told.highest, told.anchor)
        known = {one.batch.seq for one in arrived} | {4, 5, 6, 7, 8, 9, 11, 13}
        through = next(seq for seq in range(14) if seq + 1 not in known)
        assert told.through == through, sorted(known)
        ranges, highest = told.holes()
        named = {seq for first, last in ranges for seq in range(first, last + 1)}
        assert named == {seq for seq in range(through + 1, highest + 1) if seq not in known}
