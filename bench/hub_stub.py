"""The least that a gateway takes for a hub: opens every batch, notes when each reading came, acknowledges in order.

It keeps nothing and commits nothing; `bench/ingest.py` measures the real one.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field

from bench.uplinks import Key
from wire.ack import Ack, seal_ack
from wire.batch import Batch, open_batch
from wire.identity import GatewayId
from wire.keys import SigningKey, Verifier
from wire.mqtt import Broker, Link, Terms, Unavailable
from wire.topics import Subject, Topic

_PACK = 64


@dataclass(slots=True, kw_only=True)
class HubStub:
    """Hears one gateway's batches. `arrived` is when each alarm was first in hand."""

    gateway: GatewayId
    verifier: Verifier
    key: SigningKey
    port: int
    arrived: dict[Key, float] = field(default_factory=dict)
    batch_bytes: int = 0
    batches: dict[int, int] = field(default_factory=dict)
    through: int = 0

    async def run(self) -> None:
        """Hear and acknowledge until cancelled."""
        terms = Terms(
            client_id="bench-hub", subscriptions=[str(Topic(self.gateway, Subject.BATCH))], receive_maximum=_PACK
        )
        async with Link(Broker(port=self.port), terms) as link:
            async for pack in link.packs(_PACK):
                epochs = {self._take(message.payload).epoch for message in pack}
                link.acknowledge(pack)
                self._advance()
                ack = Ack(
                    gateway=self.gateway,
                    incarnation=1,
                    epoch=epochs.pop(),
                    through=self.through,
                    highest=self.through,
                )
                with suppress(Unavailable):
                    await link.publish(str(Topic(self.gateway, Subject.ACK)), seal_ack(ack, self.key))

    def _take(self, envelope: bytes) -> Batch:
        batch = open_batch(envelope, self.verifier)
        now = time.monotonic()
        if batch.seq not in self.batches:
            self.batch_bytes += len(envelope)
            self.batches[batch.seq] = batch.columns.n
            if batch.columns.urgent:  # the others are counted in the spool: unfolding them would take the flood's CPU
                self._note_alarms(batch, now)
        return batch

    def _note_alarms(self, batch: Batch, now: float) -> None:
        for reading in batch.readings():
            link = reading.frame.link
            if reading.urgent and link is not None:
                self.arrived.setdefault((reading.frame.source.partition(":")[2], link.f_cnt), now)

    def _advance(self) -> None:
        while self.through + 1 in self.batches:
            self.through += 1
