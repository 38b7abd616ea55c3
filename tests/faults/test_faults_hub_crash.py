"""B3 and B4: the hub is killed at every instant of a batch's way through it, and nothing is lost or stored twice."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from hub.crash import Point, crash_points
from tests.faults import harness
from tests.faults.hub_world import HubProcess, enrol, field_gateway, gateway_config, home_below, stored_readings, until
from tests.real_mosquitto import Mosquitto
from wire.configuration import ConfigError

AFTER_COMMIT = (Point.AFTER_COMMIT, Point.AFTER_PUBACK, Point.BEFORE_ACK, Point.AFTER_ACK)
BEFORE_COMMIT = (Point.RECEIVED, Point.BEFORE_COMMIT)


async def crash_often(
    case: harness.Case, points: tuple[Point, ...], hub: HubProcess, tmp_path: Path, mosquitto: Mosquitto
) -> harness.Case:
    """Kill the hub at the points in turn while a gateway goes on; let it recover, and ask the oracle."""
    chance = case.random
    config = gateway_config(tmp_path, "gw-a", mosquitto.port, hub.key.public)
    await enrol(hub.dsn, config)
    try:
        async with field_gateway(config) as field:
            for trial in range(case.trials):
                point = points[trial % len(points)]
                hub.start(harness.crash_at(point, chance.randint(1, 3)))
                while hub.returncode is None:
                    await field.produce()
                    sealed = field.gateway.delivery.window.highest
                    await until(
                        "a commit or a crash",
                        lambda: hub.returncode is not None or field.gateway.delivery.window.through >= sealed,  # noqa: B023
                    )
                assert hub.returncode == harness.CRASHED, hub.log[-2000:]
                case.reached[point] += 1
            hub.start()
            await field.produce()
            case.recovered(await until("everything confirmed", lambda: field.confirmed))
            case.take(field.oracle.judge(await stored_readings(hub.dsn)))
    finally:
        hub.kill()
    return case


def a_hub(tmp_path: Path, dsn: str, mosquitto: Mosquitto, broken: str = "") -> HubProcess:
    return HubProcess(home_below(tmp_path, "hub"), dsn, mosquitto.port, broken)


@pytest.mark.mosquitto
@pytest.mark.postgres
async def test_b3_a_hub_killed_after_its_commit_stores_nothing_twice(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="B3", seed=harness.seed(3), trials=harness.trials(8))
    await crash_often(case, AFTER_COMMIT, a_hub(tmp_path, dsn, mosquitto), tmp_path, mosquitto)
    case.close(points=AFTER_COMMIT)


@pytest.mark.mosquitto
@pytest.mark.postgres
async def test_b4_a_hub_killed_before_its_commit_loses_nothing(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="B4", seed=harness.seed(4), trials=harness.trials(6))
    await crash_often(case, BEFORE_COMMIT, a_hub(tmp_path, dsn, mosquitto), tmp_path, mosquitto)
    case.close(points=BEFORE_COMMIT)


@pytest.mark.mosquitto
@pytest.mark.postgres
async def test_b3_fails_without_the_dedup_key(tmp_path: Path, dsn: str, mosquitto: Mosquitto) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("alter table batch drop constraint batch_pkey")
    case = harness.Case(id="B3-broken-no_dedup_key", seed=3, trials=2)
    await crash_often(case, AFTER_COMMIT, a_hub(tmp_path, dsn, mosquitto, "no_dedup_key"), tmp_path, mosquitto)
    case.print()
    assert case.duplicate > 0


@pytest.mark.mosquitto
@pytest.mark.postgres
async def test_b4_fails_when_the_hub_acknowledges_before_its_commit(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="B4-broken-ack_before_commit", seed=4, trials=2)
    points = (Point.BEFORE_COMMIT,)
    await crash_often(case, points, a_hub(tmp_path, dsn, mosquitto, "ack_before_commit"), tmp_path, mosquitto)
    case.print()
    assert case.lost > 0


@pytest.mark.parametrize("wanted", ["nope", "received:0", "received:x"])
def test_an_unknown_crash_point_ends_the_start(wanted: str) -> None:
    with pytest.raises(ConfigError, match="received, before_commit"):
        crash_points({"XOM_CRASH_AT": wanted})


def test_without_the_variable_nothing_is_armed() -> None:
    reach = crash_points({})
    for point in Point:
        reach(point)
