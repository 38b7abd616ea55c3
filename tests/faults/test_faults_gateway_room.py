"""A10, A4, A6: a spool at its limit, a full card, a card that fails: what goes, in which order, and who is told."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from gateway import pipeline
from gateway.spool import card, sqlite, store
from gateway.spool import room as room_of
from gateway.spool.card import Card
from gateway.spool.room import Room
from gateway.spool.spool import Spool
from gateway.spool.sqlite import NotKept, used_bytes
from gateway.spool.store import SpoolFile
from tests.faults import gateway_card
from tests.faults.gateway_bed import read_only, read_row
from tests.faults.harness import Case, Oracle, poll, seed
from tests.faults.test_faults_gateway_damage import KEY, number_of, seal
from tests.gateway.gateway_readings import GATEWAY, confirm, reading
from wire.batch import GAP, Cause, Event, Gap, open_batch
from wire.reading import Reading

_CAP = Room(cap=1_200_000, reserve=200_000)
_RAW = 3_000
_PER_BATCH = 8


def fat(number: int, case: Case, *, urgent: bool = False) -> Reading:
    return reading(number, raw=random.Random(case.seed * 1_000_003 + number).randbytes(_RAW), urgent=urgent)


def open_spool(folder: Path, room: Room = _CAP) -> SpoolFile:
    file = SpoolFile(folder / "spool.db", GATEWAY, KEY, room)
    file.open()
    return file


def flood(file: SpoolFile, case: Case, batches: int, *, urgent_every: int = 10) -> Oracle[int]:
    """Seal many batches; each tenth is an alarm's."""
    oracle: Oracle[int] = Oracle()
    for batch in range(batches):
        numbers = range(batch * _PER_BATCH, (batch + 1) * _PER_BATCH)
        urgent = batch % urgent_every == 0
        file.append([fat(number, case, urgent=urgent) for number in numbers])
        oracle.promise(*numbers)
        seal(file, _PER_BATCH)
    return oracle


def kept_in(file: SpoolFile) -> list[int]:
    verifier = KEY.public.verifier()
    envelopes = [file.envelope(seq) for seq in range(1, file.position().last_seq + 1)]
    sealed = [one for data in envelopes if data for one in open_batch(data, verifier).readings()]
    return [number_of(one) for one in (*sealed, *file.unsealed())]


def events_in(file: SpoolFile) -> list[Event]:
    verifier = KEY.public.verifier()
    envelopes = [file.envelope(seq) for seq in range(1, file.position().last_seq + 1)]
    return [event for data in envelopes if data for event in open_batch(data, verifier).body.ev]


def explained(gaps: list[Gap]) -> set[int]:
    seqs = [seq for gap in gaps for seq in range(gap.first, gap.last + 1)]
    return {number for seq in seqs for number in range((seq - 1) * _PER_BATCH, seq * _PER_BATCH)}


def run_a10(case: Case, folder: Path) -> None:
    file = open_spool(folder)
    oracle = flood(file, case, 120)
    case.trials = 120
    gaps = file.gaps()
    case.gaps = len(gaps)
    case.take(oracle.judge(kept_in(file), explained=explained(gaps)))
    alarms = {number for number in oracle.promised if number // _PER_BATCH % 10 == 0}
    assert used_bytes(file._card.connection) < _CAP.cap
    assert alarms <= set(kept_in(file)), "an alarm was given up"
    assert explained(gaps).isdisjoint(kept_in(file))
    assert {gap.cause for gap in gaps} == {Cause.EVICTED}
    assert all(gap.readings == (gap.last - gap.first + 1) * _PER_BATCH for gap in gaps)
    seal(file)
    told = [Gap.of(event) for event in events_in(file) if event.name == GAP]
    assert explained(told) == explained(file.gaps()), "the hub is told of every eviction"
    headers = file._card.all("SELECT count(*) FROM header")
    assert headers == [(file.position().last_seq,)], "a header outlives its envelope"
    file.close()


def test_a10_a_spool_at_its_cap_gives_up_the_oldest_routine_batches_and_says_so(tmp_path: Path) -> None:
    case = Case(id="A10", seed=seed(1001))
    run_a10(case, tmp_path)
    case.close()


def test_a10_fails_when_evictions_leave_no_gap_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_of, "note_gap", lambda *_: None)
    case = Case(id="A10-broken:no_gap_record", seed=seed(1001))
    with pytest.raises(AssertionError):
        run_a10(case, tmp_path)
    case.print()
    assert case.lost > 0


