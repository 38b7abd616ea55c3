"""A9: a spool damaged at any place starts unattended, loses what the damage covers, and says what that was."""

from __future__ import annotations

import asyncio
import enum
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from bench.uplinks import hamlet
from gateway.spool import recovery, sqlite
from gateway.spool.sqlite import Damaged
from gateway.spool.store import SpoolFile
from tests.faults.gateway_bed import Sensors, bed, key_of
from tests.faults.harness import Case, Oracle, poll, seed, trials
from tests.gateway.gateway_readings import BOOT, GATEWAY, START_MS, confirm, reading
from tests.real_mosquitto import Mosquitto
from wire.ack import Ack, holes, seal_ack
from wire.batch import Batch, Clock, Draft, Gap, Software, open_batch
from wire.identity import Epoch, GatewayId
from wire.keys import SigningKey
from wire.mqtt import Broker, Link, Terms
from wire.reading import ClockState, Reading
from wire.topics import Subject, Topic

KEY = SigningKey.generate()
_POSITIONS = 60
_STARTS = 3  # a damage that shows only when it is read costs one start more
_PAGE = 4096
_FILES = ("spool.db", "spool.db-wal", "spool.head")


class Damage(enum.StrEnum):
    FLIP = "flip"
    ZERO = "zero"
    CUT = "cut"
    DELETE = "delete"


def seal(file: SpoolFile, most: int = 8) -> None:
    contents, position = file.head(most), file.position()
    draft = Draft(
        gateway=GATEWAY, epoch=position.epoch, seq=position.last_seq + 1, prev=position.last_hash,
        from_ms=START_MS, to_ms=START_MS, boot=BOOT, clock=Clock(ClockState.NTP), software=Software("0"),
        readings=contents.readings, events=contents.events,
    )  # fmt: skip
    file.seal(draft, contents.last_id, START_MS)


def fill(folder: Path) -> Oracle[int]:
    """Fill a spool: confirmed and unconfirmed batches, unsealed readings, and a log that is not checkpointed."""
    oracle: Oracle[int] = Oracle()
    file = SpoolFile(folder / "spool.db", GATEWAY, KEY)
    file.open()
    chance = random.Random(1)
    for number in range(400):
        file.append([reading(number, raw=chance.randbytes(chance.randint(4, 200)))])
        oracle.promise(number)
        if number % 8 == 7 and number < 360:
            seal(file)
        if number == 150:
            confirm(file, 10, 1)
        if number == 250:
            file.close()  # what came until here is in the file, the rest in its log
            file.open()
    for name in _FILES:
        shutil.copyfile(folder / name, folder / f"{name}.cut")
    file.close()
    for name in _FILES:
        (folder / f"{name}.cut").replace(folder / name)
    return oracle


def damage(path: Path, how: Damage, chance: random.Random) -> str:
    size = path.stat().st_size
    at = chance.randrange(size)
    if how is Damage.DELETE:
        path.unlink()
    elif how is Damage.CUT:
        os.truncate(path, at)
    else:
        with path.open("r+b") as file:
            start = at if how is Damage.FLIP else at - at % _PAGE
            file.seek(start)
            old = file.read(1 if how is Damage.FLIP else _PAGE)
            file.seek(start)
            file.write(bytes([old[0] ^ 1 << chance.randrange(8)]) if how is Damage.FLIP else bytes(len(old)))
    return f"{how} {path.name} at {at} of {size}"


def number_of(one: Reading) -> int:
    assert one.frame.link is not None
    return one.frame.link.f_cnt


def contents(file: SpoolFile) -> tuple[list[int], list[Gap]]:
    """Everything in a spool, as delivery and sealing would read it; raises Damaged."""
    verifier, numbers = KEY.public.verifier(), []
    position = file.position()
    ends: list[tuple[Epoch, int]] = [(position.epoch, position.last_seq)]
    ends += [(one.epoch, one.last_seq) for one in file.older()]
    for epoch, last in ends:
        for seq in range(1, last + 1):
            envelope = file.envelope(seq, epoch)
            if envelope is not None:
                numbers += [number_of(one) for one in open_batch(envelope, verifier).readings()]
    waiting = [number_of(one) for one in file.unsealed()]
    return numbers + waiting, file.gaps()


def starts_and_reads(folder: Path) -> tuple[list[int], list[Gap], float, SpoolFile]:
    """Start as often as the supervisor would, until everything can be read; fails when that takes too many."""
    began = time.monotonic()
    for _ in range(_STARTS):
        file = SpoolFile(folder / "spool.db", GATEWAY, KEY)
        file.open()
        try:
            numbers, gaps = contents(file)
        except Damaged:
            file.close()
            continue
        return numbers, gaps, time.monotonic() - began, file
    raise AssertionError("it spins: damage is met again after every start")


