"""The MQTT 5 transport: the one file of this room that does I/O. A thin asyncio shell over paho-mqtt.

What it adds to the client library: a message is acknowledged (PUBACK) only when the application says so; publishing
waits for the broker's PUBACK and raises on its reason code; the broker's CONNACK limits are obeyed; what was received
and not yet taken is bounded, and a full hand-over stops reading the socket; the connection is kept up with jittered
back-off. Every connection is a fresh paho client, so that nothing of a lost connection is silently repeated: repeating
is the application's to decide, which knows what was committed. Decision 004 says why paho.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import structlog
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from wire.backoff import Backoff

log = structlog.get_logger(__name__)

NO_MATCHING_SUBSCRIBERS = 0x10  # MQTT 5, 3.4.2.1: accepted, and nobody will get it
_FAILURE = 0x80  # reason codes from here on are failures (MQTT 5, 2.4)
_READ_AHEAD_BYTES = 256 * 1024
_SPEC_DEFAULT_RECEIVE_MAXIMUM = 65_535  # MQTT 5, 3.2.2.3.3
_SPEC_LARGEST_PACKET = 268_435_460
PUBLISH_OVERHEAD_BYTES = 64  # fixed header, topic length, packet id and properties beside topic and payload


class Unavailable(Exception):
    """The line's fault: no broker there, refused, cut. Back off and try again."""


class TooLarge(ValueError):
    """The broker's Maximum Packet Size forbids it; sending would cut the connection (MQTT 5, 3.2.2.3.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where the broker is and how to be let in. `tls_ca` turns TLS on; certificate and key add a client identity."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password_file: Path | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker says for us when we are gone: after `delay_s`, which must lie below the session expiry."""

    topic: str
    payload: bytes
    delay_s: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What we ask of the connection. `receive_maximum` bounds what the broker may leave unacknowledged with us."""

    client_id: str
    subscriptions: Sequence[str] = ()
    will: Will | None = None
    keep_alive_s: int = 60
    session_expiry_s: int = 3600
    receive_maximum: int = 64
    hand_over: int = 256
    publish_window: int = 32
    connect_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message as received. `connection` is the one it came by: a later one must not acknowledge it."""

    topic: str
    payload: bytes
    retained: bool
    mid: int
    connection: int


@dataclass(slots=True)
class Limits:
    """What the broker said in its CONNACK."""

    receive_maximum: int = _SPEC_DEFAULT_RECEIVE_MAXIMUM
    packet_bytes: int = _SPEC_LARGEST_PACKET
    session_present: bool = False


@dataclass(slots=True)
class Counters:
    """Plain counts for metrics."""

    connects: int = 0
    losses: int = 0
    received: int = 0
    published: int = 0


