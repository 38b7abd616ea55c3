"""The hot path on a real PostgreSQL: once each, in order or not, alone or at the same time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import psycopg
import pytest

from hub.store.admission import Chain
from hub.store.batches import BatchStore, Committed, NotEnrolled, Outcome
from hub.store.database import Connection, Database, StoreUnavailable
from hub.store.deliveries import list_deliveries
from hub.store.rows import TIME_UNCERTAIN
from tests.hub.written import BEGAN_MS, Log, reading, series
from tests.hub_database import enrol
from wire.identity import GatewayId, SourceId
from wire.reading import ClockState, Quality, Quantity, Reading, Undecoded

pytestmark = pytest.mark.postgres


async def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def count(database: Database, table: str) -> int:
    [(number,)] = await rows(database, f"select count(*) from {table}")  # noqa: S608 - our own table names
    return int(number)


async def test_a_batch_and_its_observations_are_stored(database: Database, log: Log) -> None:
    committed = await BatchStore(database).commit([log.seal(series(3))])
    assert committed.outcomes == (Outcome.STORED,)
    assert (committed.readings, committed.observations, committed.undecoded) == (3, 3, 0)
    stored = await rows(
        database,
        "select extract(epoch from observed_at) * 1000, value, quality, reading_index from observation order by 1",
    )
    assert stored == [(BEGAN_MS, 0.0, 0, 0), (BEGAN_MS + 1000, 1.0, 0, 1), (BEGAN_MS + 2000, 2.0, 0, 2)]
    [(envelope, chain, readings)] = await rows(database, "select envelope, chain, readings from batch")
    assert (bytes(envelope), chain, readings) == (log.sealed[0].envelope, Chain.LINKED, 3)


async def test_an_empty_group_does_nothing(database: Database) -> None:
    assert await BatchStore(database).commit([]) == Committed()


async def test_an_empty_batch_proves_silence(database: Database, log: Log) -> None:
    committed = await BatchStore(database).commit([log.seal()])
    assert (committed.outcomes, committed.observations) == ((Outcome.STORED,), 0)
    assert committed.deliveries[0].through == 1


async def test_what_arrives_again_is_a_duplicate_and_still_acknowledged(database: Database, log: Log) -> None:
    store, group = BatchStore(database), log.many(3)
    await store.commit(group)
    again = await store.commit(group)
    assert again.outcomes == (Outcome.DUPLICATE,) * 3
    assert [delivery.through for delivery in again.deliveries] == [3]
    assert (await count(database, "batch"), await count(database, "observation")) == (3, 9)


async def test_the_same_batch_twice_in_a_group_is_stored_once(database: Database, log: Log) -> None:
    one = log.seal(series(2))
    committed = await BatchStore(database).commit([one, one])
    assert committed.outcomes == (Outcome.STORED, Outcome.DUPLICATE)
    assert await count(database, "observation") == 2


async def test_another_content_under_the_same_number_is_kept_as_evidence(database: Database, log: Log) -> None:
    store, first = BatchStore(database), log.seal(series(1))
    other = log.seal([reading(value=99.0)], seq=1, prev=first.batch.body.prev)
    await store.commit([first])
    assert (await store.commit([other, other])).outcomes == (Outcome.CONFLICT, Outcome.CONFLICT)
    assert await rows(database, "select value from observation") == [(0.0,)]
    [(kind, evidence, seen)] = await rows(database, "select kind, evidence, count from incident")
    assert (kind, bytes(evidence), seen) == ("conflict", other.envelope, 2)


async def test_a_conflict_within_one_group_keeps_the_first(database: Database, log: Log) -> None:
    first = log.seal(series(1))
    other = log.seal([reading(value=99.0)], seq=1, prev=first.batch.body.prev)
    committed = await BatchStore(database).commit([first, other])
    assert committed.outcomes == (Outcome.STORED, Outcome.CONFLICT)
    assert (committed.incidents, await rows(database, "select value from observation")) == (1, [(0.0,)])


async def test_out_of_order_arrival_fills_the_holes(database: Database, log: Log) -> None:
    store, group = BatchStore(database), log.many(6)
    [delivery] = (await store.commit([group[5], group[2], group[0]])).deliveries
    assert (delivery.through, delivery.highest, delivery.above) == (1, 6, (3, 6))
    assert delivery.holes() == (((2, 2), (4, 5)), 6)
    assert await list_deliveries(database) == [delivery]
    [delivery] = (await store.commit([group[1]])).deliveries
    assert (delivery.through, delivery.above) == (3, (6,))
    [delivery] = (await store.commit([group[4], group[3]])).deliveries
    assert (delivery.through, delivery.highest, delivery.holes()) == (6, 6, ((), 6))
    assert await rows(database, "select distinct chain from batch") == [(Chain.LINKED,)]


async def test_a_batch_waits_for_its_predecessor_before_it_is_linked(database: Database, log: Log) -> None:
    store, (first, second) = BatchStore(database), log.many(2)
    await store.commit([second])
    assert await rows(database, "select chain from batch") == [(Chain.PENDING,)]
    await store.commit([first])
    assert await rows(database, "select seq, chain from batch order by 1") == [(1, Chain.LINKED), (2, Chain.LINKED)]


@pytest.mark.parametrize("late", [False, True])
async def test_a_broken_chain_is_stored_and_reported(database: Database, log: Log, late: bool) -> None:
    store, first = BatchStore(database), log.seal(series(1))
    second = log.seal(series(1, start_ms=BEGAN_MS + 5000), prev=b"\x01" * 32)
    for group in ([second], [first]) if late else ([first], [second]):
        committed = await store.commit(group)
        assert committed.outcomes == (Outcome.STORED,)
    assert await rows(database, "select seq, chain from batch order by 1") == [(1, Chain.LINKED), (2, Chain.BROKEN)]
    assert await rows(database, "select kind, seq from incident") == [("chain_break", 2)]


async def test_the_first_batch_must_follow_the_enrolment(database: Database, log: Log) -> None:
    committed = await BatchStore(database).commit([log.seal(series(1), prev=b"\x02" * 32)])
    assert (committed.outcomes, committed.incidents) == ((Outcome.STORED,), 1)
    assert await rows(database, "select chain from batch") == [(Chain.BROKEN,)]


async def test_two_commits_of_overlapping_batches_store_each_once(database: Database) -> None:
    logs = [Log(GatewayId(f"gw-{name}")) for name in "abcd"]
    await enrol(database, *logs)
    batches = [batch for log in logs for batch in log.many(10)]
    shuffled = [random.Random(seed).sample(batches, len(batches)) for seed in range(4)]
    stores = [BatchStore(database), BatchStore(database)]
    committed = await asyncio.gather(*(stores[at % 2].commit(group) for at, group in enumerate(shuffled)))
    outcomes = [outcome for one in committed for outcome in one.outcomes]
    assert (outcomes.count(Outcome.STORED), outcomes.count(Outcome.DUPLICATE)) == (40, 120)
    assert (await count(database, "batch"), await count(database, "observation")) == (40, 120)
    assert {delivery.through for delivery in await list_deliveries(database)} == {10}


async def test_a_commit_that_fails_leaves_no_trace_and_succeeds_when_repeated(
    database: Database, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, group = BatchStore(database), log.many(2)

    async def lost(*_: object) -> None:
        raise psycopg.OperationalError("the line was cut")

    with monkeypatch.context() as patched:
        patched.setattr("hub.store.batches.settle", lost)
        with pytest.raises(StoreUnavailable, match="the line was cut"):
            await store.commit(group)
    assert [await count(database, name) for name in ("batch", "source", "datastream", "observation")] == [0] * 4
    assert (await store.commit(group)).outcomes == (Outcome.STORED,) * 2
    unnumbered = "select count(*) from observation o left join datastream d using (datastream_no) where d is null"
    assert await rows(database, unnumbered) == [(0,)]


async def _cut_in_use(database: Database, cutter: Connection) -> None:
    async with database.connection() as other:
        await cutter.execute("select pg_terminate_backend(%s)", [other.info.backend_pid])
        await other.execute("select 1")


async def test_a_cut_connection_is_unavailability_and_the_next_commit_works(database: Database, log: Log) -> None:
    store, (first, second) = BatchStore(database), log.many(2)
    await store.commit([first])
    async with database.connection() as connection:
        with pytest.raises(StoreUnavailable):
            await _cut_in_use(database, connection)
    assert (await store.commit([first, second])).outcomes == (Outcome.DUPLICATE, Outcome.STORED)


async def test_a_gateway_that_is_not_enrolled_is_named(database: Database) -> None:
    stranger = Log(GatewayId("gw-stranger"))
    first, second = stranger.many(2)
    for group in ([first], [second]):
        with pytest.raises(NotEnrolled, match="gw-stranger"):
            await BatchStore(database).commit(group)


async def test_times_far_away_go_to_the_default_partition(database: Database, log: Log) -> None:
    odd = [reading(86_400_000), reading(BEGAN_MS), reading(4_000_000_000_000)]
    await BatchStore(database).commit([log.seal(odd)])
    [(hypertable,)] = await rows(database, "select exists (select from pg_extension where extname = 'timescaledb')")
    if not hypertable:
        placed = "select tableoid::regclass::text, count(*) from observation group by 1 order by 1"
        assert await rows(database, placed) == [("observation_2026_01", 1), ("observation_default", 2)]
    assert await count(database, "observation") == 3


async def test_a_month_takes_along_what_the_default_partition_holds_of_it(database: Database, log: Log) -> None:
    [(hypertable,)] = await rows(database, "select exists (select from pg_extension where extname = 'timescaledb')")
    if hypertable:
        return
    early = "insert into observation_default values (to_timestamp(%s), 1, 7, 1, 0, 0)"
    async with database.connection() as connection:
        await connection.execute(early, [BEGAN_MS / 1000])
    await BatchStore(database).commit([log.seal([reading(BEGAN_MS + 1)])])
    assert await count(database, "observation_2026_01") == 2


async def test_undecoded_readings_are_counted_for_their_source(database: Database, log: Log) -> None:
    other = SourceId("camera:gate")
    group = [
        log.seal(
            [reading(), reading(undecoded=Undecoded.CODEC_ERROR), reading(source=other, undecoded=Undecoded.NO_CODEC)]
        ),
        log.seal([reading()]),
    ]
    committed = await BatchStore(database).commit(group)
    assert (committed.readings, committed.undecoded, committed.observations) == (4, 2, 2)
    tally = "select source_id, readings, undecoded, placed from source join source_tally using (source_no) order by 1"
    assert await rows(database, tally) == [("camera:gate", 1, 1, False), ("lorawan:a840410000000001", 3, 1, False)]


async def test_qualities_and_an_unset_clock_stand_beside_the_value(database: Database, log: Log) -> None:
    readings = [reading(value=None, quality=Quality.NO_SENSOR), reading(BEGAN_MS + 1, 5.0, quality=Quality.IMPLAUSIBLE)]
    await BatchStore(database).commit(
        [log.seal(readings, clock=ClockState.NTP), log.seal(readings, clock=ClockState.NONE)]
    )
    stored = await rows(database, "select value, quality from observation order by batch_no, reading_index")
    assert stored == [(None, 16), (5.0, 1), (None, 16 + TIME_UNCERTAIN), (5.0, 1 + TIME_UNCERTAIN)]


async def test_a_quantity_named_twice_in_a_reading_is_one_observation(database: Database, log: Log) -> None:
    twice = Reading(reading().frame, quantities=(Quantity("depth", "m", 1.0), Quantity("depth", "m", 2.0)))
    await BatchStore(database).commit([log.seal([twice])])
    assert await rows(database, "select value from observation") == [(1.0,)]


async def test_datastreams_know_their_first_and_last_time_and_distrust_the_future(database: Database, log: Log) -> None:
    store = BatchStore(database)
    await store.commit([log.seal([reading(BEGAN_MS + 5000), reading(BEGAN_MS), reading(BEGAN_MS + 9000)])])
    await store.commit([log.seal([reading(4_000_000_000_000), reading(BEGAN_MS + 1000)])])
    times = (
        "select extract(epoch from first_observed_at) * 1000, extract(epoch from last_observed_at) * 1000 "
        "from datastream"
    )
    assert await rows(database, times) == [(BEGAN_MS, BEGAN_MS + 9000)]


async def test_a_heard_gateway_is_marked(database: Database, log: Log) -> None:
    await BatchStore(database).commit([log.seal()])
    assert await rows(database, "select first_heard_at = last_heard_at from gateway") == [(True,)]
