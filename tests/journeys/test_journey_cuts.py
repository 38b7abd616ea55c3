"""The line is cut midway, everywhere it can be cut: nothing is lost, nothing is stored twice, all is confirmed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from simulators.faults import Faults
from tests.hub.ingest.running import items, until
from tests.journeys.village_line import Village, village_line
from tests.real_mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]

FIELD = Faults(loss=0.05, duplicate=0.05, late=0.05, rejoin=0.01)


async def everything_arrived_once(village: Village) -> None:
    verdict = await village.audit()
    assert (verdict.lost, verdict.duplicate, verdict.invented) == (0, 0, 0)
    assert verdict.stored == verdict.produced == len(village.truths) > 0
    batches = Counter((batch.gateway, batch.epoch, batch.seq) for batch in await village.batches())
    assert set(batches.values()) == {1}
    assert await village.hub.part.missing_batches() == 0
    assert await items(village.hub.part, "/incidents") == []
    for name, gateway in village.gateways.items():
        position = await gateway.part.spool.position()
        assert sum(key[0] == name for key in batches) == position.last_seq == position.through


def unconfirmed(village: Village) -> int:
    windows = [gateway.part.delivery.window for gateway in village.gateways.values()]
    return sum(window.highest - window.through for window in windows)


async def test_the_hubs_broker_dies_and_the_hub_is_restarted_midway(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:
    async with village_line(tmp_path, dsn=dsn, broker=mosquitto, faults=FIELD, gateways=2) as village:
        await village.start_hub()
        await village.start_gateways()
        await village.pass_minutes(12)
        mosquitto.kill()
        await village.pass_minutes(12)
        assert unconfirmed(village) > 0, "the line was cut"
        mosquitto.start()
        await village.pass_minutes(4)
        await village.confirmed()
        await village.hub.stop()
        await village.pass_minutes(12)
        assert unconfirmed(village) > 0, "the hub was away"
        mosquitto.persistence = False
        mosquitto.restart()
        await village.pass_minutes(4)
        await village.start_hub()
        await village.finish()
        await everything_arrived_once(village)


async def test_a_gateway_collects_from_the_first_second_though_the_hub_has_never_been_there(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:
    mosquitto.stop()
    async with village_line(tmp_path, dsn=dsn, broker=mosquitto, faults=FIELD) as village:
        await village.start_gateways()
        await village.pass_minutes(25)
        assert unconfirmed(village) > 10, "it seals on, with nobody to send to"
        mosquitto.start()
        await village.start_hub()
        await village.finish()
        await everything_arrived_once(village)


async def test_a_gateway_and_its_own_broker_are_restarted_while_sensors_go_on(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:
    async with village_line(tmp_path, dsn=dsn, broker=mosquitto, faults=FIELD) as village:
        await village.start_hub()
        await village.start_gateways()
        await village.pass_minutes(12)
        [gateway] = village.gateways.values()
        await gateway.stop()
        # What comes meanwhile waits in the session that the local broker holds for the gateway.
        now_ms = village.simulation.now_ms + 12 * 60_000
        events = village.simulation.advance(now_ms)
        assert events
        village.clock.advance(now_ms)
        await village.publish(events)
        village.sensors.restart()
        await village.start_gateways()
        await village.kept()
        await village.pass_minutes(5)
        first = gateway.part.source
        assert first is not None
        number = first.link.connection_number
        village.sensors.restart()
        await until(lambda: first.link.connection_number > number and first.link.connected, "the sensors are heard")
        await village.pass_minutes(8)
        await village.finish()
        await everything_arrived_once(village)
