"""Redecoding and dating anew meet: in any order the tables are those of a right codec and a clock that was told of."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from codec.profiles import ProfileLibrary
from hub.redecode.run import redecode
from hub.store import redating
from hub.store.admission import Admitted
from hub.store.batches import BatchStore
from hub.store.database import Database
from hub.store.derivations import Scope, list_superseded
from hub.store.inventory import list_datastreams
from tests.hub.redecoding import LEVEL, collected, dump, level_frames, logger_frames, order_of
from tests.hub.unset_clock import TRUE_START_MS, Boot, BootLog
from tests.hub.written import BEGAN, BEGAN_MS, Log
from tests.hub_database import enrol
from wire.identity import Epoch
from wire.keys import SigningKey
from wire.reading import ClockState, Frame, Reading

pytestmark = pytest.mark.postgres
_HOUR_MS = 3_600_000


def written_in_1970(frame: Frame) -> Frame:
    """The same frame as a gateway with an unset clock writes it down: the boot's first hour is 1970's."""
    earlier = frame.received_at_ms - BEGAN_MS
    return msgspec.structs.replace(
        frame,
        observed_at_ms=earlier - 40,
        received_at_ms=earlier,
        monotonic_ms=earlier,
        boot=Boot().name,
        clock=ClockState.NONE,
    )


def sealed_in(log: BootLog, readings: Sequence[Reading], *, each: int = 4) -> tuple[list[Admitted], Admitted]:
    """The log's batches, and the one behind them that tells when the clock was set."""
    boot = Boot(0)
    batches = [log.seal(group) for group in (readings[at : at + each] for at in range(0, len(readings), each))]
    return batches, log.seal([], [boot.set_right(_HOUR_MS)], boot)


async def logs(
    database: Database, other: Database, libraries: tuple[ProfileLibrary, ProfileLibrary]
) -> tuple[tuple[list[Admitted], Admitted], tuple[list[Admitted], Admitted]]:
    """One gateway as it was with the faulty library, and as it would have been with the right one."""
    key, epoch = SigningKey.generate(), Epoch.new()
    made = []
    for hub, library in ((database, libraries[0]), (other, libraries[1])):
        log = BootLog(key=key, epoch=epoch)
        await enrol(hub, Log(log.gateway, log.key))
        frames = [written_in_1970(frame) for frame in [*level_frames(24), *logger_frames()]]
        made.append(sealed_in(log, await collected(library, frames, library.root)))
    return made[0], made[1]


async def date_all(store: BatchStore) -> None:
    while await store.redate():
        pass


@pytest.mark.parametrize("first", ["the clock", "the codec", "the clock, untold"])
async def test_in_any_order_the_tables_are_those_of_a_right_codec(
    database: Database, other: Database, faulty: ProfileLibrary, right: ProfileLibrary, first: str
) -> None:  # fmt: skip
    (batches, setting), (expected, same) = await logs(database, other, (faulty, right))
    store, never_wrong = BatchStore(database), BatchStore(other)
    await never_wrong.commit([*expected, same])
    await date_all(never_wrong)
    await store.commit(batches)
    if first == "the codec":
        await redecode(database, order_of(right))
    await store.commit([setting])
    if first != "the clock, untold":
        await date_all(store)
    if first != "the codec":
        await redecode(database, order_of(right))
    await date_all(store)
    ours, theirs = await dump(database), await dump(other)
    assert ours.without_indexes == theirs.without_indexes
    assert (ours.tallies, ours.datastreams, ours.latest) == (theirs.tallies, theirs.datastreams, theirs.latest)
    assert all("|1970-" not in line for line in ours.observations.splitlines())


async def test_redecoding_twice_and_back_leaves_dated_times(
    database: Database, other: Database, faulty: ProfileLibrary, right: ProfileLibrary
) -> None:  # fmt: skip
    (batches, setting), _ = await logs(database, other, (faulty, right))
    store = BatchStore(database)
    await store.commit([*batches, setting])
    await date_all(store)
    stood = await dump(database)
    await redecode(database, order_of(right))
    again = await redecode(database, order_of(right))
    assert again.counts.unchanged == again.counts.frames > 0
    await redecode(database, order_of(faulty))
    assert await dump(database) == stood
    assert not await store.redate(), "nothing is left waiting for a date"


async def test_the_period_finds_what_was_dated_into_it(
    database: Database, other: Database, faulty: ProfileLibrary, right: ProfileLibrary
) -> None:  # fmt: skip
    (batches, setting), _ = await logs(database, other, (faulty, right))
    store = BatchStore(database)
    await store.commit([*batches, setting])
    await date_all(store)
    assert BEGAN.timestamp() * 1000 == TRUE_START_MS
    named = await list_datastreams(database, source=str(LEVEL), observed_property="water_distance", limit=1)
    scope = Scope(start=BEGAN, end=BEGAN.replace(year=BEGAN.year + 1))
    assert (await redecode(database, order_of(right, scope=scope))).counts.changed > 0
    superseded = await list_superseded(database, named[0].datastream_no, limit=5)
    assert superseded, "what stood can be traced"
    assert all(one.observed_at >= BEGAN for one in superseded)


async def test_without_the_joint_step_a_redecoding_would_bring_1970_back(
    database: Database, other: Database, faulty: ProfileLibrary, right: ProfileLibrary,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The switch: dating that starts from what was sealed undoes the redecoding."""
    (batches, setting), (expected, same) = await logs(database, other, (faulty, right))
    store, never_wrong = BatchStore(database), BatchStore(other)
    await never_wrong.commit([*expected, same])
    await store.commit(batches)
    await redecode(database, order_of(right))
    monkeypatch.setattr(redating, "unpack", lambda _: None)
    await store.commit([setting])
    await date_all(store)
    assert (await dump(database)).observations != (await dump(other)).observations
