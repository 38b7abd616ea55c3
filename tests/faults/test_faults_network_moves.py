"""C3, C6, C7: a NAT that forgets, an address that changes, a link that flaps, black holes, small packets only."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.faults import harness
from tests.faults.hub_world import stored_readings, until
from tests.faults.network_bed import World, cable, far_broker, line, world  # noqa: F401 - fixtures
from tests.faults.network_line import Line
from tests.real_mosquitto import Mosquitto
from wire.mqtt import Terms
from wire.mqtt.connection import Connection
from wire.mqtt.opening import open_connection

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
KEEP_ALIVE_S = 3
SMALL_PACKETS = 576
FLAP_S = 3.0
OVERHEAD = 1.2


async def noticed_and_back(made: World, case: harness.Case) -> None:
    """Produce, wait until the dead connection is noticed and everything is confirmed over the next one."""
    losses = made.link.counters.losses
    await made.field.produce(batches=3)
    await until("the dead connection is noticed", lambda: made.link.counters.losses > losses, deadline_s=90)
    case.recovered(await made.settle(deadline_s=90))
    case.trials += 1


@harness.full_tier
@pytest.mark.faults_full
async def test_c3_a_nat_that_forgets_and_an_address_that_changes_lose_nothing(
    tmp_path: Path, dsn: str, far_broker: Mosquitto, line: Line  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id="C3", seed=harness.seed(33))
    async with world(tmp_path, dsn, far_broker, line.far, keep_alive_s=KEEP_ALIVE_S) as made:
        for _ in range(harness.trials(2, full=5)):
            line.forget_flows()
            await noticed_and_back(made, case)
            case.reached["nat_forgot"] += 1
        line.move()
        await noticed_and_back(made, case)
        case.reached["address_changed"] += 1
        case.take(made.field.oracle.judge(await stored_readings(dsn)))
    case.close(points=("nat_forgot", "address_changed"))


async def metered(made: World, line: Line, case: harness.Case, held_s: float) -> float:  # noqa: F811
    """Deliver a batch every two seconds; returns the bytes on the line for each byte of sealed batches."""
    spool, first = made.field.gateway.spool, made.field.gateway.delivery.window.highest + 1
    octets, ends = line.octets, time.monotonic() + held_s
    while time.monotonic() < ends:
        await made.produce_frames(50)
        await asyncio.sleep(2.0)
    case.recovered(await made.settle(deadline_s=120))
    last = made.field.gateway.delivery.window.highest
    sealed = [await spool.envelope(seq, made.field.gateway.delivery.window.epoch) for seq in range(first, last + 1)]
    return (line.octets - octets) / sum(len(one) for one in sealed if one)


async def flap(line: Line) -> None:  # noqa: F811
    while True:
        for cut in (True, False):
            line.up.cut = line.down.cut = cut
            await asyncio.sleep(FLAP_S)


@harness.full_tier
@pytest.mark.faults_full
async def test_c6_a_flapping_link_costs_few_bytes_and_loses_nothing(
    tmp_path: Path, dsn: str, far_broker: Mosquitto, line: Line  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id="C6", seed=harness.seed(66), trials=1)
    held_s = 60.0 * harness.trials(1, full=3)
    async with world(tmp_path, dsn, far_broker, line.far, resend_s=30.0) as made:
        line.degrade(delay_s=0.1)
        calm = await metered(made, line, case, held_s)
        connects = made.link.counters.connects
        flapping = asyncio.create_task(flap(line))
        rough = await metered(made, line, case, held_s)
        flapping.cancel()
        line.heal()
        await made.settle()
        case.reached["calm_percent_of_data"], case.reached["flapping_percent_of_data"] = (
            int(calm * 100),
            int(rough * 100),
        )
        case.reached["reconnects"] = made.link.counters.connects - connects
        case.take(made.field.oracle.judge(await stored_readings(dsn)))
    case.close()
    assert rough <= calm * OVERHEAD, case.line
    assert case.reached["reconnects"] <= 1 + held_s / 60, case.line


async def small_packets_only(made: World, line: Line, case: harness.Case, deadline_s: float) -> None:  # noqa: F811
    line.up.largest = line.down.largest = SMALL_PACKETS
    await made.produce_frames(100)
    case.recovered(await made.settle(deadline_s=deadline_s))


async def test_c7_where_only_small_packets_pass_and_nobody_says_so_delivery_goes_on(
    tmp_path: Path, dsn: str, far_broker: Mosquitto, line: Line  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id="C7-mtu", seed=harness.seed(77), trials=1)
    async with world(tmp_path, dsn, far_broker, line.far, keep_alive_s=KEEP_ALIVE_S) as made:
        await small_packets_only(made, line, case, 60)
        assert line.up.dropped > 0, "no packet was too large"
        case.take(made.field.oracle.judge(await stored_readings(dsn)))
    case.close()


async def test_c7_fails_when_large_packets_are_tried_for_ever(
    tmp_path: Path, dsn: str, far_broker: Mosquitto, line: Line, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    async def large(connection: Connection, terms: Terms, keep_alive_s: int, **_: object) -> None:
        await open_connection(connection, terms, keep_alive_s)

    monkeypatch.setattr("wire.mqtt.link.open_connection", large)
    case = harness.Case(id="C7-broken-large_packets_only", seed=77, trials=1)
    async with world(tmp_path, dsn, far_broker, line.far, keep_alive_s=KEEP_ALIVE_S) as made:
        with pytest.raises(AssertionError, match="everything confirmed"):
            await small_packets_only(made, line, case, 15)
        case.take(made.field.oracle.judge(await stored_readings(dsn)))
    case.print()
    assert case.lost > 0
