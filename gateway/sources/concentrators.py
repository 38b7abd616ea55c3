"""The concentrators' source: hears what forwarders say of themselves on the region's topics.

Counts of the moment, published at QoS 0: what is missed here is a slot with fewer words, never a lost reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from gateway.clock import Instant
from gateway.health.concentrator import SUBSCRIPTIONS, ConcentratorHealth, StatsError, parse
from wire.mqtt import Link, Terms
from wire.reading import Reading

log = structlog.get_logger(__name__)

_PACK = 50


def terms(client_id: str) -> Terms:
    """Return how to connect: no session that outlives us, for an old count says nothing."""
    return Terms(client_id=client_id, subscriptions=SUBSCRIPTIONS, session_expiry_s=0)


@dataclass(slots=True)
class ConcentratorSource:
    """What the concentrators around us say. `run` listens; `report` closes a slot."""

    link: Link
    health: ConcentratorHealth = field(default_factory=ConcentratorHealth)
    malformed: int = 0
    _connection: int = 0

    async def run(self) -> None:
        """Listen until cancelled."""
        async for pack in self.link.packs(_PACK):
            for message in pack:
                try:
                    self.health.hear(parse(message.topic, message.payload))
                except StatsError as error:
                    self.malformed += 1
                    log.warning("concentrator's message not read", problem=str(error))
            self.link.acknowledge(pack)

    def report(self, now: Instant) -> list[Reading]:
        """Return a slot's readings: silence counts where one connection lasted all through it."""
        connection = self.link.connection_number
        listening = self.link.connected and connection == self._connection
        self._connection = connection
        return list(self.health.report(now, listening=listening))
