"""A1: the gateway is killed at random moments and at each crash point; what the broker was told is kept, once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.crash import Point
from tests.faults.gateway_bed import Bed, Hub, Sensors, bed
from tests.faults.gateway_broken import Switch
from tests.faults.harness import CRASHED, Case, crash_at, poll, seed, trials
from tests.real_mosquitto import Mosquitto

pytestmark = pytest.mark.mosquitto

_PER_S = 200.0
_KILLS = 12
_LONGEST_LIFE_S = 1.5


def a_broker(mosquitto: Mosquitto) -> Mosquitto:
    mosquitto.options = ["max_queued_messages 0"]
    mosquitto.restart()
    return mosquitto


def settle(case: Case, gateway: Bed, sensors: Sensors) -> None:
    """One last life without a fault: everything promised has to turn up in the spool."""
    oracle = sensors.stop()
    gateway.start()
    case.recovered(gateway.wait_until_it_hears())
    promised = len(oracle.promised)
    try:
        poll("every promised uplink", lambda: len(set(gateway.kept())) >= promised, deadline_s=20)
    except AssertionError as error:
        print(error)  # noqa: T201 - the judgement below counts what is missing
    gateway.kill()
    case.take(oracle.judge(gateway.kept()))


def test_a1_kill_at_random_moments(tmp_path: Path, mosquitto: Mosquitto) -> None:
    case = Case(id="A1", seed=seed(101))
    chance = case.random
    with bed(tmp_path / "bed", a_broker(mosquitto)) as gateway, Hub(gateway):
        gateway.start()
        gateway.wait_until_it_hears()
        sensors = Sensors(mosquitto.port, per_s=_PER_S)
        sensors.start()
        for _ in range(trials(_KILLS)):
            time.sleep(chance.uniform(0.0, _LONGEST_LIFE_S))  # the moment of the fault itself, not a wait for a state
            assert gateway.kill() == CRASHED
            case.trials += 1
            gateway.start()
            if chance.random() < 0.7:  # else the next kill may fall into the start
                case.recovered(gateway.wait_until_it_hears())
        gateway.kill()
        settle(case, gateway, sensors)
    case.close()


def test_a1_kill_at_each_crash_point(tmp_path: Path, mosquitto: Mosquitto) -> None:
    case = Case(id="A1-points", seed=seed(102))
    chance = case.random
    with bed(tmp_path / "bed", a_broker(mosquitto)) as gateway, Hub(gateway):
        gateway.start()
        gateway.wait_until_it_hears()
        sensors = Sensors(mosquitto.port, per_s=_PER_S)
        sensors.start()
        gateway.kill()
        for point in Point:
            gateway.start(crash_at(point, 1 if point is Point.BEFORE_TRIM else chance.randint(1, 4)))
            assert gateway.running.wait(timeout=30) == CRASHED, f"{point}: {gateway.said[-2000:]}"
            case.trials += 1
            case.reached[point] += 1
        settle(case, gateway, sensors)
    case.close(points=list(Point))


def test_a1_fails_when_the_broker_is_told_before_the_commit(tmp_path: Path, mosquitto: Mosquitto) -> None:
    case = Case(id="A1-broken:ack_before_commit", seed=seed(103))
    with bed(tmp_path / "bed", a_broker(mosquitto)) as gateway, Hub(gateway):
        gateway.start(crash_at(Point.BEFORE_APPEND, 3), Switch.ACK_BEFORE_COMMIT)
        gateway.wait_until_it_hears()
        sensors = Sensors(mosquitto.port, per_s=_PER_S)
        sensors.start()
        assert gateway.running.wait(timeout=30) == CRASHED
        case.trials += 1
        oracle = sensors.stop()
        gateway.start()
        gateway.wait_until_it_hears()
        (last,) = sensors.burst(1)  # behind everything that the broker still had for us
        poll("the last uplink", lambda: last in set(gateway.kept()))
        gateway.kill()
        case.take(oracle.judge(gateway.kept()))
    case.print()
    with pytest.raises(AssertionError, match="lost="):
        case.close()
    assert case.lost > 0
