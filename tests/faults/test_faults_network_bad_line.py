"""C1: loss, a narrow line and a second of delay, all at once. Nothing lost, alarms in time, no reconnect loop."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.delivery.window import DeliveryWindow
from tests.faults import harness
from tests.faults.hub_world import stored_readings, until
from tests.faults.network_bed import World, cable, far_broker, line, world  # noqa: F401 - fixtures
from tests.faults.network_line import Line
from tests.real_mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
BITS_PER_S, DELAY_S = 128_000, 1.0
RESEND_S = 30.0  # the product's own; the other cases' 1 s is shorter than this line's round trip
LONGEST_ATTEMPT_S = 90.0
HOPELESS = 60  # percent each way: 16 of 100 round trips come through


async def bad_line(world: World, line: Line, case: harness.Case, alarms: harness.Case, percent: int) -> None:  # noqa: F811
    """Batches and an alarm over the bad line, its connection lost on the way; then it heals, and all must be there."""
    line.degrade(bits_per_s=BITS_PER_S, delay_s=DELAY_S)
    for _ in range(2):  # TCP has measured a quick line until now, and would repeat five times a second
        await world.field.produce()
        await world.settle()
    began = time.monotonic()
    attempts, dropped = world.link.connection_number, 0
    line.degrade(loss=percent / 100, bits_per_s=BITS_PER_S, delay_s=DELAY_S)
    for trial in range(case.trials):
        await world.field.produce(readings=20, batches=3)
        if percent == HOPELESS:
            await asyncio.sleep(60.0 if harness.FULL else 4.0)
        else:
            alarms.recovered(await world.alarm())
            alarms.trials += 1
        if harness.FULL or percent == 5:
            await world.field.produce(batches=2)
            if world.link.connected:  # else the line itself has taken it, and another is under way
                known = world.link.counters.losses
                world.drop_connection()
                await until("the loss is noticed", lambda: world.link.counters.losses > known)  # noqa: B023
                dropped += 1
        if percent < HOPELESS:
            case.recovered(await world.settle(deadline_s=300))
            case.reached["delivered_on_the_bad_line"] += 1
        elif trial + 1 < case.trials:
            await asyncio.sleep(60.0)
    held_s = time.monotonic() - began
    tried = world.link.connection_number - attempts
    case.reached["attempts"] += tried
    assert tried <= dropped + 1 + held_s / LONGEST_ATTEMPT_S, f"a reconnect loop: {tried} attempts in {held_s:.0f} s"
    line.heal()
    case.recovered(await world.settle(deadline_s=120))


@pytest.mark.parametrize("percent", [5, 30, HOPELESS])
async def test_c1_a_bad_line_delays_and_loses_nothing(
    tmp_path: Path, dsn: str, far_broker: Mosquitto, line: Line, percent: int  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id=f"C1-{percent}", seed=harness.seed(21), trials=harness.trials(1, full=4))
    alarms = harness.Case(id=f"C1-{percent}-alarm", seed=case.seed)
    line.seed = case.seed
    async with world(tmp_path, dsn, far_broker, line.far, resend_s=RESEND_S) as made:
        await bad_line(made, line, case, alarms, percent)
        case.take(made.field.oracle.judge(await stored_readings(dsn)))
    if alarms.trials:
        alarms.close()
    case.close()


async def test_c1_fails_when_nothing_is_sent_again(
    tmp_path: Path, dsn: str, far_broker: Mosquitto, line: Line, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setattr(DeliveryWindow, "reconnect", lambda _: None)
    monkeypatch.setattr(DeliveryWindow, "fail", lambda *_, **__: None)
    monkeypatch.setattr(DeliveryWindow, "_resend_at", lambda *_: float("inf"))
    monkeypatch.setattr(World, "settle", _settle_briefly)
    case = harness.Case(id="C1-broken-nothing_sent_again", seed=21, trials=1)
    async with world(tmp_path, dsn, far_broker, line.far, resend_s=RESEND_S) as made:
        with pytest.raises(AssertionError, match="everything confirmed"):
            await bad_line(made, line, case, harness.Case(id="C1-broken-alarm", seed=21), 5)
        case.take(made.field.oracle.judge(await stored_readings(dsn)))
    case.print()
    assert case.lost > 0


async def _settle_briefly(world: World, *, deadline_s: float = 60.0) -> float:
    return await until("everything confirmed", lambda: world.field.confirmed, deadline_s=min(deadline_s, 12))