class _BufferedSocket:
    """A socket that reads ahead and writes in one piece.

    paho asks for one byte, then a few, then the rest, and sends each packet by itself: with this between, a burst costs
    two system calls instead of some thousand.
    """

    def __init__(self, inner: socket.socket | ssl.SSLSocket) -> None:
        self._inner = inner
        self._ahead = b""
        self._at = 0
        self._out = bytearray()

    def recv(self, size: int) -> bytes:
        if self._at == len(self._ahead):
            self._ahead, self._at = self._inner.recv(_READ_AHEAD_BYTES), 0
            if not self._ahead:
                return b""
        piece = self._ahead[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def pending(self) -> int:
        inner = self._inner.pending() if isinstance(self._inner, ssl.SSLSocket) else 0
        return len(self._ahead) - self._at + inner

    def send(self, data: bytes | bytearray) -> int:
        self._out += data
        return len(data)

    def flush(self) -> bool:
        """Send what has been written; returns whether all of it went out. Raises OSError when the line is cut."""
        while self._out:
            try:
                sent = self._inner.send(self._out)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return False
            del self._out[:sent]
        return True

    def close(self) -> None:
        self._inner.close()

    def fileno(self) -> int:
        return self._inner.fileno()

    def setblocking(self, flag: bool) -> None:
        self._inner.setblocking(flag)


class _PahoClient(Client):
    """paho with our socket under it, and a short way in for messages.

    `_create_socket` is where paho itself puts its websocket wrapper. `_handle_publish` makes some thirty objects of a
    PUBLISH (properties, a message with a lock, topic matching), two thirds of a gateway's time in a burst; topic,
    payload, retain flag and packet id are all that we use.
    """

    arrived: Callable[[str, bytes, bool, int], None]

    def _create_socket(self) -> Any:
        made: Any = super()._create_socket()
        # We write in one piece what belongs together; Nagle would hold the next one back for a delayed ACK, 40 ms.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _BufferedSocket(made)

    def _handle_publish(self) -> MQTTErrorCode:
        """Take a PUBLISH apart (MQTT 5, 3.3). Its topic is no alias, for we allow none; QoS 2 we never ask for."""
        head, body = self._in_packet["command"], bytes(self._in_packet["packet"])
        qos = head >> 1 & 3
        try:
            at = 2 + int.from_bytes(body[:2])
            topic, mid = body[2:at].decode(), 0
            if qos:
                mid, at = int.from_bytes(body[at : at + 2]), at + 2
            properties, width = VariableByteIntegers.decode(body[at : at + 4])
        except (ValueError, IndexError, MalformedPacket):
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        start = at + width + properties
        if qos > 1 or (qos and not mid) or not topic or start > len(body):
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        self.arrived(topic, body[start:], bool(head & 1), mid)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


@dataclass(slots=True)
class _Connection:
    """One connection's life: the paho client, what waits for it, and when it ended."""

    number: int
    client: _PahoClient
    lost: asyncio.Future[str]
    acked: dict[int, asyncio.Future[ReasonCode]] = field(default_factory=dict)
    unacked: collections.deque[int] = field(default_factory=collections.deque)  # received, in order
    safe: set[int] = field(default_factory=set)  # acknowledged by the application, PUBACK still to be sent
    limits: Limits = field(default_factory=Limits)
    window: asyncio.Semaphore = field(default_factory=asyncio.Semaphore)
    watched: bool = False
    reading: bool = False


class Link:
    """A connection to a broker that is kept up for as long as the context is open.

    Use as `async with Link(broker, terms) as link`; it starts connecting in the background and never raises for a
    broker that is not there: `problem` says why it is down, `wait_connected` waits.
    """

    def __init__(self, broker: Broker, terms: Terms, backoff: Backoff | None = None) -> None:
        self.broker = broker
        self.terms = terms
        self.problem = "not connected yet"
        self.counters = Counters()
        self._backoff = backoff or Backoff()
        self._connection: _Connection | None = None
        self._connections = 0
        self._keep_alive_s = terms.keep_alive_s
        self._up = asyncio.Event()
        self._received: collections.deque[Message] = collections.deque()
        self._arrived = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep_up(), name=f"mqtt {self.terms.client_id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    # ---- what the application does

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and our subscriptions."""
        return self._up.is_set()

    async def wait_connected(self) -> int:
        """Wait until connected; returns the connection's number, which rises with every new one."""
        await self._up.wait()
        return self._connections

    @property
    def connection_number(self) -> int:
        """The current connection's number, or that of the last one."""
        return self._connections

    @property
    def limits(self) -> Limits:
        """The broker's limits; the standard's defaults while there is no connection."""
        return self._connection.limits if self._connection else Limits()

    async def packs(self, most: int) -> AsyncIterator[list[Message]]:
        """Yield what has arrived, up to `most` messages at a time: one when quiet, many in a burst."""
        while True:
            while not self._received:
                self._arrived.clear()
                await self._arrived.wait()
            pack = [self._received.popleft() for _ in range(min(most, len(self._received)))]
            self._resume_reading()
            yield pack

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send PUBACK for messages whose content is safe. Those of an earlier connection will come again by themselves.

        PUBACKs leave in the order in which the messages came, whatever order they are acknowledged in (MQTT 5, 4.6):
        one whose predecessor is still being worked on waits for it.
        """
        connection = self._connection
        if connection is None:
            return
        connection.safe.update(one.mid for one in messages if one.connection == connection.number and one.mid)
        while connection.unacked and connection.unacked[0] in connection.safe:
            mid = connection.unacked.popleft()
            connection.safe.discard(mid)
            connection.client.ack(mid, 1)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None) -> int:
        """Publish with QoS 1 and wait for the PUBACK; returns its reason code (0, or 0x10: nobody subscribed).

        Raises Unavailable when there is no connection, it was cut meanwhile, or the broker refused; TooLarge before
        sending.
        """
        connection = self._connection
        if connection is None or not self._up.is_set():
            raise Unavailable(f"no connection to {self.broker}: {self.problem}")
        size = len(topic.encode()) + len(payload) + PUBLISH_OVERHEAD_BYTES
        if size > connection.limits.packet_bytes:
            raise TooLarge(f"{size} bytes; {self.broker} takes packets of at most {connection.limits.packet_bytes}")
        async with connection.window:
            code = await self._publish(connection, topic, payload, retain, expiry_s)
        if code.value >= _FAILURE:
            raise Unavailable(f"{self.broker} refused a message on {topic}: {code.getName()} (0x{code.value:02x})")
        self.counters.published += 1
        return int(code.value)

    async def _publish(
        self, connection: _Connection, topic: str, payload: bytes, retain: bool, expiry_s: int | None
    ) -> ReasonCode:
        properties = Properties(PacketTypes.PUBLISH)
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        if connection.lost.done():
            raise Unavailable(f"{self.broker}: {connection.lost.result()}")
        info = connection.client.publish(topic, payload, 1, retain, properties)
        acked: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        connection.acked[info.mid] = acked
        try:
            return await acked
        finally:
            connection.acked.pop(info.mid, None)

    # ---- keeping the connection up

    async def _keep_up(self) -> None:
        while True:
            try:
                await self._live_once()
            except Unavailable as error:
                self.problem = str(error)
                delay = self._backoff.next_s()
                log.warning("mqtt down", broker=str(self.broker), problem=self.problem, retry_s=round(delay, 1))
                await asyncio.sleep(delay)

    async def _live_once(self) -> None:
        """Connect, serve until the connection is lost, raise Unavailable with the reason."""
        self._connections += 1
        try:
            connection = self._connection = self._new_connection()
        except (OSError, ValueError) as error:  # a password file or certificate that is not there (yet)
            raise Unavailable(f"cannot be let in at {self.broker}: {error}") from error
        try:
            await self._open(connection)
            self._up.set()
            self.problem = ""
            self.counters.connects += 1
            self._backoff.succeed()
            log.info("mqtt up", broker=str(self.broker), session_present=connection.limits.session_present)
            await self._watch(connection)
        finally:
            self._up.clear()
            self._close(connection)

    def _new_connection(self) -> _Connection:
        client = _PahoClient(
            CallbackAPIVersion.VERSION2,
            client_id=self.terms.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.connect_timeout = self.terms.connect_timeout_s
        client.max_inflight_messages_set(self.terms.publish_window + 1)
        self._identify(client)
        loop = asyncio.get_running_loop()
        connection = _Connection(self._connections, client, loop.create_future())
        client.arrived = lambda *message: self._on_message(connection, *message)
        client.on_publish = lambda _client, _data, mid, code, _properties: self._on_puback(connection, mid, code)
        return connection

    def _identify(self, client: _PahoClient) -> None:
        broker, will = self.broker, self.terms.will
        if broker.username:
            password = broker.password_file.read_text().strip() if broker.password_file else None
            client.username_pw_set(broker.username, password)
        if broker.tls_ca:
            client.tls_set(str(broker.tls_ca), _text(broker.tls_certificate), _text(broker.tls_key))
        if will:
            properties = Properties(PacketTypes.WILLMESSAGE)
            properties.WillDelayInterval = will.delay_s
            client.will_set(will.topic, will.payload, qos=1, retain=True, properties=properties)

    async def _open(self, connection: _Connection) -> None:
        """Connect and subscribe within the time-out; raises Unavailable."""
        try:
            async with asyncio.timeout(self.terms.connect_timeout_s * 2):
                await self._shake_hands(connection)
                await self._subscribe(connection)
        except TimeoutError:
            raise Unavailable(f"{self.broker} does not answer") from None

    async def _shake_hands(self, connection: _Connection) -> None:
        loop, client = asyncio.get_running_loop(), connection.client
        answered: asyncio.Future[tuple[ReasonCode, Properties | None, bool]] = loop.create_future()
        client.on_connect = lambda _c, _d, flags, code, properties: _settle(
            answered, (code, properties, flags.session_present)
        )
        client.on_socket_register_write = lambda *_: None  # until the socket is ours to watch, below
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = self.terms.session_expiry_s
        properties.ReceiveMaximum = self.terms.receive_maximum
        try:
            client.connect_async(
                self.broker.host,
                self.broker.port,
                self._keep_alive_s,
                clean_start=False,
                properties=properties,
            )
            await asyncio.to_thread(client.reconnect)
        except (OSError, ValueError) as error:
            raise Unavailable(f"cannot reach {self.broker}: {error}") from error
        self._start_io(connection)
        code, granted, session_present = await self._or_lost(connection, answered)
        if code.is_failure:
            raise Unavailable(f"{self.broker} refused the connection: {code.getName()}")
        self._note_limits(connection, granted, session_present)

    def _note_limits(self, connection: _Connection, granted: Properties | None, session_present: bool) -> None:
        """Read CONNACK (MQTT 5, 3.2.2.3); an absent property means the standard's default."""
        values = granted.json() if granted else {}
        limits = connection.limits
        limits.receive_maximum = values.get("ReceiveMaximum", _SPEC_DEFAULT_RECEIVE_MAXIMUM)
        limits.packet_bytes = values.get("MaximumPacketSize", _SPEC_LARGEST_PACKET)
        limits.session_present = session_present
        connection.window = asyncio.Semaphore(min(limits.receive_maximum, self.terms.publish_window))
        if values.get("MaximumQoS", 2) < 1:
            raise Unavailable(f"{self.broker} offers no QoS 1, which delivery needs")
        server_keep_alive = values.get("ServerKeepAlive", self._keep_alive_s)
        if server_keep_alive < self._keep_alive_s:
            self._keep_alive_s = server_keep_alive
            raise Unavailable(f"{self.broker} wants a keep-alive of {server_keep_alive} s; connecting again with it")

    async def _subscribe(self, connection: _Connection) -> None:
        if not self.terms.subscriptions:
            return
        answered: asyncio.Future[list[ReasonCode]] = asyncio.get_running_loop().create_future()
        connection.client.on_subscribe = lambda _c, _d, _mid, codes, _p: _settle(answered, codes)
        connection.client.subscribe([(one, SubscribeOptions(qos=1)) for one in self.terms.subscriptions])
        codes = await self._or_lost(connection, answered)
        for topic, code in zip(self.terms.subscriptions, codes, strict=True):
            if code.value != 1:  # granted QoS 1
                raise Unavailable(f"{self.broker} refused the subscription {topic}: {code.getName()}")

    async def _or_lost(self, connection: _Connection, answer: asyncio.Future[Any]) -> Any:
        await asyncio.wait([answer, connection.lost], return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise Unavailable(f"{self.broker}: {connection.lost.result()}")

    async def _watch(self, connection: _Connection) -> None:
        """Let paho keep its timers once a second; raises Unavailable when the connection is lost."""
        while not connection.lost.done():
            if connection.reading:  # while reading is paused, PINGRESP waits unread, and that is no failure
                connection.client.loop_misc()
            await asyncio.wait([connection.lost], timeout=1.0)
        self.counters.losses += 1
        raise Unavailable(f"{self.broker}: {connection.lost.result()}")

    # ---- socket events

    def _start_io(self, connection: _Connection) -> None:
        client = connection.client
        client.on_disconnect = lambda _c, _d, _flags, code, _p: _settle(connection.lost, f"connection lost ({code})")
        client.on_socket_register_write = lambda *_: self._write_soon(connection)
        client.on_socket_close = lambda _c, _d, sock: self._forget(connection, sock)
        connection.watched = True
        self._write_soon(connection)
        self._start_reading(connection)

    def _start_reading(self, connection: _Connection) -> None:
        sock = connection.client.socket()
        if sock is not None and not connection.lost.done():
            connection.reading = True
            asyncio.get_running_loop().add_reader(sock.fileno(), self._on_readable, connection)

    def _stop_reading(self, connection: _Connection) -> None:
        sock = connection.client.socket()
        if connection.reading and sock is not None and sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        connection.reading = False

    def _forget(self, connection: _Connection, sock: Any) -> None:
        """Stop watching a socket before its number goes to another."""
        connection.reading = False
        asyncio.get_running_loop().remove_reader(sock.fileno())
        asyncio.get_running_loop().remove_writer(sock.fileno())

    def _resume_reading(self) -> None:
        connection = self._connection
        if (
            connection
            and connection.watched  # also before we are up: the SUBACK may wait behind messages of the old session
            and not connection.reading
            and len(self._received) < self.terms.hand_over // 2
        ):
            self._start_reading(connection)
            asyncio.get_running_loop().call_soon(self._on_readable, connection)  # what was read ahead makes no event

    def _on_readable(self, connection: _Connection) -> None:
        """Read packets until the socket is empty or the hand-over is full."""
        while connection.reading:
            sock: Any = connection.client.socket()
            try:
                healthy = sock is not None and connection.client.loop_read() == 0
            except Exception as error:  # noqa: BLE001 - paho on garbage: struct.error, IndexError, MQTTException and more
                self._stop_reading(connection)
                _settle(connection.lost, f"the broker sent what is not MQTT 5 ({error!r})")
                return
            if not healthy:
                _settle(connection.lost, "connection lost while reading")
                return
            if len(self._received) >= self.terms.hand_over:
                self._stop_reading(connection)
            elif not sock.pending():
                return

    def _write_soon(self, connection: _Connection) -> None:
        asyncio.get_running_loop().call_soon(self._on_writable, connection)

    def _on_writable(self, connection: _Connection) -> None:
        """Hand paho's packets to the socket in one piece; whatever does not fit goes when the socket takes more."""
        sock: Any = connection.client.socket()
        if sock is None or connection.lost.done():
            return
        loop = asyncio.get_running_loop()
        try:
            connection.client.loop_write()
            done = sock.flush()
        except OSError as error:
            _settle(connection.lost, f"connection lost while writing ({error})")
            return
        if done:
            loop.remove_writer(sock.fileno())
        else:
            loop.add_writer(sock.fileno(), self._on_writable, connection)

    def _on_message(self, connection: _Connection, topic: str, payload: bytes, retained: bool, mid: int) -> None:
        self.counters.received += 1
        if mid:
            connection.unacked.append(mid)
        self._received.append(Message(topic, payload, retained, mid, connection.number))
        self._arrived.set()

    def _on_puback(self, connection: _Connection, mid: int, code: ReasonCode) -> None:
        waiting = connection.acked.pop(mid, None)
        if waiting is not None:
            _settle(waiting, code)

    def _close(self, connection: _Connection) -> None:
        """End a connection and everything that waits for it. A clean DISCONNECT is sent only while it still stands."""
        client = connection.client
        sock: Any = client.socket()
        if sock is not None and sock.fileno() >= 0:
            self._forget(connection, sock)
        connection.watched = connection.reading = False
        client.on_socket_close = lambda *_: None  # paho says it once more when the client is collected
        if sock is not None and sock.fileno() >= 0:
            client.on_socket_register_write = lambda *_: None
            client.disconnect()
            with contextlib.suppress(OSError):
                client.loop_write()
                sock.flush()
                sock.close()
        _settle(connection.lost, "closed")
        for waiting in connection.acked.values():
            if not waiting.done():
                waiting.set_exception(Unavailable(f"{self.broker}: the connection was cut before its PUBACK"))
        self._connection = None


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
