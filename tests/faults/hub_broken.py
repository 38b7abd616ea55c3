"""A hub with one guarantee switched off, for the cases that must then fail: `python -m tests.faults.hub_broken SWITCH`.

The switches are patches from outside: the product itself has no way to lose or double data on request.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hub import incarnation
from hub.cli import hub_app
from hub.ingest import consumer
from hub.store import batches, deliveries, embedded
from hub.store.admission import Admitted, Verdict, judge
from hub.store.deliveries import Delivery
from wire.mqtt import Message


def ack_before_commit() -> None:
    """Tell the broker and the gateways first, and store afterwards."""
    take = consumer.Consumer._take

    async def hasty(self: consumer.Consumer, messages: Sequence[Message]) -> None:
        admitted, _ = await self._judge(messages)
        self.link.acknowledge(messages)
        before = self.link.counters.published
        newest = {(one.gateway, one.batch.epoch): one.batch.seq for one in sorted(admitted, key=lambda a: a.batch.seq)}
        self.acknowledger.tell(
            Delivery(gateway=gateway, epoch=epoch, through=seq, highest=seq) for (gateway, epoch), seq in newest.items()
        )
        while newest and self.link.counters.published == before:  # noqa: ASYNC110 - nothing there says so
            await asyncio.sleep(0.001)
        await take(self, messages)

    consumer.Consumer._take = hasty  # type: ignore[method-assign]


def no_dedup_key() -> None:
    """Store whatever comes, however often. The test has dropped the table's key."""

    def blind(admitted: Sequence[Admitted], _: object, keys: Mapping[Any, Any]) -> Verdict:
        return judge(admitted, {}, keys)

    batches.judge = blind  # type: ignore[assignment, attr-defined]
    insert = batches._SQL["insert"].replace(b"on conflict (gateway_id, epoch, seq) do nothing", b"")
    batches._SQL = {**batches._SQL, "insert": insert}  # type: ignore[misc]
    above = deliveries._SQL["above"].replace(b"select b.seq from", b"select distinct b.seq from")
    deliveries._SQL = {**deliveries._SQL, "above": above}  # type: ignore[misc]


def no_restore_detection() -> None:
    """Serve whatever database is there as if it were the one of yesterday."""
    incarnation.restored = lambda *_: None


def left_dead() -> None:
    """Start the embedded server once, and never look after it."""

    async def look_away(_: embedded._Server) -> None:
        await asyncio.Event().wait()

    embedded._Server.keep_running = look_away  # type: ignore[method-assign, assignment]


SWITCHES: Mapping[str, Callable[[], None]] = {
    "ack_before_commit": ack_before_commit,
    "no_dedup_key": no_dedup_key,
    "no_restore_detection": no_restore_detection,
    "left_dead": left_dead,
}

if __name__ == "__main__":
    SWITCHES[sys.argv[1]]()
    hub_app(["serve"])