def covered(gaps: list[Gap], lost: set[int]) -> bool:
    """Whether gap records account for what is lost: by sequence (eight readings each) or by count."""
    seqs = {seq for gap in gaps if gap.first for seq in range(gap.first, gap.last + 1)}
    rest = {number for number in lost if number // 8 + 1 not in seqs and number // 8 + 1 > 10}
    return len(rest) <= sum(gap.readings or 0 for gap in gaps if not gap.first)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Oracle[int]]:
    folder = tmp_path_factory.mktemp("filled")
    return folder, fill(folder)


def sweep(case: Case, tmp_path: Path, filled: tuple[Path, Oracle[int]], count: int) -> None:
    source, oracle = filled
    chance, by_kind = case.random, Counter[str]()
    for trial in range(count):
        folder = tmp_path / f"trial-{trial}"
        folder.mkdir()
        for name in _FILES:
            shutil.copyfile(source / name, folder / name)
        name = chance.choices(_FILES, weights=(6, 5, 1))[0]
        how = chance.choices(list(Damage), weights=(6, 4, 3, 1))[0]
        what = damage(folder / name, how, chance)
        by_kind[f"{name} {how}"] += 1
        numbers, gaps, took, file = starts_and_reads(folder)
        case.trials += 1
        case.recovered(took)
        case.gaps += len(gaps)
        verdict = oracle.judge(numbers)
        case.stored += verdict.stored
        case.duplicate += len(verdict.duplicate)
        if not covered(gaps, verdict.lost):
            case.lost += len(verdict.lost)
            print(f"silent gap: {what}: {sorted(verdict.lost)}, {gaps}")  # noqa: T201
        check_it_goes_on(file, what)
        shutil.rmtree(folder)
    print(dict(by_kind))  # noqa: T201


def check_it_goes_on(file: SpoolFile, what: str) -> None:
    """New readings are kept and sealed, and the chain holds from there."""
    assert file.append([reading(10_000)]) == 1, what
    before = file.position()
    seal(file, most=1000)
    opened = open_batch(file.envelope(before.last_seq + 1) or b"", KEY.public.verifier())
    assert opened.body.prev == before.last_hash, what
    file.close()


def test_a9_damage_anywhere_does_not_stop_a_start(tmp_path: Path, filled: tuple[Path, Oracle[int]]) -> None:
    case = Case(id="A9", seed=seed(901))
    sweep(case, tmp_path, filled, trials(_POSITIONS))
    case.close()


def test_a9_each_file_deleted_in_turn(tmp_path: Path, filled: tuple[Path, Oracle[int]]) -> None:
    case = Case(id="A9-delete", seed=seed(902))
    source, oracle = filled
    for name in _FILES:
        folder = tmp_path / name
        folder.mkdir()
        for other in _FILES:
            shutil.copyfile(source / other, folder / other)
        (folder / name).unlink()
        numbers, gaps, took, file = starts_and_reads(folder)
        case.trials += 1
        case.recovered(took)
        case.gaps += len(gaps)
        lost = oracle.judge(numbers).lost
        case.lost += 0 if covered(gaps, lost) else len(lost)
        file.close()
    case.close()


Value = tuple[int, bytes]  # a reading's number, and the bytes that its sensor sent


def fill_values(folder: Path) -> Oracle[Value]:
    """Readings that wait unsealed, in the file itself: nothing but a checksum knows what their bytes were."""
    oracle: Oracle[Value] = Oracle()
    file = SpoolFile(folder / "spool.db", GATEWAY, KEY)
    file.open()
    chance = random.Random(2)
    for number in range(200):
        raw = chance.randbytes(chance.randint(32, 200))
        file.append([reading(number, raw=raw)])
        oracle.promise((number, raw))
    file.close()
    return oracle


def flip_in_value(path: Path, raw: bytes, chance: random.Random) -> None:
    data = path.read_bytes()
    at = data.index(raw[:16]) + chance.randrange(16)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([data[at] ^ 1 << chance.randrange(8)]))


