"""D1, D2: no clock, 1970, steps of years: nothing is lost, reordered or expired, and the step is on record."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.clock import Instant
from gateway.due import DueLedger
from gateway.spool.sealing import Rhythm, Sealer
from gateway.spool.spool import Spool
from gateway.spool.store import SpoolFile
from gateway.steps import Step, StepFinder
from tests.faults.harness import Case, Oracle, seed
from tests.faults.test_faults_gateway_damage import KEY, number_of
from tests.gateway.gateway_readings import BOOT, GATEWAY, SENSOR, START_MS, confirm, reading
from wire.batch import Batch, Sealed, Software, open_batch
from wire.reading import ClockState

_YEAR_MS = 365 * 86_400_000
_MINUTE_MS = 60_000


class Field:
    """A sealer with a wall clock that we set, and a boot clock that only counts."""

    def __init__(self, spool: Spool, start_ms: int, state: ClockState, *, unsynchronised_s: float = 900.0) -> None:
        self.offset_ms, self.monotonic_ms, self.state = start_ms, 0, state
        self.spool, self.sealed = spool, list[Sealed]()
        self.number, self.oracle = 0, Oracle[int]()
        self.sealer = Sealer(
            gateway=GATEWAY, spool=spool, rhythm=Rhythm(), software=Software("0"),
            due=DueLedger({SENSOR: 60.0}, start_ms), sealed=lambda sealed, _: self.sealed.append(sealed),
            started_at_ms=start_ms, steps=StepFinder(self.now), unsynchronised_s=unsynchronised_s,
        )  # fmt: skip

    @property
    def now(self) -> Instant:
        return Instant(self.offset_ms + self.monotonic_ms, self.monotonic_ms, BOOT, self.state)

    async def minutes(self, count: int) -> None:
        for _ in range(count):
            self.monotonic_ms += _MINUTE_MS
            self.number += 1
            await self.spool.append([reading(self.number, at_ms=self.now.wall_ms, clock=self.state)])
            self.oracle.promise(self.number)
            await self.sealer.seal_if_due(self.now)

    def batches(self) -> list[Batch]:
        return [open_batch(one.envelope, KEY.public.verifier()) for one in self.sealed]


def in_order(batches: list[Batch]) -> list[int]:
    return [number_of(one) for batch in batches for one in batch.readings()]


def steps_in(batches: list[Batch]) -> list[Step]:
    events = [event for batch in batches for event in batch.body.ev if event.name == "clock_step"]
    return [msgspec.json.decode(event.detail, type=Step) for event in events]


async def run_d1(case: Case, folder: Path, *, unsynchronised_s: float = 900.0) -> None:
    async with Spool(SpoolFile(folder / "spool.db", GATEWAY, KEY)) as spool:
        field = Field(spool, 0, ClockState.NONE, unsynchronised_s=unsynchronised_s)
        await field.minutes(10)
        assert field.sealed == [], "without a time nothing is sealed yet"
        field.offset_ms, field.state = START_MS, ClockState.NTP
        await field.minutes(3)
        batches = field.batches()
        case.trials += 1
        case.take(field.oracle.judge(in_order(batches)))
        assert in_order(batches) == sorted(in_order(batches))
        early = [batch for batch in batches if batch.body.clock.state is ClockState.NONE]
        assert sum(batch.columns.n for batch in early) == 10
        assert max(one.frame.received_at_ms for batch in early for one in batch.readings()) < _YEAR_MS
        (step,) = steps_in(batches)
        assert (step.offset_ms, step.state_before, step.state_after) == (START_MS, "none", "ntp")


async def test_d1_a_start_in_1970_waits_for_the_time_and_the_offset_is_on_record(tmp_path: Path) -> None:
    case = Case(id="D1", seed=seed(1))
    await run_d1(case, tmp_path)
    case.close()


async def test_d1_fails_when_nothing_waits_for_the_time(tmp_path: Path) -> None:
    case = Case(id="D1-broken:no_wait", seed=seed(1))
    with pytest.raises(AssertionError, match="nothing is sealed yet"):
        await run_d1(case, tmp_path, unsynchronised_s=0.0)


async def test_d1_after_the_limit_readings_are_sealed_as_uncertain(tmp_path: Path) -> None:
    case = Case(id="D1-limit", seed=seed(2), trials=1)
    async with Spool(SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)) as spool:
        field = Field(spool, 0, ClockState.NONE)
        await field.minutes(20)
        assert {batch.body.clock.state for batch in field.batches()} == {ClockState.NONE}
        case.take(field.oracle.judge(in_order(field.batches())))
    case.close()


@pytest.mark.parametrize("years", [10, -3])
async def test_d2_a_step_of_years_loses_reorders_and_expires_nothing(tmp_path: Path, years: int) -> None:
    case = Case(id=f"D2{years:+d}y", seed=seed(3), trials=1)
    async with Spool(SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)) as spool:
        field = Field(spool, START_MS, ClockState.NTP)
        await field.minutes(300)
        field.offset_ms += years * _YEAR_MS
        await field.minutes(30)
        batches = field.batches()
        assert in_order(batches) == list(range(1, 331)), "in order of arrival, whatever the wall clock says"
        assert [batch.seq for batch in batches] == list(range(1, len(batches) + 1))
        assert [step.offset_ms for step in steps_in(batches)] == [years * _YEAR_MS]
        case.take(field.oracle.judge(in_order(batches)))
        before = (await spool.depth()).unconfirmed
        assert await spool.trim(field.now.wall_ms - 90 * 86_400_000, 10**9) == 0
        assert (await spool.depth()).unconfirmed == before
    file = SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)
    file.open()
    confirm(file, file.position().last_seq, 1)
    kept = file.depth().kept
    file.trim(field.now.wall_ms - 90 * 86_400_000, 10**9)
    assert file.depth().kept >= kept - 240, "what is kept for a restored hub is not emptied in one go"
    file.close()
    case.close()
