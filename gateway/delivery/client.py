"""Delivery's I/O: publishes what the window chooses, hears acknowledgements, persists the watermark they carry."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

import msgspec
import structlog

from gateway import crash
from gateway.delivery.pace import Pace
from gateway.delivery.window import DeliveryWindow, Verdict
from gateway.spool.spool import Spool
from gateway.spool.sqlite import NotKept
from gateway.spool.views import Older, Position
from wire import dsse
from wire.ack import Ack, AckError, open_ack
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
from wire.refusal import REFUSAL_TYPE, RefusalError, open_refusal
from wire.topics import Subject, Topic

log = structlog.get_logger(__name__)

_ACK_PACK = 16
_FORK_PAUSE_S = (
    3600.0  # between two epochs that we end: a hub that talks nonsense must not make us begin them without end
)
_MOST_SENT = 256  # envelopes whose hash is kept, to know a refusal's batch by
EndEpoch = Callable[[str, int, Callable[[Older, Position], None]], Awaitable[None]]


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
    forks: int = 0
    expired: int = 0


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
    publish_window: int = 16
    counters: Counters = field(default_factory=Counters)
    problem: str = "not connected yet"
    # Ends the epoch between two batches (`Sealer.end_epoch`): delivery finds forks, sealing writes the log.
    end_epoch: EndEpoch | None = None
    pace: Pace = field(default_factory=Pace)
    _ended_at: float = float("-inf")
    _sent: dict[str, tuple[DeliveryWindow, int]] = field(default_factory=dict)  # by the envelope's SHA-256
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _link: Link | None = None
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> Self:
        self._link = await self._stack.enter_async_context(Link(self.broker, self._terms()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _terms(self) -> Terms:
        gone = msgspec.json.encode(State(online=False, at_ms=_now_ms(), version=self.version))
        return Terms(
            client_id=self.gateway,
            subscriptions=[str(Topic(self.gateway, Subject.ACK))],
            will=Will(topic=str(Topic(self.gateway, Subject.STATE)), payload=gone),
            keep_alive_s=self.keep_alive_s,
            publish_window=self.publish_window + 4,
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
        return self.problem or self._parked_problem()

    def _parked_problem(self) -> str:
        refused = [(window.epoch, seq, why) for window in self._windows for seq, why in window.parked.items()]
        if not refused:
            return ""
        epoch, seq, why = refused[0]
        more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
        return f"the hub does not take batch {seq} of epoch {epoch} ({why}){more}; kept, and sent again every hour"

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
                self.pace.start_over()
                for window in self._windows:
                    window.reconnect()
                self._wake.set()
                state = State(online=True, at_ms=_now_ms(), version=self.version)
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
                self.pace.begin((window.epoch, seq), time.monotonic())
                tasks.create_task(self._pass(link, seq, window))
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
            seq = window.next(now, bulk=self.pace.has_room)
            if seq is not None:
                return window, seq
        return None

    def _wake_in(self, now: float) -> float | None:
        if not self.pace.has_room:
            return None  # what is on the line wakes us when it has arrived, or is lost with its connection
        return min((due for window in self._windows if (due := window.wake_in(now)) is not None), default=None)

    async def _pass(self, link: Link, seq: int, window: DeliveryWindow) -> None:
        """Bring one batch to the broker, and let the pace know how long that took."""
        taken = False
        try:
            taken = await self._publish(link, seq, *([] if window is self.window else [window]))
        finally:
            self.pace.end((window.epoch, seq), time.monotonic(), taken=taken)
            self._wake.set()

    async def _publish(self, link: Link, seq: int, older: DeliveryWindow | None = None) -> bool:
        """Publish one batch; returns whether the broker has it."""
        window = older or self.window
        envelope = await self.spool.envelope(seq, window.epoch)
        if envelope is None:
            await self._gone(window, seq)
            return False
        self._remember(envelope, window, seq)
        self.pace.weigh((window.epoch, seq), len(envelope), time.monotonic())
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
            return True
        return False

    async def _gone(self, window: DeliveryWindow, seq: int) -> None:
        """Drop what has no bytes any more. What only retention let go becomes a gap record: the hub asks for it."""
        try:
            last = await self.spool.note_expired(seq, window.epoch, _now_ms())
        except NotKept:
            last = seq
        self.counters.expired += last - seq + 1
        window.drop(seq, last)
        self._wake.set()

    def _remember(self, envelope: bytes, window: DeliveryWindow, seq: int) -> None:
        self._sent[hashlib.sha256(envelope).hexdigest()] = (window, seq)
        while len(self._sent) > _MOST_SENT:
            del self._sent[next(iter(self._sent))]

    # ---- acknowledgements and refusals down

    async def _hear(self, link: Link) -> None:
        async for pack in link.packs(_ACK_PACK):
            for message in pack:
                if payload_type(message.payload) == REFUSAL_TYPE:
                    self._take_refusal(message)
                else:
                    await self._take_ack(message)
            link.acknowledge(pack)

    def _take_refusal(self, message: Message) -> None:
        """Note which of our batches the hub does not take, and why. It frees nothing."""
        try:
            refusal = open_refusal(message.payload, self.gateway, self.hub)
        except RefusalError as error:
            self.counters.acks_refused += 1
            log.warning("refusal not believed", problem=str(error))
            return
        for one in refusal.refused:
            window, seq = self._sent.get(one.sha256, (None, 0))
            if window is not None:
                self.counters.refused += 1
                log.warning("batch refused by the hub", epoch=window.epoch, seq=seq, reason=str(one.reason))
                window.refuse(seq, str(one.reason), time.monotonic())
        self._wake.set()

    async def _take_ack(self, message: Message) -> None:
        """Believe an acknowledgement that our hub signed for us, persist it, and free what it frees."""
        try:
            ack = open_ack(message.payload, self.gateway, self.hub)
        except AckError as error:
            self.counters.acks_refused += 1
            log.warning("acknowledgement refused", problem=str(error))
            return
        window = next((one for one in self._windows if one.epoch == ack.epoch), self.window)
        ours = await self.spool.payload_sha256(ack.anchor.seq, ack.epoch) if ack.anchor is not None else None
        verdict = window.acknowledge(ack, time.monotonic(), ours)
        if verdict is Verdict.FORK and not window.disputed:
            verdict = await self._fork(window, ack, ours)
        if verdict is not Verdict.ACCEPTED:
            self.counters.acks_refused += verdict is not Verdict.LATE
            log.info("acknowledgement not taken", verdict=str(verdict), through=ack.through)
            return
        self.counters.acks += 1
        self.problem = ""
        await self._confirm(window, ack, ours)

    async def _confirm(self, window: DeliveryWindow, ack: Ack, ours: bytes | None) -> None:
        """Write down what is confirmed. Only what our own anchor proves may ever be deleted."""
        if window.disputed:
            ack = msgspec.structs.replace(ack, through=window.through, highest=window.through, missing=())
        proven = ack.anchor.seq if ack.anchor is not None and ours is not None else 0
        crash.reach(crash.Point.BEFORE_CONFIRM)
        try:
            await self.spool.confirm(ack, proven)
        except NotKept as error:  # the hub says it again; until then a restart sends what it has already
            log.warning("watermark not noted", problem=str(error))
        crash.reach(crash.Point.AFTER_CONFIRM)
        self._wake.set()

    async def _fork(self, window: DeliveryWindow, ack: Ack, ours: bytes | None) -> Verdict:
        """Somebody else writes this log: part from them (decision 010), and take what the acknowledgement proves."""
        self.counters.forks += 1
        reason = _fork_reason(window, ack, ours)
        log.error("two writers of one log", epoch=ack.epoch, problem=reason)
        if window is self.window:
            paused = time.monotonic() - self._ended_at < _FORK_PAUSE_S
            if paused or self.end_epoch is None:
                self.problem = f"two writers of one log: {reason}; is this card a copy? (docs/operating.md)"
                return Verdict.FORK
            self._ended_at = time.monotonic()
            await self.end_epoch(reason, _now_ms(), self._part)
        window.disputed = True
        return window.acknowledge(ack, time.monotonic(), ours)

    def _part(self, ended: Older, begun: Position) -> None:
        """Go on in a new epoch; what is left of the ended one is delivered beside it."""
        left = self.window
        left.highest = ended.last_seq
        left.size = max(1, left.size // 4)
        self.older.insert(0, left)
        self.window = DeliveryWindow(
            epoch=begun.epoch, incarnation=left.incarnation, size=self.publish_window, resend_s=left.resend_s
        )
        self._wake.set()


def _fork_reason(window: DeliveryWindow, ack: Ack, ours: bytes | None) -> str:
    if ack.highest > window.highest:
        return f"the hub has batches up to {ack.highest}, we have sealed {window.highest}"
    if ack.anchor is not None and ours is not None and ours.hex() != ack.anchor.sha256:
        return f"the hub's batch {ack.anchor.seq} is not ours"
    return f"at the hub batch {ack.broken} does not follow the one before it"


def payload_type(message: bytes) -> str:
    """Return what kind of signed message this says it is, "" where it is none; nothing is believed yet."""
    try:
        return dsse.Envelope.decode(message).payload_type
    except dsse.EnvelopeError:
        return ""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _woken(event: asyncio.Event, within_s: float | None) -> None:
    """Wait for the event; raises TimeoutError."""
    async with asyncio.timeout(within_s):
        await event.wait()
