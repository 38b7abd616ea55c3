"""One connection's life: what asyncio does for its socket, what waits for it, how it ends."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from wire.mqtt.hand_over import HandOver, Message
from wire.mqtt.paho_client import PahoClient
from wire.mqtt.terms import Broker, Limits, Unavailable

_MANY_REPEATS = 3  # of TCP; the broker may give us up before we do, so that its word for it ends the connection
_KEEP_ALIVE_TIMEOUT = "Keep alive timeout"  # paho's word for a ping without an answer


@dataclass(slots=True)
class Counters:
    """Plain counts for metrics, over all connections of a link."""

    connects: int = 0
    losses: int = 0
    received: int = 0
    published: int = 0


@dataclass(slots=True)
class Connection:
    """A paho client on a socket that asyncio watches. `lost` says why it ended, once it has."""

    number: int
    broker: Broker
    client: PahoClient
    hand_over: HandOver
    counters: Counters
    lost: asyncio.Future[str]
    limits: Limits = field(default_factory=Limits)
    window: asyncio.Semaphore = field(default_factory=asyncio.Semaphore)
    silent: bool = False  # whether nothing comes any more
    _acked: dict[int, asyncio.Future[ReasonCode]] = field(default_factory=dict)
    _unacked: collections.deque[int] = field(default_factory=collections.deque)  # received, in order
    _safe: set[int] = field(default_factory=set)  # acknowledged by the application, PUBACK still to be sent
    _watched: bool = False
    _reading: bool = False

    def __post_init__(self) -> None:
        self.client.arrived = self._on_message
        self.client.on_publish = lambda _client, _data, mid, code, _properties: self._on_puback(mid, code)
        self.client.on_socket_register_write = lambda *_: None  # until the socket is ours to watch

    # ---- what the link does with it

    async def publish(self, topic: str, payload: bytes, retain: bool, expiry_s: int | None) -> ReasonCode:
        """Publish with QoS 1; returns the PUBACK's reason code. Raises Unavailable when the connection ends first."""
        properties = Properties(PacketTypes.PUBLISH)
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        async with self.window:
            if self.lost.done():
                raise Unavailable(f"{self.broker}: {self.lost.result()}")
            info = self.client.publish(topic, payload, 1, retain, properties)
            acked: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
            self._acked[info.mid] = acked
            try:
                return await acked
            finally:
                self._acked.pop(info.mid, None)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send PUBACK for messages of this connection, in the order in which they came (MQTT 5, 4.6)."""
        self._safe.update(one.mid for one in messages if one.connection == self.number and one.mid)
        while self._unacked and self._unacked[0] in self._safe:
            mid = self._unacked.popleft()
            self._safe.discard(mid)
            self.client.ack(mid, 1)

    async def or_lost(self, answer: asyncio.Future[Any]) -> Any:
        """Wait for an answer; raises Unavailable when the connection ends first."""
        await asyncio.wait([answer, self.lost], return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise Unavailable(f"{self.broker}: {self.lost.result()}")

    async def watch(self) -> None:
        """Let paho keep its timers once a second until the connection is lost."""
        while not self.lost.done():
            if self._reading:  # while reading is paused, PINGRESP waits unread, and that is no failure
                self._look_for_silence()
                self.client.loop_misc()
            await asyncio.wait([self.lost], timeout=1.0)

    def resume_reading(self) -> None:
        """Read on when the hand-over has room again."""
        # Also before we are up: the SUBACK may wait behind messages of the old session.
        if self._watched and not self._reading and self.hand_over.half_empty:
            self._start_reading()
            asyncio.get_running_loop().call_soon(self._on_readable)  # what was read ahead makes no event

    def close(self) -> None:
        """End it and everything that waits for it. A clean DISCONNECT is sent only while it still stands."""
        client, sock = self.client, self._socket()
        if sock is not None and sock.fileno() >= 0:
            self._forget(sock)
        self._watched = self._reading = False
        client.on_socket_close = lambda *_: None  # paho says it once more when the client is collected
        if sock is not None and sock.fileno() >= 0:
            client.on_socket_register_write = lambda *_: None
            client.disconnect()
            with contextlib.suppress(OSError):
                client.loop_write()
                sock.flush()
                sock.close()
        settle(self.lost, "closed")
        for waiting in self._acked.values():
            if not waiting.done():
                waiting.set_exception(Unavailable(f"{self.broker}: the connection was cut before its PUBACK"))

    # ---- socket events

    def start_io(self) -> None:
        """Take over a socket that has just been connected."""
        client = self.client
        sock = self._socket()
        client.on_disconnect = lambda _c, _d, _flags, code, _p: self._on_disconnect(sock.fault, code)
        client.on_socket_register_write = lambda *_: self._write_soon()
        client.on_socket_close = lambda _c, _d, sock: self._forget(sock)
        self._watched = True
        self._write_soon()
        self._start_reading()

    def _socket(self) -> Any:
        return self.client.socket()

    def _start_reading(self) -> None:
        sock = self._socket()
        if sock is not None and not self.lost.done():
            self._reading = True
            asyncio.get_running_loop().add_reader(sock.fileno(), self._on_readable)

    def _stop_reading(self) -> None:
        sock = self._socket()
        if self._reading and sock is not None and sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        self._reading = False

    def _forget(self, sock: Any) -> None:
        """Stop watching a socket before its number goes to another."""
        self._reading = False
        asyncio.get_running_loop().remove_reader(sock.fileno())
        asyncio.get_running_loop().remove_writer(sock.fileno())

    def _on_readable(self) -> None:
        """Read packets until the socket is empty or the hand-over is full."""
        while self._reading:
            sock = self._socket()
            try:
                healthy = sock is not None and self.client.loop_read() == 0
            except Exception as error:  # noqa: BLE001 - paho on garbage: struct.error, IndexError, MQTTException and more
                self._stop_reading()
                settle(self.lost, f"the broker sent what is not MQTT 5 ({error!r})")
                return
            if not healthy:
                settle(self.lost, "connection lost while reading")
                return
            if self.hand_over.full:
                self._stop_reading()
            elif not sock.pending():
                return

    def _write_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._on_writable)

    def _on_writable(self) -> None:
        """Hand paho's packets to the socket in one piece; whatever does not fit goes when the socket takes more."""
        sock = self._socket()
        if sock is None or self.lost.done():
            return
        loop = asyncio.get_running_loop()
        try:
            self.client.loop_write()
            done = sock.flush()
        except OSError as error:
            settle(self.lost, f"connection lost while writing ({error})")
            return
        if done:
            loop.remove_writer(sock.fileno())
        else:
            loop.add_writer(sock.fileno(), self._on_writable)

    def _on_message(self, topic: str, payload: bytes, retained: bool, mid: int) -> None:
        self.counters.received += 1
        if mid:
            self._unacked.append(mid)
        self.hand_over.put(Message(topic, payload, retained, mid, self.number))

    def _look_for_silence(self) -> None:
        sock = self._socket()
        if sock is not None and not self.lost.done():
            self.silent = sock.repeats() >= _MANY_REPEATS

    def _on_disconnect(self, fault: str, code: ReasonCode) -> None:
        self.silent = self.silent or code == _KEEP_ALIVE_TIMEOUT
        settle(self.lost, f"connection lost ({fault or code})")

    def _on_puback(self, mid: int, code: ReasonCode) -> None:
        waiting = self._acked.pop(mid, None)
        if waiting is not None:
            settle(waiting, code)


def settle(future: asyncio.Future[Any], value: Any) -> None:
    """Answer whoever waits, once."""
    if not future.done():
        future.set_result(value)
