"""B6: PostgreSQL is killed or stopped at once under load, and comes back. The hub goes on by itself, once each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.store.migrate import migrate
from tests.faults import harness
from tests.faults.hub_postgres import MortalPostgres
from tests.faults.hub_world import (
    Field,
    HubProcess,
    enrol,
    field_gateway,
    gateway_config,
    home_below,
    stored_readings,
    until,
)
from tests.real_mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
UNAVAILABLE = 503


@pytest.fixture
def mortal() -> Iterator[MortalPostgres]:
    server = MortalPostgres()
    try:
        server.make()
        yield server
    finally:
        server.remove()


async def load(field: Field, stop: asyncio.Event) -> None:
    """Produce until told to stop. Not cancelled: that would leave a reading kept of which the oracle never heard."""
    while not stop.is_set():
        await field.produce()
        await asyncio.sleep(0)


def says_why(hub: HubProcess) -> bool:
    """Whether the API answers 503 with a reason and a remedy, and no stack trace."""
    answer = hub.get("/api/v1/gateways")
    if answer is None or answer.status_code != UNAVAILABLE:
        return False
    problem = answer.json()
    assert "database is not available" in problem["detail"], problem
    assert problem["remedy"]
    assert "Traceback" not in answer.text
    return True


async def take_the_database_away(
    case: harness.Case, tmp_path: Path, mosquitto: Mosquitto, mortal: MortalPostgres, broken: str = ""
) -> None:
    """End the database under load, as often as the case has trials; bring it back, and ask the oracle."""
    hub = HubProcess(home_below(tmp_path, "hub"), mortal.dsn, mosquitto.port, broken)
    await migrate(mortal.dsn)
    config = gateway_config(tmp_path, "gw-a", mosquitto.port, hub.key.public)
    await enrol(mortal.dsn, config)
    hub.start()
    try:
        async with field_gateway(config) as field:
            await field.produce()
            await until("the hub takes batches", lambda: field.confirmed)
            for trial in range(case.trials):
                stop = asyncio.Event()
                loading = asyncio.create_task(load(field, stop))
                through = field.gateway.delivery.window.through
                await until("load", lambda: field.gateway.delivery.window.through >= through + 5)  # noqa: B023
                way, end = (("kill -9", mortal.kill), ("immediate", mortal.stop_at_once))[trial % 2]
                await asyncio.to_thread(end)
                case.reached[way] += 1
                stop.set()
                await loading
                await asyncio.to_thread(
                    harness.poll, "503 with a reason", lambda: says_why(hub), deadline_s=60
                )  # the loop stays free for the gateway
                if broken:  # it says so while there is no database
                    await field.produce(batches=3)
                    await until("everything confirmed", lambda: field.confirmed)
                await asyncio.to_thread(mortal.start)
                case.recovered(await until("everything confirmed", lambda: field.confirmed))
                assert hub.returncode is None, "the hub did not survive"
            case.take(field.oracle.judge(await stored_readings(mortal.dsn)))
    finally:
        hub.kill()


async def test_b6_the_hub_outlives_its_database(tmp_path: Path, mosquitto: Mosquitto, mortal: MortalPostgres) -> None:
    case = harness.Case(id="B6", seed=harness.seed(6), trials=harness.trials(2))
    await take_the_database_away(case, tmp_path, mosquitto, mortal)
    case.close()


async def test_b6_fails_when_the_hub_gives_up_on_its_database(
    tmp_path: Path, mosquitto: Mosquitto, mortal: MortalPostgres
) -> None:
    case = harness.Case(id="B6-broken-gives_up", seed=6, trials=1)
    await take_the_database_away(case, tmp_path, mosquitto, mortal, "gives_up")
    case.print()
    assert case.lost > 0
