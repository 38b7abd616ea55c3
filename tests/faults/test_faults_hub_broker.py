"""B1 and B5: the broker forgets what it has acknowledged, or the hub takes nothing. Only the hub's word frees."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.delivery.client import Delivery
from tests.faults import harness
from tests.faults.hub_world import HubProcess, enrol, field_gateway, gateway_config, home_below, stored_readings, until
from tests.hub.conftest import dsn, postgres  # noqa: F401 - fixtures
from tests.real_mosquitto import Mosquitto
from wire.mqtt import Link

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
BATCHES = 16  # a full window: as much as a gateway ever leaves with the broker alone


async def kill_the_broker(case: harness.Case, dsn: str, tmp_path: Path, mosquitto: Mosquitto) -> None:  # noqa: F811
    """Leave a window of batches with the broker alone, kill it, bring everything back, and ask the oracle."""
    hub = HubProcess(home_below(tmp_path, "hub"), dsn, mosquitto.port)
    config = gateway_config(tmp_path, "gw-a", mosquitto.port, hub.key.public)
    await enrol(dsn, config)
    try:
        async with field_gateway(config) as field:
            delivery = field.gateway.delivery
            for _ in range(case.trials):
                hub.start()
                await field.produce()
                await until("the hub takes batches", lambda: field.confirmed)
                hub.kill()
                before = delivery.counters.sent
                await field.produce(batches=BATCHES)
                await until("a window full of PUBACKs", lambda: delivery.counters.sent >= before + BATCHES)  # noqa: B023
                case.reached["acknowledged_by_puback"] += BATCHES
                mosquitto.kill()
                mosquitto.start()
                hub.start()
                case.recovered(await until("everything confirmed", lambda: field.confirmed))
                hub.stop()
            case.take(field.oracle.judge(await stored_readings(dsn)))
    finally:
        hub.kill()


async def test_b1_a_broker_killed_with_acknowledged_messages_loses_nothing(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id="B1", seed=harness.seed(1), trials=harness.trials(2))
    await kill_the_broker(case, dsn, tmp_path, mosquitto)
    case.close(points=["acknowledged_by_puback"])


def let_pubacks_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the broker's word for the hub's."""
    publish = Delivery._publish

    async def trusting(self: Delivery, link: Link, seq: int) -> bool:
        taken = await publish(self, link, seq)
        self.window.through = max(self.window.through, seq)
        self.window._flights.clear()
        return taken

    monkeypatch.setattr(Delivery, "_publish", trusting)


async def test_b1_fails_when_a_puback_frees(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    let_pubacks_free(monkeypatch)
    case = harness.Case(id="B1-broken-puback_frees", seed=1, trials=1)
    await kill_the_broker(case, dsn, tmp_path, mosquitto)
    case.print()
    assert case.lost > 0


async def stop_the_hub(
    case: harness.Case, dsn: str, tmp_path: Path, mosquitto: Mosquitto, *, broken: bool = False  # noqa: F811
) -> None:  # fmt: skip
    """Let a gateway measure on while the hub takes nothing and the broker's queue is small; then let the hub take."""
    mosquitto.options = ["max_queued_messages 5"]
    mosquitto.restart()
    hub = HubProcess(home_below(tmp_path, "hub"), dsn, mosquitto.port)
    config = gateway_config(tmp_path, "gw-a", mosquitto.port, hub.key.public)
    await enrol(dsn, config)
    try:
        async with field_gateway(config) as field:
            hub.start()
            await field.produce()
            await until("the hub takes batches", lambda: field.confirmed)
            through = field.gateway.delivery.window.through
            hub.stop()
            await field.produce(batches=60)
            if broken:
                await until("the gateway believes that all is stored", lambda: field.confirmed)
                hub.start()
                await until("the hub listens", hub.ready)
                await field.produce()
                await until("the hub takes batches", lambda: hub.metric("xom_hub_readings_total") > 0)
            else:
                await until("a batch sent again", lambda: field.gateway.delivery.counters.sent > 3 * BATCHES)
                assert field.gateway.delivery.window.through == through
                assert (await field.gateway.spool.depth()).unconfirmed == 60
                await until("the gateway says so", lambda: "hub not taking data" in field.gateway.delivery.line_problem)
                hub.start()
                case.recovered(await until("everything confirmed", lambda: field.confirmed))
            case.take(field.oracle.judge(await stored_readings(dsn)))
    finally:
        hub.kill()


async def test_b5_while_the_hub_takes_nothing_the_gateway_keeps_all_of_it(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id="B5", seed=harness.seed(5), trials=1)
    await stop_the_hub(case, dsn, tmp_path, mosquitto)
    case.close()


async def test_b5_fails_when_a_puback_frees(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    let_pubacks_free(monkeypatch)
    case = harness.Case(id="B5-broken-puback_frees", seed=5, trials=1)
    await stop_the_hub(case, dsn, tmp_path, mosquitto, broken=True)
    case.print()
    assert case.lost > 0