def test_a10_confirmed_batches_go_first_and_leave_no_gap(tmp_path: Path) -> None:
    case = Case(id="A10-confirmed", seed=seed(1002), trials=60)
    file = open_spool(tmp_path)
    flood(file, case, 20)
    confirm(file, 20, 1)
    oracle: Oracle[int] = Oracle()
    for number in range(1_000, 1_000 + 20 * _PER_BATCH, _PER_BATCH):
        file.append([fat(one, case) for one in range(number, number + _PER_BATCH)])
        oracle.promise(*range(number, number + _PER_BATCH))
        seal(file, _PER_BATCH)
    assert file.envelope(1) is None
    assert file.gaps() == []
    case.take(oracle.judge(kept_in(file)))
    case.lost = len(oracle.judge(kept_in(file)).lost)
    case.notes.clear()  # what the hub has is here, too: nothing invented
    case.close()
    file.close()


def test_a10_what_may_not_go_refuses_routine_readings_and_leaves_the_reserve_to_alarms(tmp_path: Path) -> None:
    case = Case(id="A10-reserve", seed=seed(1003))
    file = open_spool(tmp_path)

    def fill() -> None:
        for number in range(10_000):
            file.append([fat(number, case)])  # never sealed: nothing of it may go

    with pytest.raises(NotKept, match="reached its limit"):
        fill()
    assert file.append([fat(50_000, case, urgent=True)]) == 1
    with pytest.raises(NotKept):
        file.append([fat(50_001, case)])
    file.close()


# ---- a full card


@pytest.fixture
def small_card(tmp_path: Path) -> Iterator[Path]:
    """A card that is soon full."""
    with gateway_card.small_card(tmp_path / "card", "size=6m") as card:
        yield card


async def fill_with_readings(spool: Spool, case: Case, oracle: Oracle[int], number: int) -> int:
    """Append until the card takes no more; returns the reading that was refused."""
    while True:
        try:
            await spool.append([fat(number, case)])
        except NotKept:
            return number
        oracle.promise(number)
        number += 1


async def test_a4_a_full_card_is_told_retried_and_over_when_space_comes(small_card: Path) -> None:
    case = Case(id="A4", seed=seed(401))
    oracle: Oracle[int] = Oracle()
    async with Spool(SpoolFile(small_card / "spool.db", GATEWAY, KEY, _CAP)) as spool:
        for number in range(5):
            await spool.append([fat(number, case)])
            oracle.promise(number)
        for trial in range(3):
            ballast = gateway_card.fill(small_card)
            refused = await fill_with_readings(spool, case, oracle, 100 + trial * 1000)
            assert "no space left" in spool.problem
            ballast.unlink()
            began = asyncio.get_running_loop().time()
            await spool.append([fat(refused, case)])
            oracle.promise(refused)
            assert spool.problem == ""
            case.recovered(asyncio.get_running_loop().time() - began)
            case.trials += 1
    file = open_spool(small_card)
    case.take(oracle.judge(kept_in(file)))
    file.close()
    case.close()


async def test_a4_the_driver_is_not_acknowledged_before_the_card_takes_it(small_card: Path) -> None:
    """`pipeline.keep` returns only when the readings are there: until then ChirpStack's broker holds them."""
    case = Case(id="A4-driver", seed=seed(402), trials=1)

    async with Spool(SpoolFile(small_card / "spool.db", GATEWAY, KEY, _CAP)) as spool:
        ballast = gateway_card.fill(small_card)
        shutil.copyfile("/dev/null", small_card / "nothing")
        many = [fat(number, case) for number in range(1, 100)]
        keeping = asyncio.create_task(pipeline.keep(many, spool, Deaf()))  # type: ignore[arg-type]
        await asyncio.to_thread(poll, "the refusal", lambda: bool(spool.problem))
        assert not keeping.done()
        ballast.unlink()
        await asyncio.wait_for(keeping, 60)
        assert (await spool.depth()).unsealed == len(many)
    case.close()


