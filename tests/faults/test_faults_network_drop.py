"""C2: half-open lines, by nftables in a namespace. Both sides notice within 90 s, it heals, nothing twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.config import Hub
from tests.faults import harness
from tests.faults.hub_world import stored_readings, until
from tests.faults.network_bed import World, cable, far_broker, local_port, world  # noqa: F401 - fixtures
from tests.faults.network_namespace import Cable
from tests.real_mosquitto import Mosquitto
from wire.mqtt import Terms

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
KEEP_ALIVE_S = 3  # seconds here in place of 40: a stalled machine must not miss one
NOTICED_S = 90.0
OUR_KEEP_ALIVES = 2.0  # paho: one of silence until the ping, one of silence after it
BROKERS_KEEP_ALIVES, BROKERS_CHECK_S = 1.5, 6.0  # Mosquitto 2.0.11 looks every six seconds
TICK_S = 1.0
_BROKERS_WORDS = tuple(
    f"Client gw-a {word}" for word in ("closed its connection", "has exceeded timeout", "already connected", "disconn")
)


def test_the_products_keep_alive_lets_both_sides_notice_in_time() -> None:
    assert Terms(client_id="x").keep_alive_s == Hub().keep_alive_s
    assert Hub().keep_alive_s * OUR_KEEP_ALIVES + TICK_S < NOTICED_S
    assert Hub().keep_alive_s * BROKERS_KEEP_ALIVES + BROKERS_CHECK_S < NOTICED_S


async def half_open(
    world: World, case: harness.Case, cable: Cable, broker: Mosquitto, deadline_s: float  # noqa: F811
) -> None:  # fmt: skip
    """Cut one direction of the standing connection, wait until both ends have noticed, then the other one."""
    link = world.link
    for way in ("gateway_to_hub", "hub_to_gateway") * case.trials:
        await link.wait_connected()
        await world.settle()
        port, losses, log = local_port(link), link.counters.losses, len(broker.log)
        connects = link.counters.connects
        if way == "hub_to_gateway":
            cable.drop(from_far=f"tcp dport {port}")
        else:
            cable.drop(to_far=f"tcp sport {port}")
        await world.field.produce(batches=3)
        noticed = await until("we notice", lambda: link.counters.losses > losses, deadline_s=deadline_s)  # noqa: B023
        case.recovered(noticed)
        # The broker: that we are silent, or that we are back while it still had the old connection.
        await until(
            "the broker notices",
            lambda: any(word in broker.log[log:] for word in _BROKERS_WORDS),  # noqa: B023
            deadline_s=max(0.1, deadline_s - noticed),
        )
        await world.settle(deadline_s=90)
        assert link.counters.connects <= connects + 2, "reconnected, and not again and again"
        cable.heal()
        case.reached[way] += 1


async def test_c2_a_half_open_line_is_noticed_by_both_sides_and_nothing_is_lost(
    tmp_path: Path, dsn: str, cable: Cable, far_broker: Mosquitto  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id="C2", seed=harness.seed(22), trials=harness.trials(1, full=5))
    async with world(tmp_path, dsn, far_broker, cable.far, keep_alive_s=KEEP_ALIVE_S) as made:
        await half_open(made, case, cable, far_broker, NOTICED_S)
        case.take(made.field.oracle.judge(await stored_readings(dsn)))
    case.close(points=("hub_to_gateway", "gateway_to_hub"))


@harness.full_tier
@pytest.mark.faults_full
async def test_c2_with_the_products_own_keep_alive_it_is_noticed_within_90_s(
    tmp_path: Path, dsn: str, cable: Cable, far_broker: Mosquitto  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id="C2-product", seed=harness.seed(22), trials=1)
    async with world(tmp_path, dsn, far_broker, cable.far) as made:
        await half_open(made, case, cable, far_broker, NOTICED_S)
        case.take(made.field.oracle.judge(await stored_readings(dsn)))
    case.close(points=("hub_to_gateway", "gateway_to_hub"))


async def test_c2_fails_when_nobody_keeps_the_line_alive(
    tmp_path: Path, dsn: str, cable: Cable, far_broker: Mosquitto  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id="C2-broken-no_keep_alive", seed=22, trials=1)
    async with world(tmp_path, dsn, far_broker, cable.far, keep_alive_s=0) as made:
        with pytest.raises(AssertionError, match="we notice"):
            await half_open(made, case, cable, far_broker, 3 * KEEP_ALIVE_S)
        case.take(made.field.oracle.judge(await stored_readings(dsn)))
    case.print()
    assert case.lost > 0


@harness.full_tier
@pytest.mark.faults_full
async def test_c2_ten_minutes_without_an_answer_cost_no_storm_and_nothing_is_lost(
    tmp_path: Path, dsn: str, cable: Cable, far_broker: Mosquitto  # noqa: F811
) -> None:  # fmt: skip
    """Every answer is dropped, also those to new connections."""
    case = harness.Case(id="C2-no_answer", seed=harness.seed(23), trials=1)
    held_s = 600.0
    async with world(tmp_path, dsn, far_broker, cable.far, keep_alive_s=KEEP_ALIVE_S) as made:
        tried = made.link.connection_number
        cable.drop(from_far=f"tcp sport {far_broker.port} tcp dport != {local_port(made.hub.link)}")
        await made.field.produce(batches=3)
        await until("the dead line is noticed", lambda: not made.link.connected, deadline_s=90)
        await asyncio.sleep(held_s)
        attempts = made.link.connection_number - tried
        assert attempts <= 2 + held_s / 10, f"{attempts} attempts in {held_s:.0f} s"
        cable.heal()
        case.recovered(await made.settle(deadline_s=400))
        case.reached["attempts"] += attempts
        case.take(made.field.oracle.judge(await stored_readings(dsn)))
    case.close()
