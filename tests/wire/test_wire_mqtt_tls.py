"""The transport over TLS: who is let in, who is believed, and that no byte stays behind in a half-read record."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.certificates import Authority, Identity
from tests.real_mosquitto import Mosquitto, free_port
from tests.wire.fake_broker import CONNECT, SUBSCRIBE, Caller, FakeBroker, Manner, connack, message, suback
from tests.wire.test_wire_mqtt import take, until, within
from wire.backoff import Backoff
from wire.mqtt import Broker, Link, Terms
from wire.mqtt.buffered_socket import BufferedSocket

real = pytest.mark.mosquitto
HOST = "127.0.0.1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def link_to(port: int, ca: Path | None, who: Identity | None = None, *, host: str = HOST, **terms: object) -> Link:
    settled: dict[str, object] = {"client_id": "thon-1", "subscriptions": ("down/ack",), **terms}
    broker = Broker(
        host=host, port=port, tls_ca=ca,
        tls_certificate=who.certificate if who else None, tls_key=who.key if who else None,
    )  # fmt: skip
    return Link(broker, Terms(**settled), Backoff(first_s=0.05, longest_s=0.1))  # type: ignore[arg-type]


@asynccontextmanager
async def tls_broker(manner: Manner, who: Identity) -> AsyncIterator[FakeBroker]:
    """A broker of raw bytes behind TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(who.certificate, who.key)
    async with FakeBroker(manner, tls=context) as fake:
        yield fake


async def polite(caller: Caller) -> None:
    await caller.serve_politely(connack())


def listen_with_tls(mosquitto: Mosquitto, authority: Authority, *options: str) -> int:
    """Add a listener that asks nobody for a certificate, unless an option says so; returns its port."""
    server, port = authority.sign("server", host=HOST), free_port()
    mosquitto.options = [
        f"listener {port} {HOST}", f"cafile {authority.file}", f"certfile {server.certificate}",
        f"keyfile {server.key}", *options,
    ]  # fmt: skip
    mosquitto.restart()
    return port


# ---- whom we believe


async def test_a_broker_of_our_authority_is_believed(authority: Authority) -> None:
    async with (
        tls_broker(polite, authority.sign("server", host=HOST)) as fake,
        link_to(fake.port, authority.file) as gateway,
    ):
        await within(gateway.wait_connected())
        assert await within(gateway.publish("up/batch", bytes(200_000))) == 0


