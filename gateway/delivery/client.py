"""Delivery's I/O: publishes what the window chooses, hears acknowledgements, persists the watermark they carry."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Self

import msgspec
import structlog

from gateway import crash
from gateway.delivery.window import DeliveryWindow, Verdict
from gateway.spool.spool import Spool
from gateway.spool.sqlite import NotKept
from wire.ack import AckError, open_ack
from wire.batch import MAX_ENVELOPE_BYTES, Sealed
from wire.identity import GatewayId
from wire.keys import Verifier
from wire.mqtt import (
    NO_MATCHING_SUBSCRIBERS,
    PUBLISH_OVERHEAD_BYTES,
    Broker,
    Link,
    Message,
    Terms,
    TooLarge,
    Unavailable,
    Will,
)
from wire.topics import Subject, Topic

log = structlog.get_logger(__name__)

_ACK_PACK = 16


class State(msgspec.Struct, frozen=True):
    """What `up/state` says, retained, and what the broker says for us when we are gone. Always with a time: a retained
    "online" without one is worthless."""

    online: bool
    at_ms: int
    version: str


@dataclass(slots=True)
class Counters:
    """Plain counts for status and metrics."""

    sent: int = 0
    unheard: int = 0
    refused: int = 0
    acks: int = 0
    acks_refused: int = 0


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One gateway's delivery. `run` goes on until it is cancelled; nothing upstream of it ever waits for it."""

    gateway: GatewayId
    spool: Spool
    window: DeliveryWindow
    older: list[DeliveryWindow] = field(default_factory=list)  # of epochs that a damaged card ended
    hub: Verifier
    broker: Broker
    version: str
    keep_alive_s: int = 40
    counters: Counters = field(default_factory=Counters)
    problem: str = "not connected yet"
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _link: Link | None = None
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> Self:
        self._link = await self._stack.enter_async_context(Link(self.broker, self._terms()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _terms(self) -> Terms:
        gone = msgspec.json.encode(State(online=False, at_ms=time.time_ns() // 1_000_000, version=self.version))
        return Terms(
            client_id=self.gateway,
            subscriptions=[str(Topic(self.gateway, Subject.ACK))],
            will=Will(topic=str(Topic(self.gateway, Subject.STATE)), payload=gone),
            keep_alive_s=self.keep_alive_s,
            publish_window=self.window.size + 4,
        )

    @property
    def connected(self) -> bool:
        """Whether the hub's broker has us."""
        return self._link is not None and self._link.connected

    @property
    def line_problem(self) -> str:
        """Why batches do not flow, "" when they do."""
        if self._link is not None and not self._link.connected:
            return self._link.problem
        if not self.problem and self.window.unanswered:
            return "hub not taking data: it has not acknowledged a batch sent three times; ours are kept"
        return self.problem

    def take(self, sealed: Sealed, urgent: bool) -> None:
        """Hear of a sealed batch."""
        self.window.seal(sealed.seq, urgent=urgent)
        self._wake.set()

    def largest_batch(self) -> int:
        """How many bytes of a batch the broker takes, as far as we know: its CONNACK says it for a whole packet."""
        limit = self._link.limits.packet_bytes if self._link is not None else MAX_ENVELOPE_BYTES
        return min(MAX_ENVELOPE_BYTES, limit - PUBLISH_OVERHEAD_BYTES - len(str(Topic(self.gateway, Subject.BATCH))))

    async def run(self) -> None:
        """Send and hear, until cancelled."""
        link = self._opened
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._announce(link), name="announce")
            tasks.create_task(self._hear(link), name="hear acks")
            tasks.create_task(self._send(link, tasks), name="send batches")

    @property
    def _opened(self) -> Link:
        if self._link is None:
            raise RuntimeError("Delivery runs inside `async with`")
        return self._link

    async def _announce(self, link: Link) -> None:
        """At every new connection: start the window anew and say that we are online."""
        last = 0
        while True:
            number = await link.wait_connected()
            if number != last:
                last = number
                for window in self._windows:
                    window.reconnect()
                self._wake.set()
                state = State(online=True, at_ms=time.time_ns() // 1_000_000, version=self.version)
                with contextlib.suppress(Unavailable):
                    await link.publish(str(Topic(self.gateway, Subject.STATE)), msgspec.json.encode(state), retain=True)
            await asyncio.sleep(0.5)

    # ---- batches up

    async def _send(self, link: Link, tasks: asyncio.TaskGroup) -> None:
        while True:
            await link.wait_connected()
            chosen = self._next(time.monotonic())
            if chosen is not None:
                window, seq = chosen
                tasks.create_task(self._publish(link, seq, *([] if window is self.window else [window])))
                await asyncio.sleep(0)
                continue
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                # Not wait_for: on Python 3.11 it can swallow the cancellation that ends us.
                await _woken(self._wake, self._wake_in(time.monotonic()))

    @property
    def _windows(self) -> list[DeliveryWindow]:
        return [self.window, *self.older]

    def _next(self, now: float) -> tuple[DeliveryWindow, int] | None:
        """Return the batch to send now: this epoch's first, then what is left of older ones."""
        for window in self._windows:
            seq = window.next(now)
            if seq is not None:
                return window, seq
        return None

    def _wake_in(self, now: float) -> float | None:
        return min((due for window in self._windows if (due := window.wake_in(now)) is not None), default=None)

    async def _publish(self, link: Link, seq: int, older: DeliveryWindow | None = None) -> None:
        window = older or self.window
        envelope = await self.spool.envelope(seq, window.epoch)
        if envelope is None:
            window.drop(seq)
            self._wake.set()
            return
        crash.reach(crash.Point.BEFORE_PUBLISH)
        try:
            code = await link.publish(str(Topic(self.gateway, Subject.BATCH)), envelope)
        except TooLarge as error:
            self.counters.refused += 1
            self.problem = f"batch {seq} does not fit this broker: {error}"
            log.warning("batch too large for the broker", seq=seq, problem=str(error))
            window.fail(seq, time.monotonic(), wait=True)
        except Unavailable as error:
            self.problem = str(error)
            window.fail(seq, time.monotonic(), wait=link.connected)
        else:
            crash.reach(crash.Point.AFTER_PUBLISH)
            self.counters.sent += 1
            if code == NO_MATCHING_SUBSCRIBERS:
                # The broker took it and threw it away: nobody listens there (mqtt.md section 4).
                self.counters.unheard += 1
                self.problem = "the broker is there, the hub is not: nobody is subscribed to our batches"
                window.fail(seq, time.monotonic(), wait=True)
        self._wake.set()

    # ---- acknowledgements down

    async def _hear(self, link: Link) -> None:
        async for pack in link.packs(_ACK_PACK):
            for message in pack:
                await self._take_ack(message)
            link.acknowledge(pack)

    async def _take_ack(self, message: Message) -> None:
        """Believe an acknowledgement that our hub signed for us, persist it, and free what it frees."""
        try:
            ack = open_ack(message.payload, self.gateway, self.hub)
        except AckError as error:
            self.counters.acks_refused += 1
            log.warning("acknowledgement refused", problem=str(error))
            return
        window = next((one for one in self._windows if one.epoch == ack.epoch), self.window)
        verdict = window.acknowledge(ack, time.monotonic())
        if verdict is not Verdict.ACCEPTED:
            self.counters.acks_refused += verdict is not Verdict.LATE
            log.info("acknowledgement not taken", verdict=str(verdict), through=ack.through)
            return
        self.counters.acks += 1
        self.problem = ""
        crash.reach(crash.Point.BEFORE_CONFIRM)
        try:
            await self.spool.confirm(ack)
        except NotKept as error:  # the hub says it again; until then a restart sends what it has already
            log.warning("watermark not noted", problem=str(error))
        crash.reach(crash.Point.AFTER_CONFIRM)
        self._wake.set()


async def _woken(event: asyncio.Event, within_s: float | None) -> None:
    """Wait for the event; raises TimeoutError."""
    async with asyncio.timeout(within_s):
        await event.wait()
