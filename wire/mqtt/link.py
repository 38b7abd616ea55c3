"""A connection to a broker that is kept up: what the application holds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Self

import structlog

from wire.backoff import Backoff
from wire.mqtt.connection import Connection, Counters
from wire.mqtt.hand_over import HandOver, Message
from wire.mqtt.opening import ShorterKeepAlive, new_client, open_connection
from wire.mqtt.terms import PUBLISH_OVERHEAD_BYTES, Broker, Limits, Silent, Terms, TooLarge, Unavailable

log = structlog.get_logger(__name__)

_FAILURE = 0x80  # reason codes from here on are failures (MQTT 5, 2.4)
_STOOD_S = 60.0  # a connection that lived as long was a good one; longer than the next wait, else twins never tire
_SHORT_LIVED_WAIT_S = 30.0  # what lives shorter is tried again within half a minute: an alarm may be waiting


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
        self._connection: Connection | None = None
        self._connections = 0
        self._keep_alive_s = terms.keep_alive_s
        self._small_packets = False
        self._up = asyncio.Event()
        self._hand_over = HandOver(terms.hand_over)
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
            pack = await self._hand_over.take(most)
            if self._connection is not None:
                self._connection.resume_reading()
            yield pack

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send PUBACK for messages whose content is safe. Those of an earlier connection will come again by themselves.

        PUBACKs leave in the order in which the messages came, whatever order they are acknowledged in (MQTT 5, 4.6):
        one whose predecessor is still being worked on waits for it.
        """
        if self._connection is not None:
            self._connection.acknowledge(messages)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None) -> int:
        """Publish with QoS 1 and wait for the PUBACK; returns its reason code (0, or 0x10: nobody subscribed).

        Raises Unavailable when there is no connection, it was cut meanwhile, or the broker refused; TooLarge before
        sending.
        """
        connection = self._connection
        if connection is None or connection.lost.done() or not self._up.is_set():
            await asyncio.sleep(0)  # else a caller who tries again at once would keep us from noticing the loss
            raise Unavailable(f"no connection to {self.broker}: {self.problem or 'just lost'}")
        size = len(topic.encode()) + len(payload) + PUBLISH_OVERHEAD_BYTES
        if size > connection.limits.packet_bytes:
            raise TooLarge(f"{size} bytes; {self.broker} takes packets of at most {connection.limits.packet_bytes}")
        code = await connection.publish(topic, payload, retain, expiry_s)
        if code.value >= _FAILURE:
            raise Unavailable(f"{self.broker} refused a message on {topic}: {code.getName()} (0x{code.value:02x})")
        self.counters.published += 1
        return int(code.value)

    # ---- keeping the connection up

    async def _keep_up(self) -> None:
        while True:
            try:
                await self._live_once()
            except Unavailable as error:
                if isinstance(error, ShorterKeepAlive):
                    self._keep_alive_s = error.keep_alive_s
                if isinstance(error, Silent):
                    # Either the line is dead, or it swallows large packets and tells nobody: try the other size.
                    self._small_packets = not self._small_packets
                self.problem = str(error)
                delay = self._backoff.next_s()
                log.warning("mqtt down", broker=str(self.broker), problem=self.problem, retry_s=round(delay, 1))
                await asyncio.sleep(delay)

    async def _live_once(self) -> None:
        """Connect, serve until the connection is lost, raise Unavailable with the reason."""
        self._connections += 1
        connection = self._connection = self._new_connection()
        try:
            await open_connection(connection, self.terms, self._keep_alive_s, small_packets=self._small_packets)
            self._up.set()
            self.problem = ""
            self.counters.connects += 1
            up_since = time.monotonic()
            log.info("mqtt up", broker=str(self.broker), session_present=connection.limits.session_present)
            await connection.watch()
            self.counters.losses += 1
            self._relent(time.monotonic() - up_since)
            reason = f"{self.broker}: {connection.lost.result()}"
            raise Silent(reason) if connection.silent else Unavailable(reason)
        finally:
            self._up.clear()
            connection.close()
            self._connection = None

    def _relent(self, stood_s: float) -> None:
        """Forget earlier failures, unless this connection did not stand: a twin with our name throws us out again and
        again, and each new connection costs a TLS handshake."""
        if stood_s >= _STOOD_S:
            self._backoff.succeed()
        else:
            self._backoff.relent(_SHORT_LIVED_WAIT_S)

    def _new_connection(self) -> Connection:
        try:
            client = new_client(self.broker, self.terms)
        except (OSError, ValueError) as error:  # a password file or certificate that is not there (yet)
            raise Unavailable(f"cannot be let in at {self.broker}: {error}") from error
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return Connection(self._connections, self.broker, client, self._hand_over, self.counters, lost)