async def test_a_broker_of_another_authority_is_refused_and_the_problem_says_why(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger").sign("server", host=HOST)
    async with tls_broker(polite, stranger) as fake, link_to(fake.port, authority.file) as gateway:
        await until(lambda: "certificate verify failed" in gateway.problem, "the refusal is told")
        assert f"{HOST}:{fake.port}" in gateway.problem
        assert gateway.counters.connects == 0


async def test_a_broker_with_a_certificate_for_another_host_is_refused(authority: Authority) -> None:
    for host in ("hub.example", "127.0.0.2"):
        other = authority.sign(f"server-{host}", host=host)
        async with tls_broker(polite, other) as fake, link_to(fake.port, authority.file) as gateway:
            await until(lambda: "mismatch" in gateway.problem, "the refusal is told")
            assert gateway.counters.connects == 0


async def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    old = authority.sign("server", host=HOST, age_days=60)
    async with tls_broker(polite, old) as fake, link_to(fake.port, authority.file) as gateway:
        await until(lambda: "certificate has expired" in gateway.problem, "the refusal is told")
        assert gateway.counters.connects == 0


async def test_a_broker_without_tls_is_not_spoken_to(authority: Authority) -> None:
    heard: list[bytes] = []

    async def portal(caller: Caller) -> None:
        heard.append(await caller.some())
        await caller.say(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n")

    async with FakeBroker(portal) as fake, link_to(fake.port, authority.file) as gateway:
        await until(lambda: "cannot reach" in gateway.problem, "the problem is told")
        assert gateway.counters.connects == 0
    assert all(one[:1] == b"\x16" for one in heard)  # a TLS handshake record and nothing else


async def test_a_ca_file_that_is_not_there_is_a_problem_told_and_mended_without_a_restart(
    authority: Authority, tmp_path: Path
) -> None:
    late = tmp_path / "ca.pem"
    async with (
        tls_broker(polite, authority.sign("server", host=HOST)) as fake,
        link_to(fake.port, late) as gateway,
    ):
        await until(lambda: "cannot be let in" in gateway.problem, "the missing file is told")
        late.write_bytes(authority.file.read_bytes())
        await within(gateway.wait_connected())


async def test_a_handshake_that_never_ends_is_given_up_and_leaving_does_not_wait_for_it(authority: Authority) -> None:
    with socket.create_server((HOST, 0)) as silent:  # the kernel accepts, nobody answers
        port = silent.getsockname()[1]
        async with link_to(port, authority.file, connect_timeout_s=0.1) as gateway:
            await until(lambda: "does not answer" in gateway.problem, "the silence is told")
        async with link_to(port, authority.file, connect_timeout_s=3600) as gateway:
            await until(lambda: gateway.connection_number == 1, "it tries")
    # What is proved is that we are here: the time-out above is an hour.


# ---- who is let in


@real
async def test_a_client_certificate_is_our_name_to_the_broker(mosquitto: Mosquitto, authority: Authority) -> None:
    mosquitto.acl = ["pattern readwrite up/%u"]
    port = listen_with_tls(mosquitto, authority, "require_certificate true", "use_identity_as_username true")
    who = authority.sign("thon-1")
    async with link_to(port, authority.file, who, subscriptions=("up/thon-1",)) as gateway:
        await within(gateway.wait_connected())
        assert await within(gateway.publish("up/thon-1", b"x")) == 0
        assert [one.payload for one in await take(gateway, 1)] == [b"x"]


@real
async def test_without_a_client_certificate_we_are_refused_and_told_so(
    mosquitto: Mosquitto, authority: Authority
) -> None:
    port = listen_with_tls(mosquitto, authority, "require_certificate true")
    async with link_to(port, authority.file) as gateway:
        await until(lambda: "certificate required" in gateway.problem.lower(), "the broker's alert is told")
        assert gateway.counters.connects == 0


@real
async def test_a_client_certificate_of_another_authority_is_refused(
    mosquitto: Mosquitto, authority: Authority, tmp_path: Path
) -> None:
    port = listen_with_tls(mosquitto, authority, "require_certificate true")
    stranger = Authority(tmp_path / "stranger", name="stranger").sign("thon-1")
    async with link_to(port, authority.file, stranger) as gateway:
        await until(lambda: "unknown ca" in gateway.problem.lower(), "the broker's alert is told")
        assert gateway.counters.connects == 0


async def test_a_key_of_another_certificate_is_named(authority: Authority) -> None:
    one, other = authority.sign("thon-1"), authority.sign("thon-2")
    mixed = Identity(one.certificate, other.key)
    async with link_to(free_port(), authority.file, mixed) as gateway:
        await until(lambda: "key values mismatch" in gateway.problem.lower(), "the mix-up is told")


# ---- records


def burst(count: int) -> bytes:
    """Messages of many sizes: several in one TLS record (above all in the last), one across several."""
    sizes = itertools.cycle([1, 40_000, 16_384, 700, 16_350, 90, 5_000, 3, 3, 3])
    return b"".join(message("down/ack", b"%05d" % at + bytes(next(sizes)), at + 1) for at in range(count))


async def eager(caller: Caller) -> None:
    """Send everything as soon as there is a subscription, then only read."""
    assert (await caller.packet())[0] == CONNECT
    await caller.say(connack())
    kind, body = await caller.packet()
    assert kind == SUBSCRIBE
    await caller.say(suback(body[:2]) + burst(400))
    while True:
        await caller.packet()


@pytest.mark.parametrize("hand_over", [1, 4, 256])
async def test_nothing_stays_behind_in_a_half_read_record(authority: Authority, hand_over: int) -> None:
    async with (
        tls_broker(eager, authority.sign("server", host=HOST)) as fake,
        link_to(fake.port, authority.file, hand_over=hand_over) as gateway,
    ):
        got = await take(gateway, 400, most=3)
        assert [int(one.payload[:5]) for one in got] == list(range(400))
        assert (fake.callers, gateway.counters.losses) == (1, 0)


async def test_the_record_test_fails_when_decrypted_bytes_are_overlooked(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BufferedSocket, "pending", lambda _: 0)
    async with (
        tls_broker(eager, authority.sign("server", host=HOST)) as fake,
        link_to(fake.port, authority.file, hand_over=1_000) as gateway,
    ):
        taking = asyncio.create_task(take(gateway, 400))
        done, _ = await asyncio.wait([taking], timeout=3)
        assert not done
        assert gateway.counters.received < 400
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


@real
async def test_under_load_in_both_directions_every_message_arrives_once_and_in_order(
    mosquitto: Mosquitto, authority: Authority
) -> None:
    port = listen_with_tls(mosquitto, authority, "max_queued_messages 0", "max_inflight_messages 0")
    count = 1_500
    async with (
        link_to(port, authority.file, client_id="hub", subscriptions=("up/#",), hand_over=20) as hub,
        link_to(port, authority.file, subscriptions=("down/#",), hand_over=20) as gateway,
    ):
        await within(asyncio.gather(hub.wait_connected(), gateway.wait_connected()))

        async def send(link: Link, topic: str) -> None:
            for start in range(0, count, 50):
                sizes = ((start + at) * 37 % 9_000 for at in range(50))
                await asyncio.gather(
                    *(link.publish(topic, b"%05d" % (start + at) + bytes(size)) for at, size in enumerate(sizes))
                )

        up, down, *_ = await within(
            asyncio.gather(take(hub, count), take(gateway, count), send(gateway, "up/b"), send(hub, "down/a"))
        )
        for got in (up, down):
            assert [int(one.payload[:5]) for one in got] == list(range(count))
            assert [len(one.payload) - 5 for one in got] == [at * 37 % 9_000 for at in range(count)]
        assert hub.counters.losses == gateway.counters.losses == 0
