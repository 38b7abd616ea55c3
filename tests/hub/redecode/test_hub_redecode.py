"""Redecoding: afterwards the tables are those of a hub whose gateways had the right codec from the start."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codec.profiles import ProfileLibrary
from hub.crash import Point
from hub.redecode import run as run_module
from hub.redecode.run import redecode
from hub.store import derivations
from hub.store.admission import Outcome
from hub.store.batches import BatchStore
from hub.store.database import Database
from hub.store.derivations import RedecodeRunning, list_derivations, list_superseded
from hub.store.inventory import list_datastreams
from tests.hub.redecoding import (
    LEVEL,
    LOGGER,
    STRANGER,
    TWIN,
    batches,
    collected,
    dump,
    given,
    level_frames,
    logger_frames,
    order_of,
    store,
    twin_log,
    uplink,
)  # fmt: skip
from tests.hub.written import BEGAN, Log
from tests.hub_database import enrol
from wire.identity import GatewayId

pytestmark = pytest.mark.postgres


async def fill(
    database: Database, other: Database, log: Log, libraries: tuple[ProfileLibrary, ProfileLibrary], tmp_path: Path,
    frames: list[Any], **more: Any,
) -> None:  # fmt: skip
    """Let one hub hear a gateway with the faulty library, the other the same gateway with the right one."""
    await enrol(other, log)
    same = twin_log(log)
    for hub, ours, library in ((database, log, libraries[0]), (other, same, libraries[1])):
        readings = await collected(library, frames, library.root, **more)
        await store(hub, ours, readings)


async def test_the_tables_are_those_of_a_hub_that_never_had_the_fault(
    database: Database, other: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await fill(database, other, log, (faulty, right), tmp_path, level_frames(30))
    before = await dump(database)
    report = await redecode(database, order_of(right))
    after, expected = await dump(database), await dump(other)
    assert before != expected
    assert after == expected
    assert (report.counts.frames, report.counts.newly_decoded, report.counts.unchanged) == (30, 3, 2)
    assert report.counts.changed == 25
    assert report.left == {}


async def test_records_from_a_devices_memory_come_and_go_with_the_codec(
    database: Database, other: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await fill(database, other, log, (faulty, right), tmp_path, logger_frames())
    before = await dump(database)
    await redecode(database, order_of(right))
    after, expected = await dump(database), await dump(other)
    assert before.without_indexes != expected.without_indexes
    assert after.without_indexes == expected.without_indexes
    assert replace(after, observations="") == replace(expected, observations="")


async def test_a_second_time_changes_nothing(
    database: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    readings = await collected(faulty, [*level_frames(), *logger_frames()], tmp_path)
    await store(database, log, readings)
    await redecode(database, order_of(right))
    once = await dump(database)
    again = await redecode(database, order_of(right))
    assert await dump(database) == once
    assert again.counts.unchanged == again.counts.frames == 17
    assert again.counts.superseded == 0


async def test_there_and_back_is_as_it_was(
    database: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await store(database, log, await collected(faulty, [*level_frames(), *logger_frames()], tmp_path))
    sealed = await dump(database)
    await redecode(database, order_of(right))
    assert await dump(database) != sealed
    await redecode(database, order_of(faulty, given=given({LEVEL: "acme/level", LOGGER: "acme/logger"})))
    assert await dump(database) == sealed


class Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("point", [Point.BEFORE_COMMIT, Point.AFTER_COMMIT])
async def test_interrupted_and_done_again_ends_in_the_same_place(
    database: Database, other: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, point: Point,
) -> None:  # fmt: skip
    monkeypatch.setattr(run_module, "MOST_BATCHES", 1)
    await fill(database, other, log, (faulty, right), tmp_path, level_frames(24))
    sealed = await dump(database)
    left = [3]

    def reach(there: Point) -> None:
        if there is point:
            left[0] -= 1
            if not left[0]:
                raise Killed

    with pytest.raises(Killed):
        await redecode(database, order_of(right), reach=reach)
    half, expected = await dump(database), await dump(other)
    assert half not in (sealed, expected)
    await redecode(database, order_of(right))
    assert await dump(database) == expected
    second, first = await list_derivations(database, limit=10)
    assert (first.finished_at, second.finished_at is not None) == (None, True)
    assert first.frames + second.changed + second.newly_decoded <= 24 + 2
    assert first.superseded + second.superseded == len(await superseded(database))


async def superseded(database: Database) -> list[derivations.Superseded]:
    found = []
    async with database.connection() as connection:
        rows = await (await connection.execute("select datastream_no from datastream")).fetchall()
    for (number,) in rows:
        found += await list_superseded(database, number, limit=1000)
    return found


async def test_ingest_goes_on_beside_it(
    database: Database, other: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(run_module, "MOST_BATCHES", 2)
    await enrol(other, log)
    same = twin_log(log)
    early, late = level_frames(24), [uplink(f"{2000 + at:04x}", 30 + at) for at in range(24)]
    await store(database, log, await collected(faulty, early, faulty.root))
    # The gateway has the right library by now: what comes later is the same at both hubs.
    await store(other, same, await collected(right, early, right.root))
    fresh = batches(log, await collected(right, late, tmp_path))
    same.sealed[:] = log.sealed[: len(same.sealed)]
    ingest = BatchStore(database)

    async def feed() -> None:
        for one in fresh:
            await ingest.commit([one])

    report, _ = await asyncio.gather(redecode(database, order_of(right)), feed())
    await BatchStore(other).commit(fresh)
    after, expected = await dump(database), await dump(other)
    assert after.observations == expected.observations
    assert after == expected
    assert report.counts.changed + report.counts.newly_decoded > 0


async def test_the_same_batch_again_stays_a_duplicate(
    database: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    sent = batches(log, await collected(faulty, level_frames(), tmp_path))
    await BatchStore(database).commit(sent)
    await redecode(database, order_of(right))
    once = await dump(database)
    committed = await BatchStore(database).commit(sent)
    assert set(committed.outcomes) == {Outcome.DUPLICATE}
    assert await dump(database) == once


async def test_what_stood_before_can_be_listed_with_its_codec_and_derivation(
    database: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await store(database, log, await collected(faulty, level_frames(2), tmp_path))
    first = await redecode(database, order_of(right))
    second = await redecode(database, order_of(faulty))
    old = await superseded(database)
    codecs = {library: library.profile("acme/level").codec for library in (faulty, right)}
    distances = [
        (one.value, one.codec, one.derivation, one.superseded_by) for one in old if one.value in (2001.0, 2000.0)
    ]
    assert distances == [
        (2001.0, codecs[faulty], 0, first.derivation),
        (2000.0, codecs[right], first.derivation, second.derivation),
    ]
    assert {one.why for one in old} == {"redecoded"}
    (_, row) = await list_derivations(database, limit=10)
    assert (row.operator, row.reason, row.library_sha256) == ("an", "test", right.library_hash)
    assert (row.frames, row.changed, row.gateways, row.superseded) == (2, 2, ["gw-a"], 4)


async def test_a_datastream_that_only_the_fault_had_is_no_longer_listed(
    database: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await store(database, log, await collected(faulty, level_frames(2), tmp_path))
    (wrong,) = [d for d in await list_datastreams(database, limit=10) if d.observed_property == "water_distance"]
    await redecode(database, order_of(right))
    assert {d.observed_property for d in await list_datastreams(database, limit=10)} == {
        "water_level",
        "battery_voltage",
    }
    (still,) = await list_datastreams(database, datastream=wrong.datastream_no, limit=1)
    assert (still.first_observed_at, still.last_observed_at) == (None, None)


async def test_a_dry_run_says_the_same_and_changes_nothing(
    database: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await store(database, log, await collected(faulty, [*level_frames(), *logger_frames()], tmp_path))
    before = await dump(database)
    would = await redecode(database, order_of(right, dry_run=True))
    assert await dump(database) == before
    assert await list_derivations(database, limit=10) == []
    assert await superseded(database) == []
    did = await redecode(database, order_of(right))
    assert would.counts == did.counts
    assert 0 < len(would.examples) <= 10


async def test_a_codec_of_two_devices_is_left_alone_and_its_choices_are_named(
    database: Database, other: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    frames = [*level_frames(4), uplink("05", 9, TWIN), uplink("06", 10, STRANGER)]
    await fill(database, other, log, (faulty, right), tmp_path, frames)
    report = await redecode(database, order_of(right))
    assert report.left == {
        ("gw-a", TWIN): "codec acme/twin: one of acme/twin-a, acme/twin-b",
        ("gw-a", STRANGER): "its profile is not known",
    }
    assert report.counts.frames == 4
    report = await redecode(database, order_of(right, given=given({TWIN: "acme/twin-b", STRANGER: "acme/twin-a"})))
    assert (report.counts.changed, report.counts.newly_decoded, report.left) == (1, 1, {})


async def test_one_codec_alone_leaves_the_others(
    database: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await store(database, log, await collected(faulty, [*level_frames(4), *logger_frames()], tmp_path))
    scope = replace(order_of(right).scope, codec="acme/level")
    report = await redecode(database, order_of(right, scope=scope))
    assert report.counts.frames == 4
    lines = (await dump(database)).observations.splitlines()
    assert all("water_distance" in line for line in lines if LOGGER in line)


async def test_the_period_chooses_batches_by_their_window(
    database: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await store(database, log, await collected(faulty, level_frames(12), tmp_path))  # windows: minutes 1, 2, 3
    start = BEGAN.replace(minute=2)
    report = await redecode(database, order_of(right, scope=replace(order_of(right).scope, start=start)))
    assert (report.of_batches, report.counts.frames) == (2, 8)


async def test_a_codec_that_meets_its_limits_replaces_nothing(
    database: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await store(database, log, await collected(faulty, level_frames(4), tmp_path))
    before = await dump(database)
    (right.root / "vendors/acme/codecs/level.js").write_text("function decodeUplink(input) { while (true) {} }")
    report = await redecode(database, order_of(ProfileLibrary(right.root)))
    assert (report.counts.undecided, report.counts.changed) == (4, 0)
    assert await dump(database) == before


async def test_gateways_that_still_run_the_old_codec_are_named(
    database: Database, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    old, new = Log(GatewayId("gw-old")), Log(GatewayId("gw-new"))
    await enrol(database, old, new)
    await store(database, old, await collected(faulty, level_frames(4), faulty.root))
    await store(database, new, await collected(faulty, level_frames(4), faulty.root))
    late = [uplink("0777", 60)]
    await store(database, new, await collected(right, late, right.root))
    report = await redecode(database, order_of(right))
    assert report.behind == ["gw-old"]


async def test_two_at_a_time_are_refused(database: Database, right: ProfileLibrary) -> None:
    async with derivations.alone(database):
        with pytest.raises(RedecodeRunning):
            await redecode(database, order_of(right))


async def test_observations_that_are_gone_stop_it_before_anything_of_their_page_changes(
    database: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await store(database, log, await collected(faulty, level_frames(4), tmp_path))
    async with database.connection() as connection:
        await connection.execute("delete from observation where reading_index = 2")
    before = await dump(database)
    with pytest.raises(derivations.NotThere, match="1 of gw-a has 6 observations where its readings give 8"):
        await redecode(database, order_of(right))
    assert await dump(database) == before


async def test_a_record_sealed_in_the_batch_behind_its_frame_stays_there(
    database: Database, other: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path
) -> None:
    await enrol(other, log)
    for hub, ours, library in ((database, log, faulty), (other, twin_log(log), right)):
        readings = await collected(library, [uplink("08" + "0107" + "0206" + "0305", 4, LOGGER)], library.root)
        assert len(readings) == 4
        await BatchStore(hub).commit([ours.seal(readings[:2]), ours.seal(readings[2:])])
    await redecode(database, order_of(right))
    assert await dump(database) == await dump(other)


async def no_tally(*_: object) -> None:
    """Forget the tallies."""


async def kept_in_place(*_: Any) -> int:
    return 0


def no_repetition(*_: object) -> bool:
    return False


@pytest.mark.parametrize(
    ("target", "broken"),
    [
        ("hub.store.derivations._tally", no_tally),
        ("hub.store.clocks.recount_extents", no_tally),
        ("hub.store.derivations._supersede", kept_in_place),
        ("hub.redecode.run.is_repetition", no_repetition),
    ],
)
async def test_each_part_that_is_left_out_is_seen(
    database: Database, other: Database, log: Log, faulty: ProfileLibrary, right: ProfileLibrary, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, target: str, broken: Any,
) -> None:  # fmt: skip
    frames = sorted([*level_frames(12), *logger_frames()], key=lambda frame: frame.observed_at_ms)
    await fill(database, other, log, (faulty, right), tmp_path, frames)
    monkeypatch.setattr(target, broken)
    await redecode(database, order_of(right))
    after, expected = await dump(database), await dump(other)
    assert (after.without_indexes, replace(after, observations="")) != (
        expected.without_indexes,
        replace(expected, observations=""),
    )
