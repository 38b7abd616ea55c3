"""Corrected times in the store: beside the originals, once each, the same in every order of arrival."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.store.admission import Admitted
from hub.store.batches import BatchStore, Outcome
from hub.store.clocks import list_unset
from hub.store.database import Database
from hub.store.observations import read_page
from tests.faults import harness
from tests.hub.unset_clock import TRUE_START_MS, Boot, BootLog
from tests.hub.written import Log
from tests.hub_database import enrol
from wire.identity import GatewayId
from wire.reading import ClockState

pytestmark = pytest.mark.postgres
_DERIVED = (
    "truncate batch, observation, original_time, unset_batch, clock_setting, redating, delivery, source_tally, "
    "datastream restart identity cascade"
)
# Everything that is derived from times, but for what a run numbers by itself.
_TABLES = (
    "select b.seq, o.reading_index, o.observed_at, o.value, o.quality from observation o join batch b using (batch_no) "
    "order by 1, 2",
    "select b.seq, t.reading_index, t.observed_at from original_time t join batch b using (batch_no) order by 1, 2",
    "select gateway_id, boot, monotonic_ms, wall_ms from clock_setting order by 1, 2, 3, 4",
    "select b.seq, boot, first_monotonic_ms, settled_monotonic_ms, settled_wall_ms, settings, written_from, "
    "written_to, dated_from, dated_to from unset_batch join batch b using (batch_no) order by 1",
    "select first_observed_at, last_observed_at from datastream order by 1",
    "select count(*) from redating",
)


async def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def tables(database: Database) -> list[Any]:
    return [await rows(database, query) for query in _TABLES]


async def redate(store: BatchStore) -> None:
    while await store.redate():
        pass


async def shown(database: Database) -> list[tuple[int | None, int | None, bool]]:
    """What the API shows of the first datastream: observed, original (ms), uncertain."""
    page = await read_page(database, 1, limit=1000)
    return [(ms(one.observed_at), ms(one.observed_at_original), one.time_uncertain) for one in page]


def ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)


@pytest.fixture
async def boots(database: Database) -> BootLog:
    """The log of an enrolled gateway."""
    made = BootLog()
    await enrol(database, Log(made.gateway, made.key))
    return made


@pytest.mark.parametrize("event_first", [False, True])
async def test_a_start_in_1970_gets_its_time_and_keeps_the_original(
    database: Database, boots: BootLog, event_first: bool
) -> None:
    store, boot = BatchStore(database), Boot(0)
    early = boots.seal([boot.reading(60_000, 1.0), boot.reading(120_000, 2.0)])
    setting = boots.seal([], [boot.set_right(600_000)], boot)
    right = boots.seal([boot.reading(660_000, 3.0)])
    for one in (setting, early, right) if event_first else (early, right, setting):
        await store.commit([one])
    if event_first:
        assert await rows(database, "select * from redating") == [], "dated at once, nothing is left to do"
    await redate(store)
    assert await shown(database) == [
        (boot.true(60_000) - 40, 59_960, False),
        (boot.true(120_000) - 40, 119_960, False),
        (boot.true(660_000) - 40, None, False),
    ]
    [(first, last)] = await rows(
        database, "select extract(epoch from first_observed_at) * 1000, extract(epoch from last_observed_at) * 1000 "
        "from datastream"
    )  # fmt: skip
    assert (int(first), int(last)) == (boot.true(60_000) - 40, boot.true(660_000) - 40)


async def test_readings_and_setting_in_one_batch_are_dated_as_they_are_stored(
    database: Database, boots: BootLog
) -> None:
    boot = Boot(0)
    readings = [boot.reading(60_000)]
    await BatchStore(database).commit([boots.seal(readings, [boot.set_right(90_000)])])
    assert await shown(database) == [(boot.true(60_000) - 40, 59_960, False)]
    assert await rows(database, "select * from redating") == []


async def test_until_the_clock_is_set_the_time_is_uncertain_and_counts_for_no_extent(
    database: Database, boots: BootLog
) -> None:
    store, boot = BatchStore(database), Boot(0)
    await store.commit([boots.seal([boot.reading(60_000)])])
    await redate(store)
    assert await shown(database) == [(59_960, None, True)]
    assert await rows(database, "select first_observed_at = 'infinity', last_observed_at from datastream") == [
        (True, None)
    ]


async def test_a_batch_that_comes_again_after_its_correction_makes_no_second_row(
    database: Database, boots: BootLog
) -> None:
    store, boot = BatchStore(database), Boot(0)
    early = boots.seal([boot.reading(60_000)])
    setting = boots.seal([], [boot.set_right(600_000)], boot)
    await store.commit([early])
    await store.commit([setting])
    await redate(store)
    before = await tables(database)
    again = await store.commit([early, setting, early])
    assert set(again.outcomes) == {Outcome.DUPLICATE}
    await redate(store)
    assert await tables(database) == before
    assert len(before[0]) == 1


async def test_a_corrected_observation_moves_to_the_partition_of_its_month(database: Database, boots: BootLog) -> None:
    if await rows(database, "select from pg_extension where extname = 'timescaledb'"):
        pytest.skip("hypertables have chunks, not our partitions")
    store, boot = BatchStore(database), Boot(0)
    await store.commit([boots.seal([boot.reading(60_000)])])
    assert await rows(database, "select tableoid::regclass::text from observation") == [("observation_default",)]
    await store.commit([boots.seal([], [boot.set_right(600_000)], boot)])
    await redate(store)
    assert await rows(database, "select tableoid::regclass::text from observation") == [("observation_2026_01",)]


async def test_only_the_boot_and_the_gateway_that_were_set_are_corrected(database: Database, boots: BootLog) -> None:
    store, other = BatchStore(database), BootLog(GatewayId("gw-b"))
    await enrol(database, Log(boots.gateway, boots.key), Log(other.gateway, other.key))
    boot, second = Boot(0), Boot(0, "b" * 16)
    await store.commit([boots.seal([boot.reading(60_000)]), boots.seal([second.reading(70_000)])])
    await store.commit([other.seal([boot.reading(80_000)])])
    await store.commit([boots.seal([], [boot.set_right(600_000)], boot)])
    await redate(store)
    assert len(await rows(database, "select * from original_time")) == 1
    assert [(one.gateway_id, one.boot, one.undated) for one in await list_unset(database)] == [
        ("gw-a", boot.name, 0), ("gw-a", second.name, 1), ("gw-b", boot.name, 1),
    ]  # fmt: skip


async def test_many_batches_are_dated_anew_a_page_at_a_time(database: Database, boots: BootLog) -> None:
    store, boot = BatchStore(database), Boot(0)
    await store.commit([boots.seal([boot.reading(at * 1_000)]) for at in range(1, 121)])
    await store.commit([boots.seal([], [boot.set_right(600_000)], boot)])
    pages = 0
    while await store.redate():
        pages += 1
    assert pages == 3
    assert [at for at, _, _ in await shown(database)] == [boot.true(at * 1_000) - 40 for at in range(1, 121)]
    assert not await store.redate()


def lively() -> tuple[BootLog, list[Admitted]]:
    """A boot that loses its clock and finds it again, with a step by hand in between and a false server."""
    log, boot = BootLog(), Boot(0)
    made = [log.seal([boot.reading(60_000, 1.0), boot.reading(61_000, 1.5)])]
    made.append(log.seal([boot.reading(90_000, 2.0)], [boot.step(100_000, TRUE_START_MS - 10**9, ClockState.NONE)]))
    made.append(log.seal([boot.reading(120_000, 3.0)], [boot.set_right(150_000)]))
    made.append(log.seal([boot.reading(180_000, 4.0)], [boot.step(200_000, boot.true(200_000) + 10**10)]))
    made.append(log.seal([boot.reading(240_000, 5.0)]))
    boot.state = ClockState.NONE
    made.append(log.seal([boot.reading(300_000, 6.0), boot.reading(310_000, 6.5)]))
    made.append(log.seal([], [boot.set_right(400_000)], boot))
    return log, made


async def test_every_order_of_arrival_gives_the_same_tables(database: Database) -> None:
    log, batches = lively()
    await enrol(database, Log(log.gateway, log.key))
    case = harness.Case(id="D1-hub", seed=harness.seed(1))

    async def deliver(schedule: list[list[int]], *, in_between: bool) -> list[Any]:
        async with database.connection() as connection:
            await connection.execute(_DERIVED)
        store = BatchStore(database)
        for group in schedule:
            await store.commit([batches[at] for at in group])
            if in_between:
                await redate(store)
        await redate(store)
        return await tables(database)

    everything = list(range(len(batches)))
    clean = await deliver([[at] for at in everything], in_between=True)
    assert len(clean[0]) == 8
    assert len(clean[1]) == 6
    schedules: list[tuple[list[list[int]], bool]] = []
    cut = st.lists(st.booleans(), min_size=len(everything), max_size=len(everything))

    @given(st.permutations(everything), cut, st.lists(st.sampled_from(everything), max_size=5), st.booleans())
    @settings(max_examples=harness.trials(15), suppress_health_check=list(HealthCheck))
    def collect(order: list[int], cuts: list[bool], again: list[int], in_between: bool) -> None:
        groups: list[list[int]] = [[]]
        for at, ends in zip(order, cuts, strict=True):
            groups[-1].append(at)
            groups += [[]] if ends else []
        schedules.append(([*groups, again], in_between))

    collect()
    for schedule, in_between in itertools.chain(schedules, [([everything], False)]):
        assert await deliver(schedule, in_between=in_between) == clean, schedule
        case.trials += 1
        case.stored += len(clean[0])
    case.close()


async def test_d1_fails_when_a_later_setting_dates_nothing_anew(
    database: Database, boots: BootLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: BatchStore) -> bool:
        return False

    monkeypatch.setattr(BatchStore, "redate", never)
    store, boot = BatchStore(database), Boot(0)
    await store.commit([boots.seal([boot.reading(60_000)])])
    await store.commit([boots.seal([], [boot.set_right(600_000)], boot)])
    await redate(store)
    assert await shown(database) == [(59_960, None, True)]
