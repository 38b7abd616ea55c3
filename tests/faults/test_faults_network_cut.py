"""C4: the line is cut after exactly N bytes, up or down. No wedge, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.delivery.client import Delivery
from hub.assembly import Hub
from tests.certificates import Authority
from tests.faults import harness
from tests.faults.hub_world import (
    Field,
    enrol,
    field_gateway,
    gateway_config,
    home_below,
    running_hub,
    stored_readings,
    until,
)
from tests.faults.network_relay import CuttingRelay, cutting_relay
from tests.real_mosquitto import Mosquitto, free_port
from wire.backoff import Backoff
from wire.mqtt import Broker, Link, Terms, Unavailable

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
FURTHEST = 4096
SHORT = 160  # CONNECT, CONNACK and SUBACK lie below
TLS_OPENING = {"up": 500, "down": 1_000}  # bytes that TLS, CONNECT and SUBSCRIBE take at least
LANES = 4  # gateways side by side, each on a relay of its own
PLACES = ("up:opening", "up:delivery", "down:opening", "down:delivery")
Cut = tuple[str, int]


@dataclass(slots=True)
class Lane:
    """One gateway behind one relay."""

    field: Field
    relay: CuttingRelay

    @property
    def link(self) -> Link:
        found = self.field.gateway.delivery._link
        assert found is not None
        return found

    async def suffer(self, case: harness.Case, direction: str, after: int) -> None:
        """Cut the next connection after so many bytes, then wait until everything is confirmed."""
        delivery, cuts, connects = self.field.gateway.delivery, self.relay.cuts, self.link.counters.connects
        self.relay.arm(direction, after)
        while self.relay.cuts == cuts:
            await self.field.produce(readings=20 if direction == "up" else 2)
            sealed = delivery.window.highest
            await until(
                f"delivery, or the cut after {after} bytes {direction}",
                lambda: self.relay.cuts > cuts or delivery.window.through >= sealed,  # noqa: B023
            )
        place = "delivery" if self.link.counters.connects > connects else "opening"
        case.recovered(await until(f"confirmed after {after} {direction}", lambda: self.field.confirmed))
        case.reached[f"{direction}:{place}"] += 1
        case.trials += 1


async def lane_to(stack: AsyncExitStack, home: Path, name: str, dsn: str, broker: Mosquitto, hub: Hub) -> Lane:
    """Enrol and run one gateway."""
    relay = await stack.enter_async_context(cutting_relay(broker.port))
    config = gateway_config(home, name, relay.port, hub.key.public)
    await enrol(dsn, config)
    await hub.enrolled.refresh(at_once=True)
    lane = Lane(await stack.enter_async_context(field_gateway(config)), relay)
    await lane.link.wait_connected()
    return lane


async def sweep(
    case: harness.Case, cuts: Sequence[Cut], home: Path, dsn: str, broker: Mosquitto, lanes: int = LANES
) -> None:  # fmt: skip
    """Make every cut once, shared out over the lanes."""
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running_hub(home_below(home, "hub"), dsn, broker.port))
        made = [await lane_to(stack, home, f"gw-{number}", dsn, broker, hub) for number in range(lanes)]

        async def suffer_share(number: int) -> None:
            for direction, after in cuts[number::lanes]:
                await made[number].suffer(case, direction, after)

        try:
            await asyncio.gather(*(suffer_share(number) for number in range(lanes)))
        finally:
            stored = await stored_readings(dsn)
            for lane in made:
                own = str(lane.field.gateway.config.gateway.id)
                case.take(lane.field.oracle.judge(key for key in stored if key[0] == own))


def places(case: harness.Case, count: int) -> list[Cut]:
    """Choose where to cut: every byte of both directions in tier F, else some, half of them in the short packets."""
    if harness.FULL and count > FURTHEST:
        return [(direction, after) for after in range(FURTHEST + 1) for direction in ("up", "down")]
    chance = case.random
    return [
        (("up", "down")[at % 2], chance.randint(0, SHORT if at % 4 < 2 else FURTHEST)) for at in range(count)
    ]  # fmt: skip


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so that the reconnections fit into a minute: what is asked is that each comes, not when."""
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.02)


@pytest.mark.usefixtures("at_once")
async def test_c4_a_line_cut_after_any_byte_neither_wedges_nor_loses(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="C4", seed=harness.seed(44))
    await sweep(case, places(case, harness.trials(60, full=FURTHEST + 1)), tmp_path, dsn, mosquitto)
    case.close(points=PLACES)


@pytest.mark.usefixtures("at_once")
async def test_c4_fails_when_sent_is_taken_for_stored(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    async def careless(self: Delivery, link: Link, seq: int, *older: object) -> None:
        envelope = await self.spool.envelope(seq, self.window.epoch)
        assert envelope is not None
        with suppress(Unavailable):  # it has been handed to the socket: that will do
            await link.publish("xom/v1/gw/gw-0/up/batch", envelope)
        self.window.through = max(self.window.through, seq)
        self.window._flights.pop(seq, None)
        self._wake.set()

    monkeypatch.setattr(Delivery, "_publish", careless)
    case = harness.Case(id="C4-broken-sent_is_stored", seed=44)
    await sweep(case, [("up", after) for after in range(400, 1400, 100)], tmp_path, dsn, mosquitto, lanes=1)
    case.print()
    assert case.lost > 0


@pytest.mark.parametrize("silently", [False, True], ids=["cut", "black_hole"])
async def test_c4_and_c7_over_tls_every_opening_that_fails_is_followed_by_another(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch, silently: bool
) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.02)
    case = harness.Case(id="C7-black_hole" if silently else "C4-tls", seed=harness.seed(47))
    ca, port = Authority(tmp_path / "ca"), free_port()
    server = ca.sign("server", host="127.0.0.1")
    mosquitto.options = [
        f"listener {port} 127.0.0.1", f"cafile {ca.file}", f"certfile {server.certificate}",
        f"keyfile {server.key}",
    ]  # fmt: skip
    mosquitto.restart()
    chance = case.random
    patience = 1.0 if silently else 30.0
    async with cutting_relay(port) as relay:
        terms = Terms(client_id="gw-a", subscriptions=["down/#"], connect_timeout_s=patience)
        async with Link(Broker(port=relay.port, tls_ca=ca.file), terms) as link:
            await link.wait_connected()
            for trial in range(harness.trials(4 if silently else 60, full=30 if silently else 1_000)):
                direction, cuts = ("up", "down")[trial % 2], relay.cuts
                relay.arm(direction, chance.randint(0, TLS_OPENING[direction]), silently=silently)
                await until("the cut", lambda: relay.cuts > cuts)  # noqa: B023
                case.recovered(await until("up again", lambda: relay.cut_after is None and link.connected))
                await link.publish("up/x", b"x")
                case.reached[direction] += 1
                case.trials += 1
    case.close(points=("up", "down"))
