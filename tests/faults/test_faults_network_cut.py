"""C4: the line is cut after exactly N bytes, up or down. No wedge, nothing lost, nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import harness
from tests.faults.hub_world import (
    enrol,
    field_gateway,
    gateway_config,
    home_below,
    running_hub,
    stored_readings,
    until,
)
from tests.faults.network_relay import cutting_relay
from tests.hub.conftest import dsn, postgres  # noqa: F401 - fixtures
from tests.real_mosquitto import Mosquitto
from wire.backoff import Backoff
from wire.mqtt import Link

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
FURTHEST = 4096


async def test_c4_a_line_cut_after_any_byte_neither_wedges_nor_loses(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id="C4", seed=harness.seed(44), trials=harness.trials(60))
    chance = case.random
    # Only so that sixty reconnections fit into a minute: what is asked is that each comes, not when.
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.02)
    async with (
        cutting_relay(mosquitto.port) as relay,
        running_hub(home_below(tmp_path, "hub"), dsn, mosquitto.port) as hub,
    ):
        config = gateway_config(tmp_path, "gw-a", relay.port, hub.key.public)
        await enrol(dsn, config)
        await hub.enrolled.refresh(at_once=True)
        async with field_gateway(config) as field:
            link = field.gateway.delivery._link
            assert isinstance(link, Link)
            await link.wait_connected()
            for trial in range(case.trials):
                direction, cuts = ("up", "down")[trial % 2], relay.cuts
                # Half of them inside CONNECT, CONNACK and SUBACK, which are short.
                relay.arm(direction, chance.randint(0, 120 if trial % 4 < 2 else FURTHEST))
                began = field.gateway.delivery.counters.sent
                while relay.cuts == cuts:
                    await field.produce(readings=20)
                    sealed = field.gateway.delivery.window.highest
                    await until(
                        "delivery or the cut",
                        lambda: relay.cuts > cuts or field.gateway.delivery.window.through >= sealed,  # noqa: B023
                    )
                assert field.gateway.delivery.counters.sent >= began
                case.reached[direction] += 1
                case.recovered(await until("everything confirmed", lambda: field.confirmed))
            case.take(field.oracle.judge(await stored_readings(dsn)))
    case.close(points=("up", "down"))
