"""The ChirpStack source: hears the local broker, yields packs of events, acknowledges them once they are kept.

ChirpStack publishes and forgets: there is no store behind it. So the broker on this machine holds a persistent session
for us, and no event is acknowledged to it before the spool has it (lorawan.md section 1).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import structlog

from gateway.clock import Clock, Instant
from gateway.health.radio import RadioHealth
from gateway.sources.chirpstack_events import EventError, Heard, malformed, parse
from wire.mqtt import Link, Message, Terms
from wire.reading import Frame, Reading

log = structlog.get_logger(__name__)

_PACK = 200


@dataclass(slots=True)
class Counters:
    """Plain counts for status and metrics."""

    events: int = 0
    kept: int = 0
    malformed: int = 0
    oversize: int = 0
    not_kept: int = 0


@dataclass(frozen=True, slots=True)
class Pack:
    """What arrived together: events read, frames that could not be, and what to acknowledge when both are kept."""

    heard: Sequence[Heard]
    rejected: Sequence[Frame]
    messages: Sequence[Message]


def terms(client_id: str, application: str) -> Terms:
    """Return how to connect to ChirpStack's broker: a session that outlives us, a window wide enough for a burst."""
    return Terms(
        client_id=client_id,
        subscriptions=[f"application/{application}/device/+/event/+"],
        session_expiry_s=7 * 86_400,
        receive_maximum=4 * _PACK,  # one pack each is read, decoded and committed at the same time; one more waits
        hand_over=8 * _PACK,
    )


@dataclass(slots=True)
class ChirpStackSource:
    """Events of one ChirpStack, in order of arrival."""

    link: Link
    clock: Clock
    largest_event_bytes: int = 65_536
    counters: Counters = field(default_factory=Counters)
    radio: RadioHealth = field(default_factory=RadioHealth)

    async def packs(self) -> AsyncIterator[Pack]:
        """Yield packs: one event when quiet, up to two hundred in a burst."""
        async for messages in self.link.packs(_PACK):
            yield self._pack(messages)

    def keep(self, pack: Pack) -> None:
        """Acknowledge a pack to the broker: its frames are durable."""
        self.link.acknowledge(pack.messages)
        self.counters.kept += len(pack.messages)

    def report(self, now: Instant) -> list[Reading]:
        """Return how well each device was heard since the last report."""
        for dev_eui in self.radio.storming():
            log.warning("join storm: the device joins again and again", dev_eui=dev_eui)
        return list(self.radio.report(now))

    def _pack(self, messages: list[Message]) -> Pack:
        heard: list[Heard] = []
        rejected: list[Frame] = []
        now = self.clock.now()
        for message in messages:
            self.counters.events += 1
            payload = self._within_limit(message)
            try:
                event = parse(message.topic, payload, now)
            except EventError as error:
                self.counters.malformed += 1
                log.warning("event kept raw", topic=message.topic, problem=str(error))
                rejected.append(malformed(message.topic, payload, now))
                continue
            if event is None:
                self.counters.not_kept += 1
            else:
                self.radio.hear(event.frame, event.spreading_factor)
                heard.append(event)
        return Pack(heard, rejected, messages)

    def _within_limit(self, message: Message) -> bytes:
        """Return the payload, or its head with its hash: an oversize event must not fill the card."""
        payload = message.payload
        if len(payload) <= self.largest_event_bytes:
            return payload
        self.counters.oversize += 1
        digest = hashlib.sha256(payload).hexdigest()
        log.warning("oversize event cut", topic=message.topic, bytes=len(payload), sha256=digest)
        return b"cut from %d bytes, sha256 %b: " % (len(payload), digest.encode()) + payload[:1024]
