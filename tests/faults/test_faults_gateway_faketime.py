"""D1, D2, D5 on a real process: a start in 1970, steps of years, a leap second, 2038, each under a running delivery."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.steps import Step
from tests.faults.gateway_bed import Bed, attended, read_only
from tests.faults.gateway_broken import Switch
from tests.faults.gateway_faketime import WallClock
from tests.faults.gateway_surroundings import Surroundings, keys_of, twice, uplinks
from tests.faults.harness import Case, poll, seed
from wire.batch import Batch
from wire.reading import ClockState

_TOML = "[seal]\nevery_s = 1.0\nidle_s = 1.0\nmost_readings = 5000\nunsynchronised_s = 0.0\n[retention]\ndays = 1.0\n"
_YEAR_S = 365 * 86_400.0
_PER_S = 40.0
_2038_S = 2**31 - 2.0  # one second before a signed 32-bit time ends
_NEAR_MS = 5_000
_RHYTHM_S = 20.0  # for a batch that is due in a second: generous, and far below what a step of years would make of it


@contextmanager
def field(folder: Path, clock: WallClock, *switches: Switch) -> Iterator[tuple[Surroundings, Bed]]:
    """A gateway with that clock, up and delivering."""
    with ExitStack() as stack:
        around = stack.enter_context(Surroundings(per_s=_PER_S, alarms=False))
        gateway = stack.enter_context(attended(around.bed(folder / "bed", _TOML)))
        gateway.start({"XOM_GATEWAY_HUB_RESEND_S": "1.0"} | clock.environment, *switches)
        gateway.wait_until_it_hears()
        yield around, gateway


def in_order(around: Surroundings) -> list[Batch]:
    return [batch for _, batch in sorted(around.word().stored.items(), key=lambda item: item[0][1])]


def latest_ms(around: Surroundings) -> int:
    """When the last reading at the hub arrived, by the gateway's clock."""
    return max(one.frame.received_at_ms for batch in in_order(around) for one in batch.readings())


def steps_of(around: Surroundings) -> list[Step]:
    return [msgspec.json.decode(event.detail, type=Step) for event in around.events("clock_step")]


def step(case: Case, around: Surroundings, clock: WallClock, offset_s: float) -> None:
    """One step: the hub hears of it in the batch that the rhythm brings next."""
    known = len(steps_of(around))
    clock.step_to(offset_s)
    case.trials += 1
    poll("the step on record", lambda: len(steps_of(around)) > known, deadline_s=_RHYTHM_S)


def settle(case: Case, around: Surroundings, gateway: Bed) -> None:
    """Everything at the hub once, in the order of its arrival, with boot id and monotonic time."""
    around.per_s = 0.0
    around.wait_until_all_is_promised()
    poll("everything at the hub", lambda: set(around.at_hub()) >= around.oracle.promised)
    batches = in_order(around)
    keys = [key for batch in batches for key in keys_of(batch)]
    case.take(around.oracle.judge(keys))
    assert not twice(gateway.kept())
    assert keys == list(uplinks(alarms=False).keys[: len(keys)]), "in order of arrival, whatever the wall clock says"
    readings = [one for batch in batches for one in batch.readings()]
    monotonic = [one.frame.monotonic_ms for one in readings]
    assert monotonic == sorted(monotonic)
    assert len({one.frame.boot for one in readings}) == 1
    now = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
    assert 0 < now - monotonic[-1] < 120_000, "the boot clock is the machine's"
    assert {one.frame.clock for one in readings} <= set(ClockState)
    assert gateway.running.poll() is None


def test_d1_a_start_in_1970_and_the_jump_to_now(tmp_path: Path) -> None:
    case = Case(id="D1-process", seed=seed(1))
    clock = WallClock(tmp_path)
    clock.set_to(60.0)
    offset_ms = -clock.offset_s * 1000
    with field(tmp_path, clock) as (around, gateway):
        around.wait_for_batches(3)
        step(case, around, clock, 0.0)
        settle(case, around, gateway)
        readings = [one for batch in in_order(around) for one in batch.readings()]
        early = [one for one in readings if one.frame.received_at_ms < _YEAR_S * 1000]
        assert early, "what was heard in 1970 keeps the time that the gateway had"
        assert early == readings[: len(early)]
        (only,) = steps_of(around)
        assert abs(only.offset_ms - offset_ms) < _NEAR_MS
        assert only.boot == early[0].frame.boot
        for one in early:  # the hub computes: the boot clock and one pair of both give each reading its time
            told = one.frame.received_at_ms + only.offset_ms
            assert abs(told - time.time() * 1000) < 120_000
    case.close()


