"""The spool: what it has confirmed it keeps, whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import msgspec
import pytest

from gateway.clock import Instant
from gateway.due import DueLedger
from gateway.spool.sealing import Rhythm, Sealer, start_event
from gateway.spool.spool import Spool
from gateway.spool.sqlite import NotKept, SpoolError
from gateway.spool.store import SpoolFile
from tests.gateway.gateway_readings import BOOT, GATEWAY, SENSOR, START_MS, confirm, reading
from wire.batch import Clock, Draft, Event, Sealed, Software, genesis, open_batch
from wire.identity import GatewayId
from wire.keys import SigningKey
from wire.reading import ClockState, Reading, Undecoded

KEY = SigningKey.generate()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SpoolFile]:
    spool = SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)
    spool.open()
    yield spool
    spool.close()


def seal_head(file: SpoolFile, most: int = 100, sealed_at_ms: int = START_MS) -> Sealed:
    contents, position = file.head(most), file.position()
    draft = Draft(
        gateway=GATEWAY,
        epoch=position.epoch,
        seq=position.last_seq + 1,
        prev=position.last_hash,
        from_ms=position.window_to_ms,
        to_ms=max(position.window_to_ms, sealed_at_ms),
        boot=BOOT,
        clock=Clock(ClockState.NTP),
        software=Software("0"),
        readings=contents.readings,
        events=contents.events,
    )
    return file.seal(draft, contents.last_id, sealed_at_ms)


# ---- keeping


def test_readings_come_out_in_the_order_in_which_they_went_in(file: SpoolFile) -> None:
    readings = [reading(number) for number in range(50)]
    assert file.append(readings[:20]) == 20
    assert file.append(readings[20:]) == 30
    assert file.head(100).readings == readings
    assert file.head(7).readings == readings[:7]


def test_a_redelivered_event_is_kept_once_also_within_one_pack_and_after_sealing(file: SpoolFile) -> None:
    assert file.append([reading(1), reading(1), reading(2)]) == 2
    assert file.append([reading(2), reading(3)]) == 1
    seal_head(file)
    assert file.append([reading(number) for number in (1, 2, 3, 4)]) == 1
    assert [one.frame.link.f_cnt for one in file.head(10).readings if one.frame.link] == [4]


def test_readings_without_a_key_are_never_taken_for_one_another(file: SpoolFile) -> None:
    assert file.append([reading(1, key=b""), reading(1, key=b"")]) == 2


def test_nothing_of_a_pack_that_fails_is_kept(file: SpoolFile) -> None:
    broken = msgspec.structs.replace(reading(2), codec=object())
    with pytest.raises(NotImplementedError):
        file.append([reading(1), broken])
    assert file.head(10).readings == []
    assert file.append([reading(1)]) == 1


def test_every_source_has_its_tally(file: SpoolFile) -> None:
    file.append([reading(1), reading(3, undecoded=Undecoded.NO_CODEC), reading(2)])
    file.append([reading(4)])
    (heard,) = file.heard()
    assert (heard.source, heard.frames, heard.undecoded, heard.last_reason) == (SENSOR, 4, 1, "no_codec")
    assert (heard.first_at_ms, heard.last_at_ms) == (START_MS + 1000, START_MS + 4000)


# ---- sealing


def test_a_batch_takes_its_readings_place_in_one_step(file: SpoolFile) -> None:
    file.append([reading(1), reading(2)])
    sealed = seal_head(file, most=1)
    assert file.envelope(1) == sealed.envelope
    assert [one.frame.link.f_cnt for one in file.head(9).readings if one.frame.link] == [2]
    opened = open_batch(sealed.envelope, KEY.public.verifier())
    assert (opened.seq, opened.columns.n) == (1, 1)
    assert file.position().last_hash == opened.payload_sha256


def test_batches_form_a_chain_from_the_enrolment_also_across_restarts(tmp_path: Path) -> None:
    prev = None
    for number in range(3):
        file = SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)
        position = file.open()
        prev = prev or genesis(GATEWAY, position.epoch, KEY.public)
        file.append([reading(number)])
        opened = open_batch(seal_head(file).envelope, KEY.public.verifier())
        assert (opened.seq, opened.body.prev) == (number + 1, prev)
        prev = opened.payload_sha256
        file.close()


def test_readings_of_another_boot_or_clock_state_wait_for_the_next_batch(file: SpoolFile) -> None:
    first = [reading(1), reading(2)]
    second = [reading(3, clock=ClockState.NONE)]
    third = [reading(4, clock=ClockState.NONE, boot="6" * 16), reading(5, clock=ClockState.NONE, boot="6" * 16)]
    file.append(first + second + third)
    for expected in (first, second, third):
        assert file.head(100).readings == expected
        seal_head(file)
    assert file.head(100).readings == []


def test_a_sealed_batch_cannot_be_changed_even_by_hand(file: SpoolFile, tmp_path: Path) -> None:
    file.append([reading(1)])
    seal_head(file)
    by_hand = apsw.Connection(str(tmp_path / "spool.db"))
    with pytest.raises(apsw.ConstraintError, match="a sealed batch never changes"):
        by_hand.execute("UPDATE batch SET envelope = x'00'")
    by_hand.close()


def test_the_same_sequence_is_never_sealed_twice(file: SpoolFile) -> None:
    file.append([reading(1)])
    position, contents = file.position(), file.head(1)
    draft = Draft(
        gateway=GATEWAY, epoch=position.epoch, seq=1, prev=position.last_hash, from_ms=0, to_ms=1, boot=BOOT,
        clock=Clock(ClockState.NTP), software=Software("0"), readings=contents.readings,
    )  # fmt: skip
    first = file.seal(draft, contents.last_id, START_MS)
    file.append([reading(2)])
    with pytest.raises(SpoolError, match="does not follow"):
        file.seal(draft, file.head(1).last_id, START_MS)
    assert file.envelope(1) == first.envelope
    assert len(file.head(9).readings) == 1


def test_an_event_noted_after_the_head_was_read_goes_into_the_next_batch(file: SpoolFile) -> None:
    file.note(Event(1, "start"))
    contents, position = file.head(10), file.position()
    file.note(Event(2, "clock_step"))
    draft = Draft(
        gateway=GATEWAY, epoch=position.epoch, seq=1, prev=position.last_hash, from_ms=0, to_ms=1, boot=BOOT,
        clock=Clock(ClockState.NTP), software=Software("0"), readings=[], events=contents.events,
    )  # fmt: skip
    file.seal(draft, contents.last_id, START_MS)
    assert file.head(10).events == [Event(2, "clock_step")]


# ---- confirming and letting go


def test_nothing_is_let_go_that_the_hub_has_not_confirmed(file: SpoolFile) -> None:
    for number in range(5):
        file.append([reading(number)])
        seal_head(file, sealed_at_ms=START_MS + number)
    assert file.trim(START_MS + 1_000_000, 0) == 0
    confirm(file, 2, 1)
    assert file.trim(START_MS + 1_000_000, 10**9) == 2
    assert file.envelope(2) is None
    assert file.envelope(3) is not None
    assert (file.depth().unconfirmed, file.depth().kept) == (3, 0)


def test_confirmed_batches_stay_until_the_retention_floor(file: SpoolFile) -> None:
    sizes = []
    for number in range(5):
        file.append([reading(number)])
        sizes.append(len(seal_head(file, sealed_at_ms=START_MS + number).envelope))
    confirm(file, 5, 1)
    assert file.trim(START_MS + 2, 10**9) == 2
    assert [seq for seq in range(1, 6) if file.envelope(seq)] == [3, 4, 5]
    assert file.trim(0, sizes[3] + sizes[4]) == 1
    assert [seq for seq in range(1, 6) if file.envelope(seq)] == [4, 5]


def test_a_restored_hubs_lower_watermark_protects_what_it_lacks(file: SpoolFile) -> None:
    for number in range(4):
        file.append([reading(number)])
        seal_head(file)
    confirm(file, 4, 1)
    confirm(file, 1, 2)
    assert file.trim(START_MS + 1_000_000, 0) == 1
    assert [seq for seq in range(1, 5) if file.envelope(seq)] == [2, 3, 4]
    assert (file.position().through, file.position().incarnation) == (1, 2)


def test_the_depth_says_how_full_it_is(file: SpoolFile) -> None:
    file.append([reading(1), reading(2)])
    seal_head(file, sealed_at_ms=START_MS + 7)
    file.append([reading(3)])
    depth = file.depth()
    assert (depth.unsealed, depth.unconfirmed, depth.unconfirmed_readings, depth.kept) == (1, 1, 2, 0)
    assert depth.oldest_unsent_ms == START_MS + 7
    assert depth.bytes_on_disk > 0


def test_alarms_that_wait_are_found_again_after_a_restart(file: SpoolFile) -> None:
    for number in range(4):
        file.append([reading(number, urgent=number % 2 == 1)])
        seal_head(file)
    assert file.urgent_after(0) == [2, 4]
    assert file.urgent_after(2) == [4]


# ---- crashes, strangers, newcomers


def test_whatever_was_confirmed_is_there_after_a_crash_at_any_moment(file: SpoolFile, tmp_path: Path) -> None:
    kept = 0
    for step in range(12):
        kept += file.append([reading(kept + one) for one in range(step + 1)])
        if step % 4 == 3:
            seal_head(file)
        snapshot = tmp_path / f"crash-{step}"
        snapshot.mkdir()
        for name in (
            "spool.db",
            "spool.db-wal",
            "spool.head",
        ):  # what a power cut leaves: no clean close, the log not checkpointed
            shutil.copyfile(tmp_path / name, snapshot / name)
        after = SpoolFile(snapshot / "spool.db", GATEWAY, KEY)
        position = after.open()
        assert position == file.position()
        sealed = [after.envelope(seq) for seq in range(1, position.last_seq + 1)]
        counted = sum(open_batch(one, KEY.public.verifier()).columns.n for one in sealed if one)
        assert counted + after.depth().unsealed == kept
        assert after.append([reading(number) for number in range(kept)]) == 0
        after.close()


def test_a_log_cut_inside_its_last_commit_loses_that_commit_only(file: SpoolFile, tmp_path: Path) -> None:
    file.append([reading(1)])
    whole = (tmp_path / "spool.db-wal").stat().st_size
    file.append([reading(2)])
    snapshot = tmp_path / "crash"
    snapshot.mkdir()
    shutil.copyfile(tmp_path / "spool.db", snapshot / "spool.db")
    (snapshot / "spool.db-wal").write_bytes((tmp_path / "spool.db-wal").read_bytes()[: whole + 100])
    after = SpoolFile(snapshot / "spool.db", GATEWAY, KEY)
    after.open()
    assert after.head(10).readings == [reading(1)]
    after.close()


def test_a_second_gateway_process_is_kept_out_and_told_what_to_do(file: SpoolFile, tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match=r"spool\.db is in use by another gateway process; stop that one first"):
        SpoolFile(tmp_path / "spool.db", GATEWAY, KEY).open()
    file.append([reading(1)])
    file.close()
    second = SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)
    second.open()
    second.close()


def test_another_gateways_spool_is_refused_and_left_free(file: SpoolFile, tmp_path: Path) -> None:
    file.close()
    with pytest.raises(SpoolError, match=r"belongs to gateway 'thon-1', we are 'thon-2': check gateway\.id"):
        SpoolFile(tmp_path / "spool.db", GatewayId("thon-2"), KEY).open()
    file.open()


def test_a_spool_of_a_newer_xom_is_refused_and_left_as_it_is(file: SpoolFile, tmp_path: Path) -> None:
    file.append([reading(1)])
    file.close()
    by_hand = apsw.Connection(str(tmp_path / "spool.db"))
    by_hand.execute("PRAGMA user_version=99")
    by_hand.close()
    with pytest.raises(SpoolError, match=r"written by a newer xom \(schema 99\)"):
        file.open()
    by_hand = apsw.Connection(str(tmp_path / "spool.db"))
    assert by_hand.execute("SELECT count(*) FROM reading").fetchone() == (1,)
    by_hand.close()


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be looked at" * 100, b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_a_file_that_is_no_spool_is_moved_aside_and_does_not_stop_a_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "spool.db").write_bytes(content)
    file = SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)
    file.open()
    assert file.append([reading(1)]) == 1
    assert {event.name for event in file.head(9).events} == {"salvaged", "new_epoch"}
    assert [kept.read_bytes() for kept in (tmp_path / "quarantine").glob("*.db")] == [content]
    file.close()


def test_looking_beside_a_running_gateway_changes_nothing(file: SpoolFile, tmp_path: Path) -> None:
    file.append([reading(1)])
    looking = SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)
    looking.open_to_read()
    assert looking.depth().unsealed == 1
    with pytest.raises(NotKept, match="readonly"):
        looking.append([reading(2)])
    looking.close()
    with pytest.raises(SpoolError, match="there is no spool at"):
        SpoolFile(tmp_path / "other.db", GATEWAY, KEY).open_to_read()


def test_a_spool_that_is_not_open_says_so(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="is not open"):
        SpoolFile(tmp_path / "spool.db", GATEWAY, KEY).depth()


# ---- as the pipeline sees it


class CountingFile(SpoolFile):
    """A spool that counts its commits."""

    commits = 0

    def append(self, readings: object) -> int:
        self.commits += 1
        return super().append(readings)  # type: ignore[arg-type]


@asynccontextmanager
async def a_sealer(tmp_path: Path, **rhythm: float) -> AsyncIterator[tuple[Sealer, Spool, list[tuple[Sealed, bool]]]]:
    told: list[tuple[Sealed, bool]] = []
    async with Spool(SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)) as spool:
        yield (
            Sealer(
                gateway=GATEWAY,
                spool=spool,
                rhythm=Rhythm(**rhythm),  # type: ignore[arg-type]
                software=Software("0"),
                due=DueLedger({SENSOR: 60.0}, START_MS),
                sealed=lambda sealed, urgent: told.append((sealed, urgent)),
                started_at_ms=START_MS,
            ),
            spool,
            told,
        )


def now(seconds: float) -> Instant:
    return Instant(START_MS + int(seconds * 1000), int(seconds * 1000), BOOT, ClockState.NTP)


async def test_appends_that_wait_together_share_commits(tmp_path: Path) -> None:
    file = CountingFile(tmp_path / "spool.db", GATEWAY, KEY)
    async with Spool(file) as spool:
        await asyncio.gather(*(spool.append([reading(number)]) for number in range(500)))
        assert spool.appended == spool.unsealed == 500
        assert (await spool.depth()).unsealed == 500
    assert file.commits < 20


async def test_a_failed_append_raises_to_whoever_appended_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with Spool(SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)) as spool:
        broken: Reading = msgspec.structs.replace(reading(1), codec=object())
        with pytest.raises(NotImplementedError):
            await spool.append([broken])
        await spool.append([reading(1)])
        assert spool.unsealed == 1


async def test_a_cancelled_append_does_not_harm_the_others(tmp_path: Path) -> None:
    async with Spool(SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)) as spool:
        broken: Reading = msgspec.structs.replace(reading(1), codec=object())
        given_up = asyncio.create_task(spool.append([broken]))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await spool.append([reading(2)])
        assert (await spool.depth()).unsealed == 1


async def test_a_spool_that_cannot_be_opened_leaves_no_thread_and_no_lock(tmp_path: Path) -> None:
    (tmp_path / "spool.db").mkdir()
    with pytest.raises(SpoolError):
        async with Spool(SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)):
            pass
    (tmp_path / "spool.db").rmdir()
    async with Spool(SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)) as spool:
        assert spool.unsealed == 0


async def test_silence_is_sealed_too(tmp_path: Path) -> None:
    async with a_sealer(tmp_path, every_s=60, idle_s=300) as (sealer, _, told):
        await sealer.seal_if_due(now(299))
        assert told == []
        await sealer.seal_if_due(now(300))
        opened = open_batch(told[0][0].envelope, KEY.public.verifier())
        assert opened.columns.n == 0
        assert (opened.body.from_ms, opened.body.to_ms) == (START_MS, START_MS + 300_000)
        assert [(due.expected, due.received, due.missed) for due in opened.due()] == [(5, 0, 4)]


async def test_the_rhythm_decides_when_readings_are_sealed_and_an_alarm_does_not_wait(tmp_path: Path) -> None:
    async with a_sealer(tmp_path, every_s=60, idle_s=300, most_readings=10) as (sealer, spool, told):
        await spool.append([reading(1)])
        sealer.notice([reading(1)])
        await sealer.seal_if_due(now(59))
        assert told == []
        await sealer.seal_if_due(now(60))
        assert len(told) == 1
        await spool.append([reading(2, urgent=True)])
        sealer.notice([reading(2, urgent=True)])
        assert sealer.attention.is_set()
        await sealer.seal_if_due(now(61))
        assert [urgent for _, urgent in told] == [False, True]
        await spool.append([reading(number) for number in range(3, 28)])
        await sealer.seal_if_due(now(62))
        opened = [open_batch(sealed.envelope, KEY.public.verifier()) for sealed, _ in told]
        assert [one.columns.n for one in opened] == [1, 1, 10, 10, 5]
        assert [one.seq for one in opened] == [1, 2, 3, 4, 5]
        assert all(after.body.from_ms == before.body.to_ms for before, after in itertools.pairwise(opened))


async def test_a_batch_that_would_be_too_large_is_halved_until_it_fits_and_counts_nothing_twice(tmp_path: Path) -> None:
    async with a_sealer(tmp_path, most_readings=200) as (sealer, spool, told):
        await spool.append([reading(number, raw=random.Random(number).randbytes(20_000)) for number in range(80)])
        await sealer.seal_all(now(80 * 60))
        opened = [open_batch(sealed.envelope, KEY.public.verifier()) for sealed, _ in told]
        assert len(opened) > 1
        assert sum(one.columns.n for one in opened) == 80
        dues = [due for one in opened for due in one.due()]
        assert sum(due.expected for due in dues) == 80
        assert sum(due.received for due in dues) == 80
        assert sum(due.missed for due in dues) == 0
        assert spool.unsealed == 0


async def test_the_first_batch_says_that_the_gateway_started(tmp_path: Path) -> None:
    async with a_sealer(tmp_path) as (sealer, spool, told):
        await spool.note(start_event(now(0), await spool.position()))
        await sealer.seal_all(now(1))
        await sealer.seal_all(now(2))
        first, second = (open_batch(sealed.envelope, KEY.public.verifier()) for sealed, _ in told)
        assert [event.name for event in first.body.ev] == ["start"]
        assert second.body.ev == []