# ---- alarms behind a pack that finds no room


@dataclass(frozen=True)
class Pack:
    readings: list[Reading]

    @property
    def messages(self) -> list[Reading]:
        return self.readings


class Queue:
    """A source whose packs come as fast as they are read; notes in which order they are acknowledged."""

    def __init__(self, packs: list[Pack]) -> None:
        self.waiting = packs
        self.read = 0
        self.acknowledged: list[int] = []

    async def packs(self) -> AsyncIterator[Pack]:
        for pack in self.waiting:
            self.read += 1
            yield pack

    def keep(self, pack: Pack) -> None:
        self.acknowledged += [number_of(one) for one in pack.readings]


class Deaf:
    def notice(self, _: object) -> None: ...


async def hold_a_line(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill the spool, then bring packs of which the first finds no room and each third holds an alarm."""

    async def decoded(pack: Pack, *_: object) -> list[Reading]:
        return pack.readings

    monkeypatch.setattr(pipeline, "decode", decoded)
    file = SpoolFile(folder / "spool.db", GATEWAY, KEY, _CAP)
    packs = [
        Pack([fat(number, case, urgent=number % 6 == 4), fat(number + 1, case)]) for number in range(10_000, 10_060, 2)
    ]
    queue = Queue(packs)
    oracle: Oracle[int] = Oracle()
    async with Spool(file) as spool:
        await fill_with_readings(spool, case, Oracle(), 0)
        assert spool.refusing.is_set()
        carrying = asyncio.create_task(pipeline.carry(queue, {}, None, spool, Deaf()))  # type: ignore[arg-type]
        alarms = {number_of(one) for pack in packs for one in pack.readings if one.urgent}
        oracle.promise(*alarms)

        def kept() -> set[int]:
            with closing(read_only(folder / "spool.db")) as db:
                return {number_of(read_row(body)) for (body,) in db.execute("SELECT body FROM reading")}

        with suppress(AssertionError):
            await asyncio.to_thread(poll, "the alarms", lambda: alarms <= kept(), deadline_s=5)
        case.lost += len(alarms - kept())
        assert queue.acknowledged == [], "what is behind a refused pack is not acknowledged"
        assert kept() & {number_of(one) for pack in packs for one in pack.readings} <= alarms
        file.room = Room(cap=_CAP.cap * 4, reserve=_CAP.reserve)
        await asyncio.wait_for(carrying, 60)
        everything = [number_of(one) for pack in packs for one in pack.readings]
        assert queue.acknowledged == everything, "in order of arrival"
        oracle.promise(*everything)
        with closing(read_only(folder / "spool.db")) as db:
            numbers = [number_of(read_row(body)) for (body,) in db.execute("SELECT body FROM reading")]
        case.take(oracle.judge([number for number in numbers if number >= 10_000]))


async def test_a10_alarms_behind_a_refused_pack_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(id="A10-alarms-behind", seed=seed(1004), trials=1)
    await hold_a_line(case, tmp_path, monkeypatch)
    case.close()


async def test_a10_alarms_wait_when_each_pack_waits_for_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(before: asyncio.Task[None], *_: object) -> None:
        await before

    monkeypatch.setattr(pipeline, "_keep_alarms_meanwhile", wait)
    case = Case(id="A10-broken:alarms_wait", seed=seed(1004), trials=1)
    await hold_a_line(case, tmp_path, monkeypatch)
    case.print()
    assert case.lost > 0


async def test_a10_no_more_is_read_behind_a_refused_pack_than_may_be_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_MOST_HELD", 20)
    case = Case(id="A10-held", seed=seed(1005), trials=1)

    async def decoded(pack: Pack, *_: object) -> list[Reading]:
        return pack.readings

    monkeypatch.setattr(pipeline, "decode", decoded)
    queue = Queue([Pack([fat(number, case)]) for number in range(10_000, 10_100)])
    async with Spool(SpoolFile(tmp_path / "spool.db", GATEWAY, KEY, _CAP)) as spool:
        await fill_with_readings(spool, case, Oracle(), 0)
        carrying = asyncio.create_task(pipeline.carry(queue, {}, None, spool, Deaf()))  # type: ignore[arg-type]
        await asyncio.to_thread(poll, "the line", lambda: queue.read >= 21)
        await asyncio.sleep(0.3)
        assert queue.read == 21, "one more is decoded and waits for its place"
        carrying.cancel()
        await asyncio.gather(carrying, return_exceptions=True)
    case.close()


async def test_a10_an_alarm_that_shares_a_commit_with_refused_readings_is_kept(tmp_path: Path) -> None:
    case = Case(id="A10-shared", seed=seed(1006), trials=1)
    async with Spool(SpoolFile(tmp_path / "spool.db", GATEWAY, KEY, _CAP)) as spool:
        await fill_with_readings(spool, case, Oracle(), 0)
        routine, alarm = spool.append([fat(20_000, case)]), spool.append([fat(20_001, case, urgent=True)])
        refused, kept = await asyncio.gather(routine, alarm, return_exceptions=True)
        assert isinstance(refused, NotKept)
        assert kept is None
        assert spool.problem, "there is still no room for the others"
    case.close()


# ---- a failing card


def test_a6_after_an_error_of_the_card_nothing_in_memory_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is opened anew and its log written out before the next reading is taken."""
    case = Case(id="A6", seed=seed(601))
    oracle: Oracle[int] = Oracle()
    file = open_spool(tmp_path)
    opened: list[Path] = []
    connect = sqlite.connect

    def counting(path: Path, *, read_only: bool = False) -> apsw.Connection:
        opened.append(path)
        return connect(path, read_only=read_only)

    monkeypatch.setattr(card, "connect", counting)
    for number in range(50):
        if number % 5 == 3:
            before, case.trials = len(opened), case.trials + 1
            with monkeypatch.context() as failing:
                failing.setattr(store, "make_room", _fail)
                with pytest.raises(NotKept, match="the card does not take it"):
                    file.append([reading(number)])
            assert len(opened) == before
            file.append([reading(number)])
            assert len(opened) == before + 1
        else:
            file.append([reading(number)])
        oracle.promise(number)
    case.take(oracle.judge(kept_in(file)))
    file.close()
    case.close()


def _fail(*_: object, **__: object) -> None:
    raise apsw.IOError("disk I/O error")


# ---- A4: a full card, and the log beside the file


def run_a4_log(case: Case, folder: Path) -> None:
    """A card with room in the spool's own file and little behind its log: what is kept goes on."""
    with (
        gateway_card.small_card(folder / "card", "size=16m") as card,
        closing(open_spool(card, Room(cap=100_000_000))) as file,
    ):
        number = len(flood(file, case, 120).promised)
        confirm(file, file.position().last_seq)
        file.trim(2**53, 0, most=1_000)
        with closing(sqlite.connect(file.path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        gateway_card.fill(card, leave=1_000_000)
        kept = 0
        for at in range(number, number + 150):  # ten times what the log has room for
            case.trials += 1
            with suppress(NotKept):
                kept += file.append([fat(at, case)])
        case.stored, case.lost = kept, case.trials - kept
        case.notes += [f"{case.lost} were refused"] if case.lost > 10 else []


def test_a4_a_log_that_cannot_grow_is_put_into_the_file(tmp_path: Path) -> None:
    case = Case(id="A4-log", seed=seed(406))
    run_a4_log(case, tmp_path)
    case.lost = 0  # refused readings are repeated: here they only show where the log was folded
    case.close()


def test_a4_fails_when_the_log_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(id="A4-log-broken:no_fold", seed=seed(406))
    monkeypatch.setattr(Card, "_fold", lambda _: None)
    run_a4_log(case, tmp_path)
    case.print()
    assert case.lost > 50
