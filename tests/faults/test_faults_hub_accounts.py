"""Promise 4 at the hub: what a gateway declares lost is passed and accounted for, and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.crash import Point
from hub.store.admission import Admitted
from hub.store.batches import BatchStore
from hub.store.database import Database, open_database
from hub.store.deliveries import Delivery
from hub.store.gaps import list_gaps
from tests.faults import harness, hub_broken
from tests.faults.hub_world import HubProcess, home_below, stored_batches, until
from tests.hub.ingest.running import station
from tests.hub.written import Log, gap, series
from tests.hub_database import enrol
from tests.real_mosquitto import Mosquitto
from wire.identity import GatewayId

pytestmark = pytest.mark.postgres
QUICK = 15


def a_long_outage(log: Log, chance: random.Random) -> tuple[list[Admitted], set[int], set[int]]:
    """Seal a log of which some batches are evicted and told of, once or twice, now and then as a joined record.

    Returns what there is to send, the numbers that are declared, and those of them that arrive all the same.
    """
    batches: list[Admitted] = []
    declared: set[int] = set()
    while len(batches) < 24:
        batches += log.many(chance.randint(1, 4))
        first = len(batches) + 1
        lost = chance.randint(1, 4)
        batches += log.many(lost)
        declared |= set(range(first, first + lost))
        halves = [(first, first + lost - 1)]
        if lost > 1 and chance.random() < 0.5:
            halves += [(first, first), (first + 1, first + lost - 1)]
        for one in halves:
            tells = chance.choice([1, 2])
            batches += [log.seal(series(1), events=[gap(log.epoch, *one, readings=3)]) for _ in range(tells)]
    late = {seq for seq in declared if chance.random() < 0.2}
    return [one for one in batches if one.batch.seq not in declared - late], declared, late


def shuffled(batches: list[Admitted], chance: random.Random) -> Iterator[list[Admitted]]:
    """Bring everything in groups, in any order, some of it twice."""
    waiting = chance.sample(batches, len(batches)) + chance.choices(batches, k=5)
    while waiting:
        count = chance.randint(1, 5)
        yield waiting[:count]
        waiting = waiting[count:]


def claimed(told: Delivery) -> set[int]:
    """What an acknowledgement says is stored or explained."""
    ranges, highest = told.holes()
    missing = {seq for first, last in ranges for seq in range(first, last + 1)}
    return set(range(1, highest + 1)) - missing


async def explained(database: Database, gateway: str) -> set[int]:
    [ledger] = await list_gaps(database, gateway=gateway)
    return {seq for one in ledger.accounts if one.first and one.last for seq in range(one.first, one.last + 1)}


async def deliver_outages(case: harness.Case, database: Database) -> None:
    """Deliver one outage a trial; what is claimed and neither here nor explained is lost, what is stuck is noted."""
    chance, store = case.random, BatchStore(database)
    for trial in range(case.trials):
        log = Log(GatewayId(f"gw-{trial}"))
        await enrol(database, log)
        batches, declared, late = a_long_outage(log, chance)
        arrived: set[int] = set()
        for group in shuffled(batches, chance):
            [told] = (await store.commit(group)).deliveries
            arrived |= {one.batch.seq for one in group}
            case.lost += len(claimed(told) - arrived - await explained(database, log.gateway))
        [ledger] = await list_gaps(database, gateway=log.gateway)
        highest = len(log.sealed)
        if (told.through, ledger.missing) != (highest, []):
            case.notes.append(f"trial {trial} is stuck at {told.through} of {highest}")
        if ledger.lost_batches != len(declared - late):
            case.notes.append(f"trial {trial} lists {ledger.lost_batches} of {len(declared - late)} lost")
        case.stored += len(arrived)
        case.gaps += len(ledger.accounts)
        case.reached["late"] += len(late)


async def test_gaps_are_accounted_for_in_any_order_of_arrival(database: Database) -> None:
    case = harness.Case(id="gaps", seed=harness.seed(4), trials=harness.trials(QUICK))
    await deliver_outages(case, database)
    case.close(points=["late"])


async def test_gaps_fail_when_accounts_are_ignored(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    hub_broken.accounts_ignored(monkeypatch.setattr)
    case = harness.Case(id="gaps-broken-accounts_ignored", seed=4, trials=2)
    await deliver_outages(case, database)
    case.print()
    assert any("stuck" in note for note in case.notes)


async def test_gaps_fail_when_the_watermark_passes_holes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    hub_broken.holes_passed(monkeypatch.setattr)
    case = harness.Case(id="gaps-broken-holes_passed", seed=4, trials=2)
    await deliver_outages(case, database)
    case.print()
    assert case.lost > 0


# ---- over a real broker, with the hub dying around the commit that tells of it


@pytest.mark.mosquitto
@pytest.mark.parametrize("point", [Point.BEFORE_COMMIT, Point.AFTER_COMMIT])
async def test_a_gap_is_accounted_for_once_when_the_hub_dies_around_its_commit(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, point: Point
) -> None:  # fmt: skip
    case = harness.Case(id=f"gaps-{point}", seed=harness.seed(4), trials=1)
    log = Log(GatewayId("gw-a"))
    batches = log.many(6)
    tells = log.seal(series(1), events=[gap(log.epoch, 3, 5, readings=9)])
    hub = HubProcess(home_below(tmp_path, "hub"), dsn, mosquitto.port)
    async with open_database(dsn, pool_size=2) as database:
        await enrol(database, log)
    try:
        async with station(log.gateway, mosquitto.port, hub.key.public.verifier()) as gateway:
            hub.start(harness.crash_at(point, 2))
            await until("the hub listens", hub.ready)
            await gateway.send(batches[0].envelope)
            await gateway.acked(1)
            await gateway.send(tells.envelope)
            await until("the crash", lambda: hub.returncode is not None)
            assert hub.returncode == harness.CRASHED, hub.log[-2000:]
            case.reached[point] += 1
            hub.start()
            await until("the hub listens", hub.ready)
            # A gateway sends again what nobody has acknowledged.
            await gateway.send(tells.envelope, batches[5].envelope, batches[1].envelope)
            case.recovered(await until("all acknowledged", lambda: gateway.acks[-1].through == 7))
            said = len(gateway.acks)
            await gateway.send(batches[3].envelope)  # given up, and here all the same
            await until("the late one", lambda: len(gateway.acks) > said)
            ack = gateway.acks[-1]
            assert (ack.highest, ack.missing) == (7, ())
            assert ack.anchor is not None
            assert ack.anchor.sha256 == tells.batch.payload_sha256.hex()
        [ledger] = hub.run("gaps")["gateways"]
        [account] = ledger["accounts"]
        assert (account["cause"], account["first"], account["last"], account["certain"]) == ("evicted", 3, 5, True)
        assert (account["missing"], account["arrived"], ledger["missing"]) == (2, 1, [])
        assert (ledger["lost_batches"], ledger["lost_readings"]) == (2, 6)
        case.stored, case.gaps = len(await stored_batches(dsn)), 1
    finally:
        hub.kill()
    case.close(points=[point])
