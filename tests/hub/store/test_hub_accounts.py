"""What gateways declare lost: read from batches, kept once, bounded, and closed by what arrives all the same."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from hub.store import accounts
from hub.store.accounts import UNKNOWN, Account, accounts_of
from hub.store.admission import Admitted
from hub.store.batches import BatchStore
from hub.store.database import Database, open_database
from hub.store.deliveries import list_deliveries
from hub.store.gaps import Gaps, list_gaps
from hub.store.incidents import IncidentKind, list_incidents
from tests.hub.written import BEGAN_MS, Log, gap, series
from tests.hub_database import Server, enrol
from wire.batch import Cause, Event
from wire.identity import Epoch, GatewayId

NOBODYS = Log(GatewayId("gw-a"))
postgres_ = pytest.mark.postgres


def told(*events: Event, before: int = 9) -> list[Account]:
    """What a batch says that has `before` batches of its epoch before it."""
    log = Log(NOBODYS.gateway, NOBODYS.key, NOBODYS.epoch)
    log.many(before)
    return accounts_of(log.seal(events=events).batch)


def test_a_gap_is_read_as_the_gateway_writes_it() -> None:
    event = gap(NOBODYS.epoch, 2, 5, readings=40, from_ms=10, to_ms=20, certain=False)
    assert told(Event(1, "start"), event) == [
        Account(epoch=NOBODYS.epoch, cause="evicted", first=2, last=5, readings=40, from_ms=10, to_ms=20, certain=False)
    ]


def test_the_same_gap_twice_is_one_account_with_what_either_knows() -> None:
    twice = [gap(NOBODYS.epoch, 2, 5, certain=False), gap(NOBODYS.epoch, 2, 5, readings=4, at_ms=BEGAN_MS + 1)]
    for events in itertools.permutations(twice):
        assert told(*events) == [Account(epoch=NOBODYS.epoch, cause="evicted", first=2, last=5, readings=4)]


def test_readings_without_a_range_are_the_same_loss_when_they_were_noted_at_the_same_time() -> None:
    first, again, later = (gap(NOBODYS.epoch, readings=3, at_ms=at) for at in (5, 5, 6))
    assert [one.told_ms for one in told(first, again, later)] == [5, 6]


@pytest.mark.parametrize(
    "event",
    [
        Event(7, "gap", "?"),
        Event(7, "gap", '{"epoch": "0011223344556677", "cause": "thirst", "first": 1, "last": 2}'),
        Event(7, "gap", '{"cause": "evicted", "first": 1, "last": 2}'),
        Event(7, "gap", '{"epoch": "short", "cause": "evicted", "first": 1, "last": 2}'),
        Event(7, "gap", '{"epoch": "0011223344556677", "cause": "evicted", "first_seq": 1, "last_seq": 2}'),
        gap(Epoch("0011223344556677"), 5, 4, at_ms=7),
        gap(Epoch("0011223344556677"), 0, 4, at_ms=7),
        gap(Epoch("0011223344556677"), -1, 4, at_ms=7),
        gap(Epoch("0011223344556677"), 1, 2**62 + 1, at_ms=7),
        gap(Epoch("0011223344556677"), 1, 2, readings=-1, at_ms=7),
        gap(Epoch("0011223344556677"), 1, 2, readings=2**63, at_ms=7),
        gap(Epoch("0011223344556677"), 1, 2, from_ms=9, to_ms=8, at_ms=7),
        gap(Epoch("0011223344556677"), 1, 2, to_ms=2**60, at_ms=7),
        gap(NOBODYS.epoch, 1, 10, at_ms=7),
    ],
)
def test_a_record_that_cannot_be_true_still_says_that_something_is_lost(event: Event) -> None:
    assert told(event) == [Account(epoch=NOBODYS.epoch, cause=UNKNOWN, told_ms=7)]


def test_a_range_of_any_length_is_a_range() -> None:
    assert told(gap(Epoch("0011223344556677"), 1, 2**62))[0].last == 2**62


def test_a_time_that_no_clock_shows_is_no_obstacle() -> None:
    assert [one.told_ms for one in told(Event(-5, "gap", "?"), Event(2**62, "gap", "?"))] == [0, accounts._LATEST_MS]


# ---- in the store


async def ledger(database: Database) -> Gaps:
    [found] = await list_gaps(database)
    return found


def told_of(found: Gaps) -> list[tuple[Any, ...]]:
    return [(one.cause, one.first, one.last, one.readings, one.certain) for one in found.accounts]


async def count(database: Database) -> int:
    async with database.connection() as connection:
        row = await (await connection.execute("select count(*) from gap_account")).fetchone()
    assert row is not None
    return int(row[0])


@postgres_
async def test_a_gap_told_by_two_batches_counts_once_in_either_order(database: Database) -> None:
    seen = []
    for name, order in (("gw-a", (0, 1)), ("gw-b", (1, 0))):
        log = Log(GatewayId(name))
        await enrol(database, log)
        log.many(5)
        tells = [
            log.seal(events=[gap(log.epoch, 2, 5, certain=False)]),
            log.seal(events=[gap(log.epoch, 2, 5, readings=9)]),
        ]
        for at in order:
            await BatchStore(database).commit([tells[at]])
            await BatchStore(database).commit([tells[at]])
        [found] = await list_gaps(database, gateway=name)
        seen.append((told_of(found), found.accounts[0].told_seq, found.lost_batches, found.lost_readings))
    assert seen[0][0] == seen[1][0] == [("evicted", 2, 5, 9, True)]
    assert [one[1] for one in seen] == [6, 7]  # the first that told
    assert {one[2:] for one in seen} == {(4, 9)}


@postgres_
async def test_overlapping_gaps_do_not_double_the_loss(database: Database, log: Log) -> None:
    log.many(20)
    events = [gap(log.epoch, 1, 8, readings=24), gap(log.epoch, 9, 16, readings=24), gap(log.epoch, 1, 16, readings=48)]
    events.append(gap(log.epoch, 15, 20, cause=Cause.DAMAGED, certain=False))
    await BatchStore(database).commit([log.seal(events=events)])
    found = await ledger(database)
    assert (found.lost_batches, found.uncertain_batches, found.lost_readings) == (16, 4, 48)
    assert found.missing == []


@postgres_
async def test_a_late_batch_closes_its_number(database: Database, log: Log) -> None:
    group = [*log.many(5), log.seal(events=[gap(log.epoch, 2, 5, readings=12)])]
    store = BatchStore(database)
    await store.commit([group[0], group[5]])
    assert (await ledger(database)).lost_batches == 4
    for arrived, late in enumerate(group[1:5], start=1):
        await store.commit([late])
        found = await ledger(database)
        [one] = found.accounts
        assert (one.missing, one.arrived) == (4 - arrived, arrived)
        assert (found.lost_batches, found.lost_readings) == (4 - arrived, 12 - 3 * arrived)


@postgres_
async def test_what_is_uncertain_is_listed_as_uncertain_until_it_arrives(database: Database, log: Log) -> None:
    group = [*log.many(3), log.seal(events=[gap(log.epoch, 2, 3, cause=Cause.DAMAGED, certain=False)])]
    store = BatchStore(database)
    await store.commit([group[0], group[3]])
    found = await ledger(database)
    assert told_of(found) == [("damaged", 2, 3, None, False)]
    assert (found.lost_batches, found.uncertain_batches) == (0, 2)
    await store.commit([group[1], group[2]])
    found = await ledger(database)
    assert (found.lost_batches, found.uncertain_batches, found.accounts[0].missing) == (0, 0, 0)


@postgres_
async def test_readings_that_no_batch_held_are_counted(database: Database, log: Log) -> None:
    events = [gap(log.epoch, readings=5, at_ms=1), gap(log.epoch, readings=7, at_ms=2), Event(3, "gap", "?")]
    await BatchStore(database).commit([log.seal(events=events), log.seal(events=events[:1])])
    found = await ledger(database)
    assert (found.lost_readings, found.lost_batches) == (12, 0)
    assert told_of(found) == [
        ("evicted", None, None, 5, True),
        ("evicted", None, None, 7, True),
        (UNKNOWN, None, None, None, True),
    ]


@postgres_
async def test_one_gateway_keeps_no_more_than_its_bound_and_the_overflow_is_an_incident(
    database: Database, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MOST_ACCOUNTS", 5)
    other, past = Log(GatewayId("gw-b")), Epoch.new()
    await enrol(database, other)
    store = BatchStore(database)
    flood = [gap(past, seq, seq) for seq in range(1, 10)]
    await store.commit([log.seal(events=flood[:4]), other.seal(events=flood[:3])])
    await store.commit([log.seal(events=flood[4:]), other.seal(events=flood[3:4])])
    assert await count(database) == 5 + 4
    [incident] = await list_incidents(database)
    assert (incident.kind, incident.gateway) == (IncidentKind.TOO_MANY_GAPS, log.gateway)
    assert incident.detail.startswith("4 gaps more than the 5")
    through = {(one.gateway, one.epoch): one.through for one in await list_deliveries(database)}
    assert through[log.gateway, past] == 5


async def _life(database: Database, groups: Sequence[Sequence[Admitted]]) -> tuple[Any, ...]:
    for group in groups:
        await BatchStore(database).commit(group)
    return await list_deliveries(database), await list_gaps(database)


@postgres_
async def test_a_restored_hub_has_its_accounts_back_with_the_batches_that_told_them(postgres: Server) -> None:
    log = Log(GatewayId("gw-a"))
    group = log.many(6)
    tells = [
        log.seal(series(1), events=[gap(log.epoch, 4, 5, readings=6)]),
        log.seal(series(1), events=[gap(log.epoch, 2, 3)]),
    ]
    lives = []
    # One hub has seen it all; the other was restored to the first day, and is refilled with the second, newest first.
    for name, days in (
        ("xom_test_whole", [[group[0], tells[0]], [group[5], tells[1]]]),
        ("xom_test_restored", [[group[0]], [tells[1]], [tells[0], group[5]]]),
    ):
        async with open_database(await postgres.make(name), pool_size=2) as database:
            await enrol(database, log)
            lives.append(await _life(database, days))
        await postgres.drop(name)
    (whole, gaps), (restored, found) = lives
    assert [one.through for one in whole] == [8]
    assert restored == whole
    assert sorted(told_of(found[0])) == sorted(told_of(gaps[0]))
    assert (found[0].missing, found[0].lost_batches, found[0].lost_readings) == ([], 4, 6)


# ---- what gateways report of themselves


@postgres_
async def test_a_new_epoch_and_a_salvage_are_incidents_once(database: Database, log: Log) -> None:
    events = [Event(1, "new_epoch", "fork: another writer"), Event(2, "salvaged", "3 pages"), Event(3, "start")]
    store = BatchStore(database)
    first = log.seal(events=events)
    await store.commit([first])
    await store.commit([first])
    committed = await store.commit([log.seal(events=events[:1])])  # carried on into another batch
    assert committed.incidents == 1
    found = {one.kind: one for one in await list_incidents(database)}
    assert set(found) == {IncidentKind.NEW_EPOCH, IncidentKind.SALVAGED}
    told = found[IncidentKind.NEW_EPOCH]
    assert (told.gateway, told.epoch, told.detail, told.count) == (log.gateway, log.epoch, "fork: another writer", 2)


@postgres_
async def test_a_flood_of_reports_is_bounded(database: Database, log: Log) -> None:
    flood = [Event(at, "salvaged", f"damage {at}") for at in range(50)]
    for _ in range(3):
        await BatchStore(database, incident_cap=4).commit([log.seal(events=flood)])
    assert len(await list_incidents(database)) == 4