def flip_values(case: Case, folder: Path, count: int) -> None:
    """Each trial flips one bit of what a sensor sent; nothing that differs from it may be handed out."""
    (folder / "filled").mkdir()
    oracle, chance = fill_values(folder / "filled"), case.random
    for trial in range(count):
        place = folder / f"trial-{trial}"
        shutil.copytree(folder / "filled", place)
        flip_in_value(place / "spool.db", chance.choice(sorted(oracle.promised))[1], chance)
        _, gaps, took, file = starts_and_reads(place)
        verdict = oracle.judge((number_of(one), one.frame.raw) for one in file.unsealed())
        file.close()
        case.trials += 1
        case.recovered(took)
        case.gaps += len(gaps)
        case.stored += verdict.stored
        case.duplicate += len(verdict.duplicate)
        case.notes += ["altered"] * len(verdict.invented)
        if sum(gap.readings or 0 for gap in gaps) != len(verdict.lost):
            case.lost += len(verdict.lost)
        shutil.rmtree(place)


def test_a9_a_flipped_bit_in_a_value_is_never_handed_out(tmp_path: Path) -> None:
    case = Case(id="A9-values", seed=seed(905))
    flip_values(case, tmp_path, trials(10))
    assert case.gaps >= case.trials
    case.close()


def test_a9_fails_without_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite alone hands out a flipped bit in a value as it is, and the gateway would sign it."""
    monkeypatch.setattr(sqlite, "_checksums", lambda: "unix")
    case = Case(id="A9-broken:checksums_off", seed=seed(905))
    flip_values(case, tmp_path, 3)
    case.print()
    assert case.notes == ["altered"] * 3
    assert case.lost > 0


def test_a9_fails_when_the_head_is_not_compared(
    tmp_path: Path, filled: tuple[Path, Oracle[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut log is then an older spool, and nobody is told: readings are lost in silence, numbers given out twice."""
    monkeypatch.setattr(recovery, "behind", lambda *_: "")
    case = Case(id="A9-broken:head_not_compared", seed=seed(903), trials=1)
    source, oracle = filled
    for name in _FILES:
        shutil.copyfile(source / name, tmp_path / name)
    os.truncate(tmp_path / "spool.db-wal", (tmp_path / "spool.db-wal").stat().st_size // 2)
    numbers, gaps, _, file = starts_and_reads(tmp_path)
    verdict = oracle.judge(numbers)
    assert not covered(gaps, verdict.lost)
    case.take(verdict)
    case.print()
    assert case.lost > 0
    file.close()


def acknowledged(epoch: Epoch, seqs: set[int]) -> Ack:
    through = next(seq for seq in range(len(seqs) + 1) if seq + 1 not in seqs)
    missing, highest = holes(through, sorted(seq for seq in seqs if seq > through))
    village = hamlet().gateway_id
    return Ack(
        gateway=GatewayId(village), incarnation=1, epoch=epoch, through=through, highest=highest, missing=missing
    )


@pytest.mark.mosquitto
async def test_a9_what_is_left_of_an_older_epoch_reaches_the_hub(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The head is deleted under a real gateway: it goes on in a new epoch and delivers the old one's batches, too."""
    case = Case(id="A9-older-epoch", seed=seed(904), trials=1)
    with bed(tmp_path / "bed", mosquitto) as gateway:
        gateway.start()
        await asyncio.to_thread(gateway.wait_until_it_hears)
        sensors = Sensors(mosquitto.port, per_s=200)
        await asyncio.to_thread(sensors.burst, 100)
        await asyncio.to_thread(poll, "sealed batches", lambda: len(gateway.batches()) >= 4)
        gateway.kill()
        (gateway.data / "spool.head").unlink()
        gateway.start({"XOM_GATEWAY_HUB_RESEND_S": "1"})
        arrived: list[Batch] = []
        topic = str(Topic(gateway.village.gateway_id, Subject.BATCH))
        async with Link(Broker(port=mosquitto.port), Terms(client_id="hub", subscriptions=[topic])) as link:
            await asyncio.to_thread(sensors.burst, 20)
            async with asyncio.timeout(60):
                async for pack in link.packs(64):
                    link.acknowledge(pack)
                    arrived += [open_batch(message.payload, gateway.key.public.verifier()) for message in pack]
                    for epoch in {batch.epoch for batch in arrived}:
                        ack = acknowledged(epoch, {batch.seq for batch in arrived if batch.epoch == epoch})
                        await link.publish(
                            str(Topic(gateway.village.gateway_id, Subject.ACK)), seal_ack(ack, gateway.hub_key)
                        )
                    keys = {key_of(one) for batch in arrived for one in batch.readings()}
                    if keys >= sensors.oracle.promised:
                        break
        gateway.kill()
        assert len({batch.epoch for batch in arrived}) == 2
        assert {"new_epoch", "salvaged"} <= {event.name for batch in arrived for event in batch.body.ev}
        case.take(sensors.oracle.judge(keys))
        case.take(sensors.oracle.judge(gateway.kept()))
    case.close()
