"""The MQTT transport, against a real Mosquitto and against brokers that misbehave."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.real_mosquitto import Mosquitto, free_port
from tests.wire.fake_broker import PUBLISH, SUBSCRIBE, Caller, FakeBroker, connack, message, packet, suback
from wire.backoff import Backoff
from wire.mqtt import NO_MATCHING_SUBSCRIBERS, Broker, Link, Message, Terms, TooLarge, Unavailable, Will

T = TypeVar("T")
DEADLINE_S = 30.0
real = pytest.mark.mosquitto


async def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until a state is there; the deadline is for a test that fails, not a measurement."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not holds():
        assert asyncio.get_running_loop().time() < end, f"never came true: {what}"
        await asyncio.sleep(0.01)


async def within(work: Awaitable[T]) -> T:
    return await asyncio.wait_for(work, DEADLINE_S)


def link_to(port: int, client_id: str = "thon-1", *subscriptions: str, **terms: object) -> Link:
    quick = Backoff(first_s=0.05, longest_s=0.1, chance=random.Random(1))
    settled = Terms(client_id=client_id, subscriptions=subscriptions, **terms)  # type: ignore[arg-type]
    return Link(Broker(port=port), settled, quick)


async def take(link: Link, count: int, *, acknowledge: bool = True, most: int = 50) -> list[Message]:
    """Take messages until there are `count`."""
    taken: list[Message] = []

    async def collect() -> None:
        async for pack in link.packs(most):
            taken.extend(pack)
            if acknowledge:
                link.acknowledge(pack)
            if len(taken) >= count:
                return

    await within(collect())
    return taken


# ---- a real broker


@real
async def test_a_message_published_is_a_message_received(mosquitto: Mosquitto) -> None:
    async with link_to(mosquitto.port, "hub", "up/#") as hub, link_to(mosquitto.port) as gateway:
        await within(asyncio.gather(hub.wait_connected(), gateway.wait_connected()))
        assert await within(gateway.publish("up/batch", b"\x00\xff" * 1000)) == 0
        (got,) = await take(hub, 1)
        assert (got.topic, got.payload, got.retained) == ("up/batch", b"\x00\xff" * 1000, False)
        assert (gateway.counters.published, hub.counters.received) == (1, 1)
        assert (hub.connected, hub.problem) == (True, "")


@real
async def test_publishing_where_nobody_listens_says_so(mosquitto: Mosquitto) -> None:
    async with link_to(mosquitto.port) as gateway:
        await within(gateway.wait_connected())
        assert await within(gateway.publish("up/batch", b"x")) == NO_MATCHING_SUBSCRIBERS


@real
async def test_many_publishes_at_once_all_get_their_own_answer(mosquitto: Mosquitto) -> None:
    async with link_to(mosquitto.port, "hub", "up/#") as hub, link_to(mosquitto.port, publish_window=8) as gateway:
        await within(asyncio.gather(hub.wait_connected(), gateway.wait_connected()))
        codes = asyncio.gather(*(gateway.publish("up/batch", b"%d" % at) for at in range(500)))
        got = await take(hub, 500)
        assert set(await within(codes)) == {0}
        assert [int(one.payload) for one in got] == list(range(500))


@real
async def test_a_topic_that_the_access_list_forbids_raises_and_the_connection_stays(mosquitto: Mosquitto) -> None:
    mosquitto.acl = ["topic readwrite allowed/#"]
    mosquitto.restart()
    async with link_to(mosquitto.port, "thon-1", "allowed/#") as gateway:
        await within(gateway.wait_connected())
        with pytest.raises(Unavailable, match=r"refused a message on up/batch: Not authorized \(0x87\)"):
            await within(gateway.publish("up/batch", b"x"))
        assert await within(gateway.publish("allowed/x", b"x")) == 0
        assert gateway.counters.losses == 0


@real
async def test_what_was_not_acknowledged_comes_again_in_the_next_connection(mosquitto: Mosquitto) -> None:
    async with link_to(mosquitto.port, "hub", "up/#") as hub, link_to(mosquitto.port) as gateway:
        await within(asyncio.gather(hub.wait_connected(), gateway.wait_connected()))
        for at in range(4):
            await within(gateway.publish("up/batch", b"%d" % at))
        got = await take(hub, 4, acknowledge=False)
        hub.acknowledge([got[0], got[1], got[3]])  # acknowledgements keep the order: the last waits for the third
    async with link_to(mosquitto.port, "hub", "up/#") as hub:
        again = await take(hub, 2)
        assert [one.payload for one in again] == [b"2", b"3"]
        assert hub.limits.session_present
    async with link_to(mosquitto.port, "hub", "up/#") as hub, link_to(mosquitto.port) as gateway:
        await within(asyncio.gather(hub.wait_connected(), gateway.wait_connected()))
        await within(gateway.publish("up/batch", b"new"))
        assert [one.payload for one in await take(hub, 1)] == [b"new"]


@real
async def test_a_message_of_an_earlier_connection_is_not_acknowledged_in_the_later_one(mosquitto: Mosquitto) -> None:
    async with link_to(mosquitto.port, "hub", "up/#") as hub, link_to(mosquitto.port) as gateway:
        await within(asyncio.gather(hub.wait_connected(), gateway.wait_connected()))
        await within(gateway.publish("up/batch", b"first"))
        (old,) = await take(hub, 1, acknowledge=False)
        mosquitto.restart()
        await until(lambda: hub.connected and hub.connection_number > old.connection, "connected again")
        (again,) = await take(hub, 1, acknowledge=False)
        assert (again.payload, again.mid) == (b"first", old.mid)  # the same packet id: an acknowledgement would count
        hub.acknowledge([old])
    async with link_to(mosquitto.port, "hub", "up/#") as hub:
        assert [one.payload for one in await take(hub, 1)] == [b"first"]


@real
async def test_a_full_hand_over_stops_reading_and_loses_nothing_when_it_goes_on(mosquitto: Mosquitto) -> None:
    mosquitto.options = ["max_queued_messages 0", "max_inflight_messages 0"]
    mosquitto.restart()
    terms = {"hand_over": 20, "receive_maximum": 65_000}
    async with link_to(mosquitto.port, "hub", "up/#", **terms) as hub, link_to(mosquitto.port) as gateway:
        await within(asyncio.gather(hub.wait_connected(), gateway.wait_connected()))
        for start in range(0, 3000, 100):
            await within(asyncio.gather(*(gateway.publish("up/b", b"%d" % (start + at)) for at in range(100))))
        await until(lambda: hub.counters.received >= 20, "the hand-over is full")
        assert hub.counters.received < 30  # the other 2,970 wait in the socket and in the broker
        got = await take(hub, 3000)
        assert [int(one.payload) for one in got] == list(range(3000))
        assert hub.counters.losses == 0


@real
async def test_a_message_above_the_brokers_limit_is_refused_here_and_the_connection_survives(
    mosquitto: Mosquitto,
) -> None:
    mosquitto.options = ["max_packet_size 2000"]
    mosquitto.restart()
    async with link_to(mosquitto.port) as gateway:
        await within(gateway.wait_connected())
        assert gateway.limits.packet_bytes == 2000
        with pytest.raises(TooLarge, match="takes packets of at most 2000"):
            await within(gateway.publish("up/batch", bytes(2000)))
        assert await within(gateway.publish("up/batch", bytes(1900))) == NO_MATCHING_SUBSCRIBERS
        assert gateway.counters.losses == 0


@real
async def test_a_broker_that_goes_and_comes_takes_the_link_with_it_and_back(mosquitto: Mosquitto) -> None:
    async with link_to(mosquitto.port, "thon-1", "down/#") as gateway:
        first = await within(gateway.wait_connected())
        mosquitto.stop()
        await until(lambda: not gateway.connected, "the loss is noticed")
        await until(lambda: "refused" in gateway.problem.lower(), "the problem is told")
        assert f"127.0.0.1:{mosquitto.port}" in gateway.problem
        with pytest.raises(Unavailable, match=f"no connection to 127.0.0.1:{mosquitto.port}"):
            await gateway.publish("up/batch", b"x")
        mosquitto.start()
        assert await within(gateway.wait_connected()) > first
        assert gateway.problem == ""
        assert await within(gateway.publish("down/x", b"x")) == 0
        assert gateway.counters.losses == 1


@real
async def test_a_publish_that_the_cut_caught_raises_and_is_not_repeated_by_itself(mosquitto: Mosquitto) -> None:
    async with link_to(mosquitto.port) as gateway:
        await within(gateway.wait_connected())
        os.kill(mosquitto.pid, signal.SIGSTOP)  # it takes bytes and answers nothing
        waiting = asyncio.gather(
            *(gateway.publish("up/b", b"x", retain=True) for _ in range(60)), return_exceptions=True
        )
        await asyncio.sleep(0)
        mosquitto.kill()
        outcomes = await within(waiting)
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
        mosquitto.start()
        await until(lambda: gateway.connected, "connected again")
        assert await within(gateway.publish("other", b"x")) == NO_MATCHING_SUBSCRIBERS
    async with link_to(mosquitto.port, "watcher", "up/#") as watcher, link_to(mosquitto.port) as gateway:
        await within(asyncio.gather(watcher.wait_connected(), gateway.wait_connected()))
        await within(gateway.publish("up/end", b"end"))
        assert [one.payload for one in await take(watcher, 1)] == [b"end"]


@real
async def test_a_will_is_said_after_its_delay_when_we_vanish(mosquitto: Mosquitto) -> None:
    will = Will(topic="up/state", payload=b"gone", delay_s=1)
    never_back = Backoff(first_s=3600, longest_s=3600)
    async with link_to(mosquitto.port, "hub", "up/state") as hub:
        await within(hub.wait_connected())
        async with Link(Broker(port=mosquitto.port), Terms(client_id="thon-1", will=will), never_back) as gateway:
            await within(gateway.wait_connected())
            cut(gateway)
            (got,) = await take(hub, 1)
            assert (got.topic, got.payload) == ("up/state", b"gone")


@real
async def test_a_will_is_not_said_when_we_are_back_in_time_or_leave_in_order(mosquitto: Mosquitto) -> None:
    will = Will(topic="up/state", payload=b"gone", delay_s=3)
    async with link_to(mosquitto.port, "hub", "up/state") as hub:
        async with link_to(mosquitto.port, "thon-1", will=will) as gateway:
            await within(asyncio.gather(hub.wait_connected(), gateway.wait_connected()))
            cut(gateway)
            await until(lambda: gateway.counters.connects == 2, "back before the delay is over")
            await within(gateway.publish("up/state", b"online", retain=True))
        # A will that the first cut had left pending would come first: Mosquitto says it before it serves the next one.
        async with link_to(mosquitto.port, "thon-2", will=Will(topic="up/state", payload=b"end", delay_s=3)) as other:
            await within(other.wait_connected())
            cut(other, for_good=True)
            assert [one.payload for one in await take(hub, 2)] == [b"online", b"end"]


def cut(link: Link, *, for_good: bool = False) -> None:
    """Cut the line without a DISCONNECT."""
    connection = link._connection
    assert connection is not None
    if for_good:
        link._backoff.first_s = link._backoff.longest_s = 3600
    sock: Any = connection.client.socket()
    sock._inner.shutdown(socket.SHUT_RDWR)


@real
async def test_a_retained_message_is_marked_as_such(mosquitto: Mosquitto) -> None:
    async with link_to(mosquitto.port) as gateway:
        await within(gateway.wait_connected())
        await within(gateway.publish("up/state", b"online", retain=True))
    async with link_to(mosquitto.port, "hub", "up/state") as hub:
        assert [(one.payload, one.retained) for one in await take(hub, 1)] == [(b"online", True)]


# ---- no broker, and brokers that misbehave


async def test_where_nothing_listens_the_problem_says_so_and_nothing_is_raised() -> None:
    port = free_port()
    async with link_to(port) as gateway:
        await until(lambda: "cannot reach" in gateway.problem, "the problem is told")
        assert f"127.0.0.1:{port}" in gateway.problem
        assert not gateway.connected
        gateway.acknowledge([])


async def test_a_password_file_that_is_not_there_is_a_problem_told_and_mended_without_a_restart(tmp_path: Path) -> None:
    async def polite(caller: Caller) -> None:
        await caller.serve_politely(connack())

    async with FakeBroker(polite) as fake:
        broker = Broker(port=fake.port, username="thon-1", password_file=tmp_path / "password")
        async with Link(broker, Terms(client_id="thon-1"), Backoff(first_s=0.05, longest_s=0.1)) as gateway:
            await until(lambda: "password" in gateway.problem, "the missing file is named")
            (tmp_path / "password").write_text("secret\n")
            await within(gateway.wait_connected())


async def test_the_brokers_receive_maximum_bounds_what_is_unanswered() -> None:
    most = 0

    async def slow(caller: Caller) -> None:
        nonlocal most
        await caller.packet()
        await caller.say(connack(b"\x21\x00\x02"))
        unanswered: list[bytes] = []
        while True:
            try:
                kind, body = await asyncio.wait_for(caller.packet(), 0.05 if unanswered else None)
            except TimeoutError:
                await caller.say(packet(0x40, unanswered.pop(0)))
                continue
            if kind == PUBLISH:
                at = 2 + int.from_bytes(body[:2])
                unanswered.append(body[at : at + 2])
                most = max(most, len(unanswered))

    async with FakeBroker(slow) as fake, link_to(fake.port) as gateway:
        await within(gateway.wait_connected())
        assert gateway.limits.receive_maximum == 2
        codes = await within(asyncio.gather(*(gateway.publish("up/b", b"x") for _ in range(8))))
        assert codes == [0] * 8
    assert most == 2


async def test_the_brokers_keep_alive_is_obeyed_from_the_next_connection_on() -> None:
    asked: list[int] = []

    async def short(caller: Caller) -> None:
        _, body = await caller.packet()
        asked.append(int.from_bytes(body[8:10]))
        await caller.say(connack(b"\x13\x00\x05"))
        await caller.serve_politely(b"")

    async with FakeBroker(short) as fake, link_to(fake.port, keep_alive_s=60) as gateway:
        await within(gateway.wait_connected())
        assert gateway.counters.connects == 1
    assert asked == [60, 5]


async def test_a_broker_without_qos_1_is_refused_and_the_problem_says_why() -> None:
    async def lesser(caller: Caller) -> None:
        await caller.serve_politely(connack(b"\x24\x00"))

    async with FakeBroker(lesser) as fake, link_to(fake.port) as gateway:
        await until(lambda: "no QoS 1" in gateway.problem, "the problem is told")
        assert not gateway.connected


async def test_a_refused_connection_and_a_refused_subscription_are_named() -> None:
    async def closed(caller: Caller) -> None:
        await caller.packet()
        await caller.say(connack(code=0x87))

    async def deaf(caller: Caller) -> None:
        await caller.packet()
        await caller.say(connack())
        kind, body = await caller.packet()
        assert kind == SUBSCRIBE
        await caller.say(suback(body[:2], 0x87))
        await caller.serve_politely(b"")

    async with FakeBroker(closed) as fake, link_to(fake.port) as gateway:
        await until(lambda: "refused the connection: Not authorized" in gateway.problem, "the refusal is told")
    async with FakeBroker(deaf) as fake, link_to(fake.port, "thon-1", "down/ack") as gateway:
        await until(lambda: "refused the subscription down/ack" in gateway.problem, "the refusal is told")


async def test_a_broker_that_never_answers_is_given_up_and_tried_again() -> None:
    async def silent(caller: Caller) -> None:
        while True:
            await caller.packet()

    async with FakeBroker(silent) as fake, link_to(fake.port, connect_timeout_s=0.05) as gateway:
        await until(lambda: "does not answer" in gateway.problem, "the silence is told")
        await until(lambda: fake.callers >= 3, "it tries again")


GREETING = connack(b"\x21\x00\x10\x22\x00\x0a") + suback(b"\x00\x01") + message("down/ack", b"payload", 1)


@pytest.mark.parametrize("cut", range(len(GREETING)))
async def test_a_greeting_cut_anywhere_is_followed_by_another_try(cut: int) -> None:
    async def abrupt(caller: Caller) -> None:
        await caller.packet()
        await caller.say(GREETING[:cut])

    async def polite(caller: Caller) -> None:
        await caller.serve_politely(connack())

    async with FakeBroker(abrupt, polite) as fake, link_to(fake.port, "thon-1", "down/ack") as gateway:
        await until(lambda: fake.callers >= 2 and gateway.connected, "connected at the second try")


GARBAGE = [
    b"\x00" * 64,
    b"\xff" * 64,
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x20\x02\x00",
    b"\x20\x00",
    b"\x20\x01\x00",
    packet(0x20, b"\x00\x00\x05\xff\xff\xff\xff\xff"),
    packet(0x20, b"\x00\x00\x7f"),
    packet(0x20, b"\x00\x77\x00"),
    packet(0x20, b"\x00\x00\x03\x21\x00"),
    connack() + packet(0x90, b""),
    connack() + packet(0x90, b"\x00\x01"),
    connack() + packet(0x90, b"\x00\x01\x00"),
    connack() + packet(0x90, b"\x00\x01\x00\x77"),
    connack() + suback(b"\x00\x01") + packet(0x32, b""),
    connack() + suback(b"\x00\x01") + packet(0x32, b"\xff\xff"),
    connack() + suback(b"\x00\x01") + packet(0x32, b"\x00\x01\xff\x00\x01\x00"),
    connack() + suback(b"\x00\x01") + packet(0x32, b"\x00\x01a\x00\x01\x09\xff"),
    connack() + suback(b"\x00\x01") + packet(0x40, b""),
    connack() + suback(b"\x00\x01") + packet(0x40, b"\x00"),
    connack() + suback(b"\x00\x01") + packet(0x40, b"\x00\x07\x77\x00"),
    connack() + suback(b"\x00\x01") + packet(0xE0, b"\x77"),
    connack() + suback(b"\x00\x01") + packet(0xE0, b"\x8b\x00"),
    connack() + suback(b"\x00\x01") + packet(0xF0, b""),
    connack() + suback(b"\x00\x01") + b"\x30\xff\xff\xff\xff\x7f",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=bytes.hex)
async def test_garbage_from_a_broker_never_wedges_the_link(garbage: bytes) -> None:
    async def mad(caller: Caller) -> None:
        await caller.packet()
        await caller.say(garbage)

    async def polite(caller: Caller) -> None:
        await caller.serve_politely(connack())

    async with (
        FakeBroker(mad, polite) as fake,
        link_to(fake.port, "thon-1", "down/ack", connect_timeout_s=1.0) as gateway,
    ):
        await until(lambda: fake.callers >= 2 and gateway.connected, "connected at the second try")
        assert await within(gateway.publish("up/b", b"x")) == 0


async def test_a_message_with_an_expiry_carries_it_and_one_without_carries_none() -> None:
    told: list[bytes] = []

    async def listening(caller: Caller) -> None:
        await caller.packet()
        await caller.say(connack())
        for _ in range(2):
            _, body = await caller.packet()
            told.append(body[4 + len("down/cmd") : -1])
            await caller.say(packet(0x40, body[2 + len("down/cmd") :][:2]))

    async with FakeBroker(listening) as fake, link_to(fake.port) as hub:
        await within(hub.wait_connected())
        await within(hub.publish("down/cmd", b"x", expiry_s=300))
        await within(hub.publish("down/cmd", b"x"))
    assert told == [b"\x05\x02" + (300).to_bytes(4), b"\x00"]  # MQTT 5, 3.3.2.3.3


async def test_messages_before_the_suback_that_fill_the_hand_over_do_not_block_it() -> None:
    async def eager(caller: Caller) -> None:
        await caller.packet()
        early = b"".join(message("down/ack", b"%d" % at, at + 1) for at in range(30))
        await caller.say(connack() + early)
        _, body = await caller.packet()
        await caller.say(suback(body[:2]))
        await caller.serve_politely(b"")

    async with FakeBroker(eager) as fake, link_to(fake.port, "thon-1", "down/ack", hand_over=4) as gateway:
        await until(lambda: gateway.counters.received >= 4, "the hand-over is full before the subscription is granted")
        assert not gateway.connected
        got = await take(gateway, 30)
        assert [int(one.payload) for one in got] == list(range(30))
        await within(gateway.wait_connected())
        assert fake.callers == 1


@real
async def test_a_caller_who_tries_again_at_once_does_not_keep_us_from_noticing_the_loss(mosquitto: Mosquitto) -> None:
    never_back = Backoff(first_s=3600, longest_s=3600)
    async with Link(Broker(port=mosquitto.port), Terms(client_id="thon-1"), never_back) as gateway:
        await within(gateway.wait_connected())
        connection = gateway._connection
        assert connection is not None
        cut(gateway)
        await asyncio.wait([connection.lost])
        tries = 0
        while gateway.connected and tries < 1_000:
            tries += 1
            with pytest.raises(Unavailable):
                await gateway.publish("up/b", b"x")
        assert not gateway.connected


# ---- two with one name

SCALE = 0.1  # of the product's waits, so that the window below takes seconds
WINDOW_S = 6.0
MOST_ATTEMPTS = 24  # of both together in the window: each waits 0.1, 0.2, 0.4 ... 3 s


async def fight(port: int) -> tuple[int, tuple[Link, Link]]:
    """Let two links use one client id; each goes on until it has published. Returns how often both tried to connect."""

    async def insist(link: Link) -> None:
        while True:
            await link.wait_connected()
            try:
                await link.publish("up/x", b"x")
            except Unavailable:
                continue
            return

    first, second = (
        Link(Broker(port=port), Terms(client_id="twin"), Backoff(first_s=SCALE, longest_s=300 * SCALE))
        for _ in range(2)
    )
    async with first, second:
        await within(asyncio.gather(insist(first), insist(second)))
        await asyncio.sleep(WINDOW_S)
    return first.connection_number + second.connection_number, (first, second)


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wire.mqtt.link._STOOD_S", 60 * SCALE)
    monkeypatch.setattr("wire.mqtt.link._SHORT_LIVED_WAIT_S", 30 * SCALE)


@real
@pytest.mark.usefixtures("short_waits")
async def test_two_with_one_name_throw_each_other_out_ever_more_rarely(mosquitto: Mosquitto) -> None:
    attempts, links = await fight(mosquitto.port)
    # Mosquitto 2.0.11 sends no DISCONNECT with "session taken over" (0x8E): we cannot say why, only its log does.
    assert 3 <= attempts <= MOST_ATTEMPTS
    assert all(link.counters.published for link in links), "each makes progress"


@real
@pytest.mark.usefixtures("short_waits")
async def test_the_fight_is_a_storm_when_every_connection_resets_the_waits(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backoff, "relent", lambda self, _: self.succeed())
    attempts, _ = await fight(mosquitto.port)
    assert attempts > MOST_ATTEMPTS
