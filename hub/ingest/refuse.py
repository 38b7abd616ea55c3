"""Refusals: telling a gateway which of its messages were not stored, and why (decision 010). They free nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import structlog

from hub.metrics import Metrics
from hub.store.admission import Admitted, Outcome
from hub.store.incidents import Incident, IncidentKind
from wire.identity import GatewayId
from wire.keys import SigningKey
from wire.mqtt import Link, Unavailable
from wire.refusal import MOST_REFUSED, Reason, Refusal, Refused, refused, seal_refusal
from wire.topics import Subject, Topic

log = structlog.get_logger(__name__)

# What a gateway is told of what we note. Whoever is not enrolled is told nothing: unknown_gateway has no reason.
REASONS: Final[Mapping[IncidentKind, Reason]] = MappingProxyType(
    {
        IncidentKind.BAD_SIGNATURE: Reason.BAD_SIGNATURE,
        IncidentKind.CONFLICT: Reason.CONFLICT,
        IncidentKind.MALFORMED: Reason.MALFORMED,
        IncidentKind.TOO_LARGE: Reason.TOO_LARGE,
        IncidentKind.UNKNOWN_VERSION: Reason.UNKNOWN_VERSION,
        IncidentKind.WRONG_TOPIC: Reason.WRONG_TOPIC,
    }
)


def in_vain(
    admitted: Sequence[Admitted], outcomes: Sequence[Outcome], incidents: Iterable[Incident]
) -> Iterator[tuple[GatewayId, Refused]]:
    """Yield what enrolled gateways sent in vain: what became an incident before the store, or is a conflict. Pure."""
    for incident in incidents:
        if incident.gateway is not None and incident.evidence is not None and incident.kind in REASONS:
            yield incident.gateway, refused(incident.evidence, REASONS[incident.kind])
    for one, outcome in zip(admitted, outcomes, strict=True):
        if outcome is Outcome.CONFLICT:
            yield one.gateway, refused(one.envelope, Reason.CONFLICT)


@dataclass(slots=True, kw_only=True)
class Refuser:
    """Publishes refusals, many in one message. One that cannot be sent is dropped: the batch comes again, and so will
    it. What waits is bounded by the enrolled gateways and MOST_REFUSED."""

    link: Link
    key: SigningKey
    metrics: Metrics
    _waiting: dict[GatewayId, dict[str, Refused]] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, told: Iterable[tuple[GatewayId, Refused]]) -> None:
        """Take what enrolled gateways sent in vain. Beyond MOST_REFUSED a gateway is told when it sends again."""
        for gateway, one in told:
            waiting = self._waiting.setdefault(gateway, {})
            if len(waiting) < MOST_REFUSED:
                waiting[one.sha256] = one
            self._news.set()

    async def run(self) -> None:
        """Publish what `tell` brings, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.link.wait_connected()
            waiting, self._waiting = self._waiting, {}
            await asyncio.gather(*(self._publish(gateway, told) for gateway, told in waiting.items()))

    async def _publish(self, gateway: GatewayId, told: Mapping[str, Refused]) -> None:
        refusal = Refusal(gateway=gateway, refused=tuple(told.values()))
        try:
            await self.link.publish(str(Topic(gateway, Subject.ACK)), seal_refusal(refusal, self.key))
            self.metrics.refusals.inc()
        except Unavailable as error:
            log.warning("refusal not sent", gateway=gateway, batches=len(told), problem=str(error))
