"""Acknowledgements: what the store has committed, signed, retained, one topic per gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from hub.crash import Point, Reach, nowhere
from hub.metrics import Metrics
from hub.store.deliveries import Delivery, Log
from wire.ack import Ack, seal_ack
from wire.keys import SigningKey
from wire.mqtt import Link, Unavailable
from wire.topics import Subject, Topic

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Acknowledger:
    """Publishes the newest watermark of each log, bound to content. One that could not be sent goes with the next.

    `announce` is told the newest batch before a word of it leaves (decision 009).
    """

    link: Link
    key: SigningKey
    incarnation: int
    metrics: Metrics
    reach: Reach = nowhere
    announce: Callable[[int], None] = lambda _: None
    _batch_no: int = 0
    _newest: dict[Log, Delivery] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, deliveries: Iterable[Delivery], *, newest_batch: int = 0) -> None:
        """Take watermarks of committed transactions. A newer one replaces what has not been sent yet."""
        self._batch_no = max(self._batch_no, newest_batch)
        for delivery in deliveries:
            log_of = (delivery.gateway, delivery.epoch)
            waiting = self._newest.get(log_of)
            if waiting is None or waiting.through <= delivery.through:
                self._newest[log_of] = delivery
        self._news.set()

    async def run(self) -> None:
        """Publish what `tell` brings, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.link.wait_connected()
            newest, self._newest = self._newest, {}
            self.announce(self._batch_no)
            await asyncio.gather(*(self._publish(delivery) for delivery in newest.values()))

    async def _publish(self, delivery: Delivery) -> None:
        self.reach(Point.BEFORE_ACK)
        missing, highest = delivery.holes()
        ack = Ack(
            gateway=delivery.gateway,
            incarnation=self.incarnation,
            epoch=delivery.epoch,
            through=delivery.through,
            highest=highest,
            missing=missing,
            anchor=delivery.anchor,
            broken=delivery.broken,
        )
        try:
            topic = str(Topic(delivery.gateway, Subject.ACK))
            await self.link.publish(topic, seal_ack(ack, self.key), retain=True)
            self.metrics.acks.inc()
            self.reach(Point.AFTER_ACK)
        except Unavailable as error:
            log.warning("acknowledgement not sent", gateway=delivery.gateway, problem=str(error))
            self._newest.setdefault((delivery.gateway, delivery.epoch), delivery)
            self._news.set()
