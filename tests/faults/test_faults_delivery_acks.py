"""B14: whoever can publish on the broker, and has no key of the hub's, frees not one reading on a gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import harness
from tests.faults.hub_world import Field, field_gateway, gateway_config, until
from tests.real_mosquitto import Mosquitto
from wire.ack import MAX_ACK_BYTES, Ack, seal_ack
from wire.dsse import Envelope
from wire.identity import Epoch, GatewayId
from wire.keys import SigningKey, Verifier
from wire.mqtt import Broker, Link, Terms

pytestmark = pytest.mark.mosquitto
TOPIC = "xom/v1/gw/gw-a/down/ack"
INCARNATION = 2_000


def forgeries(hub: SigningKey, epoch: Epoch, sealed: int) -> Iterator[tuple[str, bytes]]:
    """Yield what an attacker may publish: with a key of their own, or replayed from what the hub once signed."""
    everything = {"incarnation": INCARNATION + 1, "epoch": epoch, "through": sealed, "highest": sealed}
    ours = GatewayId("gw-a")
    yield "another key", seal_ack(Ack(gateway=ours, **everything), SigningKey.generate())  # type: ignore[arg-type]
    true = seal_ack(Ack(gateway=ours, **everything), hub)  # type: ignore[arg-type]
    named = Envelope.decode(seal_ack(Ack(gateway=ours, **everything), SigningKey.generate()))  # type: ignore[arg-type]
    yield (
        "another key under our hub's name",
        Envelope(named.payload_type, named.payload, hub.public.keyid, named.signature).encode(),
    )
    yield "a signature that was cut", true[:-8]
    yield "a bit flipped", true[:40] + bytes([true[40] ^ 1]) + true[41:]
    yield "not an acknowledgement", b"{}"
    yield "nothing", b""
    yield "too much", b"x" * (MAX_ACK_BYTES + 1)
    yield "another gateway's", seal_ack(Ack(gateway=GatewayId("gw-b"), **everything), hub)  # type: ignore[arg-type]
    other = everything | {"epoch": Epoch.new()}
    yield "another epoch's", seal_ack(Ack(gateway=ours, **other), hub)  # type: ignore[arg-type]
    old = everything | {"incarnation": INCARNATION - 1}
    yield "an older incarnation's", seal_ack(Ack(gateway=ours, **old), hub)  # type: ignore[arg-type]
    beyond = everything | {"through": sealed + 1, "highest": sealed + 1}
    yield "of what was never sealed", seal_ack(Ack(gateway=ours, **beyond), hub)  # type: ignore[arg-type]


async def attack(field: Field, link: Link, hub: SigningKey) -> dict[str, int]:
    """Publish every forgery, retained; returns the watermark after each."""
    delivery, after = field.gateway.delivery, {}
    position = await field.gateway.spool.position()
    for name, payload in forgeries(hub, position.epoch, position.last_seq):
        refused, taken = delivery.counters.acks_refused, delivery.counters.acks
        await link.publish(TOPIC, payload, retain=True)
        if payload:  # a retained nothing is delivered as nothing, which is refused as well
            await until(
                f"the gateway has read: {name}",
                lambda: (delivery.counters.acks_refused, delivery.counters.acks) != (refused, taken),  # noqa: B023
            )
        after[name] = await watermark(field, position.epoch)
    return after


async def watermark(field: Field, epoch: Epoch) -> int:
    """What the spool holds as confirmed of an epoch, also of one that has been ended."""
    now = await field.gateway.spool.position()
    older = {one.epoch: one.through for one in await field.gateway.spool.older()}
    return now.through if now.epoch == epoch else older[epoch]


async def prepare(field: Field, link: Link, hub: SigningKey) -> None:
    """Seal ten batches, of which the hub confirms three."""
    await field.produce(batches=10)
    epoch = (await field.gateway.spool.position()).epoch
    ack = Ack(gateway=GatewayId("gw-a"), incarnation=INCARNATION, epoch=epoch, through=3, highest=3)
    await link.publish(TOPIC, seal_ack(ack, hub), retain=True)
    await until("the true acknowledgement", lambda: field.gateway.delivery.window.through == 3)


async def test_b14_no_forged_or_replayed_acknowledgement_frees_a_reading(tmp_path: Path, mosquitto: Mosquitto) -> None:
    case = harness.Case(id="B14", seed=harness.seed(14))
    hub = SigningKey.generate()
    config = gateway_config(tmp_path, "gw-a", mosquitto.port, hub.public)
    async with Link(Broker(port=mosquitto.port), Terms(client_id="attacker")) as link:
        await link.wait_connected()
        async with field_gateway(config) as field:
            await prepare(field, link, hub)
            after = await attack(field, link, hub)
            case.trials, case.stored = len(after), field.gateway.spool.appended
            case.lost = sum(through != 3 for through in after.values())
        # The last forgery stayed retained: a gateway that starts anew reads it first.
        async with field_gateway(config) as field:
            await until("the retained forgery", lambda: field.gateway.delivery.counters.acks_refused > 0)
            depth = await field.gateway.spool.depth()
            case.lost += depth.unconfirmed < 7
    case.close()


async def test_b14_fails_when_the_signature_is_not_checked(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = SigningKey.generate()
    config = gateway_config(tmp_path, "gw-a", mosquitto.port, hub.public)
    monkeypatch.setattr(Verifier, "verify", lambda *_: True)
    async with Link(Broker(port=mosquitto.port), Terms(client_id="attacker")) as link:
        await link.wait_connected()
        async with field_gateway(config) as field:
            await prepare(field, link, hub)
            after = await attack(field, link, hub)
    assert any(through != 3 for through in after.values())