def confirmed(gateway: Bed) -> int:
    """How far the hub's word has been noted."""
    with closing(read_only(gateway.spool)) as db:
        return int(next(db.execute("SELECT through FROM spool"))[0])


STEPS = {"D2+10y": 10 * _YEAR_S, "D2-3y": -3 * _YEAR_S, "D2-leap": -1.5}


@pytest.mark.parametrize("name", STEPS)
def test_d2_a_step_under_a_running_gateway(tmp_path: Path, name: str) -> None:
    """There and back again: what the hub has and what is kept for its restoration stay, the rhythm goes on."""
    case = Case(id=f"{name}-process", seed=seed(2))
    clock = WallClock(tmp_path)
    with field(tmp_path, clock) as (around, gateway):
        around.wait_for_batches(3)
        step(case, around, clock, STEPS[name])
        step(case, around, clock, 0.0)
        settle(case, around, gateway)
        offsets = [one.offset_ms / 1000 for one in steps_of(around)]
        assert offsets == pytest.approx([STEPS[name], -STEPS[name]], abs=0.4)
        assert len(gateway.batches()) == len(around.stored), "a retention of one day lets nothing go"
    case.close()


def test_d2_the_end_of_32_bit_time_passes_while_it_runs(tmp_path: Path) -> None:
    case = Case(id="D2-2038", seed=seed(3))
    clock = WallClock(tmp_path)
    with field(tmp_path, clock) as (around, gateway):
        around.wait_for_batches(2)
        clock.set_to(_2038_S)
        step(case, around, clock, clock.offset_s)
        poll("a reading of afterwards", lambda: latest_ms(around) > 2**31 * 1000, deadline_s=_RHYTHM_S)
        settle(case, around, gateway)
        assert len(steps_of(around)) == 1
    case.close()


def test_d2_delivery_backs_off_by_the_boot_clock(tmp_path: Path) -> None:
    """The hub is silent over a step of -3 years; what waits for its word goes again in seconds, not in three years."""
    case = Case(id="D2-backoff", seed=seed(4))
    clock = WallClock(tmp_path)
    with field(tmp_path, clock) as (around, gateway):
        around.wait_for_batches(2)
        around.acknowledges = False
        around.wait_for_batches(len(around.stored) + 2)
        clock.step_to(-3 * _YEAR_S)
        case.trials += 1
        around.acknowledges = True
        settle(case, around, gateway)
        poll("the last acknowledgement", lambda: confirmed(gateway) >= len(around.stored))
    case.close()


def test_d2_fails_when_the_wall_clock_sets_the_rhythm(tmp_path: Path) -> None:
    case = Case(id="D2-broken:wall_rhythm", seed=seed(2))
    clock = WallClock(tmp_path)
    with field(tmp_path, clock, Switch.WALL_RHYTHM) as (around, _):
        around.wait_for_batches(3)
        with pytest.raises(AssertionError, match="still waiting"):
            step(case, around, clock, -3 * _YEAR_S)
    case.print()


def test_d5_an_alarm_goes_at_once_and_once_across_a_step(tmp_path: Path) -> None:
    """No alarm timers exist on a gateway yet: what exists is that an alarm's reading does not wait for the rhythm."""
    case = Case(id="D5", seed=seed(5))
    clock = WallClock(tmp_path)
    with ExitStack() as stack:
        around = stack.enter_context(Surroundings())
        toml = _TOML.replace("every_s = 1.0\nidle_s = 1.0", "every_s = 600.0\nidle_s = 600.0")
        gateway = stack.enter_context(attended(around.bed(tmp_path / "bed", toml)))
        gateway.start(clock.environment)
        gateway.wait_until_it_hears()
        for offset_s in (0.0, 10 * _YEAR_S, -3 * _YEAR_S):
            clock.step_to(offset_s)
            keys = around.burst(20)  # each tenth is an alarm
            alarms = uplinks().alarms & set(keys)
            assert alarms
            around.wait_until_at_hub(alarms, deadline_s=15)
            case.trials += 1
            case.recovered(max(around.stored_at[key] - around.promised_at[key] for key in alarms))
        assert not twice(around.at_hub())
        case.take(around.oracle.judge(set(around.at_hub()) | set(gateway.kept())))
    case.close()
