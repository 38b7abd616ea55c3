"""B1 and B5: the broker forgets what it has acknowledged, or the hub takes nothing. Only the hub's word frees."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from gateway.delivery.client import Delivery
from tests.faults import harness
from tests.faults.hub_world import HubProcess, enrol, field_gateway, gateway_config, home_below, stored_readings, until
from tests.real_mosquitto import Mosquitto
from wire.mqtt import Broker, Link, Terms
from wire.topics import Subject, every_gateway

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
HUB_CLIENT_ID = "xom-hub"
BATCHES = 16  # a full window: as much as a gateway ever leaves with the broker alone


async def kill_the_broker(case: harness.Case, dsn: str, tmp_path: Path, mosquitto: Mosquitto) -> None:
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
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
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
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    let_pubacks_free(monkeypatch)
    case = harness.Case(id="B1-broken-puback_frees", seed=1, trials=1)
    await kill_the_broker(case, dsn, tmp_path, mosquitto)
    case.print()
    assert case.lost > 0


async def left_with_the_broker(broker: Mosquitto, home: Path) -> int:
    """Count the batches that a killed broker still has for the hub: a twin on a copy of its files is asked."""
    shutil.copytree(broker.home, home)
    twin, everything = Mosquitto(home), every_gateway(Subject.BATCH)
    twin.start()
    try:
        async with Link(Broker(port=twin.port), Terms(client_id=HUB_CLIENT_ID, subscriptions=[everything])) as link:
            await link.wait_connected()
            await link.publish(everything.replace("+", "gw-last"), b"last")  # comes after all that was waiting
            found: list[bytes] = []
            async for pack in link.packs(64):
                found += [message.payload for message in pack]
                link.acknowledge(pack)
                if found[-1] == b"last":
                    return len(found) - 1
    finally:
        twin.stop()
    raise AssertionError("the twin ended by itself")


async def test_b1_a_broker_with_default_settings_loses_what_it_acknowledged_and_the_gateway_has_it(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    """Persistence on, everything else as Mosquitto comes: it saves every half hour, and queues 1,000 messages."""
    batches, resend_s = (2_000, 60.0) if harness.FULL else (150, 6.0)
    hub = HubProcess(home_below(tmp_path, "hub"), dsn, mosquitto.port)
    config = gateway_config(tmp_path, "gw-a", mosquitto.port, hub.key.public)
    # All of them under way at once, which no gateway in the field does, and none repeated meanwhile.
    delivery_terms = msgspec.structs.replace(config.hub, window=batches, resend_s=resend_s)
    config = msgspec.structs.replace(config, hub=delivery_terms)
    await enrol(dsn, config)
    case = harness.Case(id="B1-defaults", seed=harness.seed(1), trials=1)
    try:
        hub.start()
        await until("the hub is ready", hub.ready)
        async with field_gateway(config) as field:
            delivery = field.gateway.delivery
            await field.produce()
            await until("the hub takes batches", lambda: field.confirmed)
            hub.kill()
            before = delivery.counters.sent
            await field.produce(batches=batches)
            await until("all PUBACKs", lambda: delivery.counters.sent >= before + batches, deadline_s=120)
            assert delivery.counters.unheard == 0
            mosquitto.kill()
            left = await left_with_the_broker(mosquitto, tmp_path / "twin")
            case.reached["acknowledged_by_puback"] = batches
            case.reached["lost_by_the_broker"] = batches - left
            mosquitto.start()
            hub.start()
            case.recovered(await until("everything confirmed", lambda: field.confirmed, deadline_s=240))
            case.take(field.oracle.judge(await stored_readings(dsn)))
    finally:
        hub.kill()
    case.close(points=["acknowledged_by_puback"])
    assert case.reached["lost_by_the_broker"] == batches, "this broker loses less than the one that we guard against"


async def stop_the_hub(
    case: harness.Case, dsn: str, tmp_path: Path, mosquitto: Mosquitto, *, broken: bool = False
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
            await until("the hub listens", hub.ready)
            await field.produce()
            await until("the hub takes batches", lambda: field.confirmed)
            delivery = field.gateway.delivery
            through = delivery.window.through
            assert broken or delivery.line_problem == ""
            hub.stop()
            await field.produce(batches=60)
            if broken:
                await until("the gateway believes that all is stored", lambda: field.confirmed)
                hub.start()
                await until("the hub listens", hub.ready)
                await field.produce()
                await until("the hub takes batches", lambda: hub.metric("xom_hub_readings_total") > 0)
            else:
                await until("it is said", lambda: "hub not taking data" in delivery.line_problem)
                assert delivery.counters.sent > 2 * BATCHES
                assert delivery.window.through == through
                assert (await field.gateway.spool.depth()).unconfirmed == 60
                hub.start()
                case.recovered(await until("everything confirmed", lambda: field.confirmed))
                assert delivery.line_problem == ""
            case.take(field.oracle.judge(await stored_readings(dsn)))
    finally:
        hub.kill()


async def test_b5_while_the_hub_takes_nothing_the_gateway_keeps_all_of_it(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="B5", seed=harness.seed(5), trials=1)
    await stop_the_hub(case, dsn, tmp_path, mosquitto)
    case.close()


async def test_b5_fails_when_a_puback_frees(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    let_pubacks_free(monkeypatch)
    case = harness.Case(id="B5-broken-puback_frees", seed=5, trials=1)
    await stop_the_hub(case, dsn, tmp_path, mosquitto, broken=True)
    case.print()
    assert case.lost > 0
