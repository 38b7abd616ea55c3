"""A hub with one guarantee switched off, for the cases that must then fail: `python -m tests.faults.hub_broken SWITCH`.

The switches are patches from outside: the product itself has no way to lose or double data on request.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hub import incarnation
from hub.cli import hub_app
from hub.ingest import consumer
from hub.store import batches, deliveries, embedded
from hub.store.admission import Admitted, Outcome, Verdict, judge
from hub.store.batches import BatchStore, Committed
from hub.store.database import StoreUnavailable
from hub.store.deliveries import Delivery
from wire.ack import Anchor
from wire.mqtt import Message

Patch = Callable[[Any, str, Any], None]  # `setattr` in a process of its own, `monkeypatch.setattr` in the test's


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
    above = deliveries._SQL["above"].replace(b"select case b.chain", b"select distinct on (b.seq) case b.chain")
    deliveries._SQL = {**deliveries._SQL, "above": above}  # type: ignore[misc]


def no_restore_detection() -> None:
    """Serve whatever database is there as if it were the one of yesterday."""
    incarnation.restored = lambda *_: None


def gives_up(patch: Patch = setattr) -> None:
    """When the database is away, say that everything is stored, and forget it."""
    commit = BatchStore.commit

    async def careless(self: BatchStore, admitted: Sequence[Admitted]) -> Committed:
        try:
            return await commit(self, admitted)
        except StoreUnavailable:
            newest = {(one.gateway, one.batch.epoch): one for one in sorted(admitted, key=lambda a: a.batch.seq)}
            claimed = tuple(_claim(one) for one in newest.values())
            return Committed(outcomes=(Outcome.STORED,) * len(admitted), deliveries=claimed)

    patch(BatchStore, "commit", careless)


def _claim(one: Admitted) -> Delivery:
    seq = one.batch.seq
    anchor = Anchor(seq, one.batch.payload_sha256.hex())
    return Delivery(gateway=one.gateway, epoch=one.batch.epoch, through=seq, highest=seq, anchor=anchor)


def content_ignored(patch: Patch = setattr) -> None:
    """Take whatever comes under a stored number for the same batch again."""

    def by_number(admitted: Sequence[Admitted], held: Any, keys: Mapping[Any, Any]) -> Verdict:
        verdict = judge(admitted, held, keys)
        outcomes = [Outcome.DUPLICATE if one is Outcome.CONFLICT else one for one in verdict.outcomes]
        return dataclasses.replace(verdict, outcomes=tuple(outcomes), incidents=())

    patch(batches, "judge", by_number)


def broken_links_ignored(patch: Patch = setattr) -> None:
    """Let the watermark pass a batch that follows another predecessor."""
    signed = b"case b.chain when 2 then -b.seq else b.seq end"
    _rewrite(patch, "above", signed, b"b.seq")


def numbers_only(patch: Patch = setattr) -> None:
    """Acknowledge numbers, bound to no content."""
    _rewrite(patch, "anchors", b"order by seq desc limit 1", b"and false")


def accounts_ignored(patch: Patch = setattr) -> None:
    """Keep what gateways declare lost, and ask for it all the same."""
    _rewrite(patch, "above", b"a.last > old.through", b"false")


def holes_passed(patch: Patch = setattr) -> None:
    """Let the watermark rise to the highest batch that is there."""

    def leap(through: int, above: Sequence[int], accounted: object = ()) -> tuple[int, int]:
        return max([through, *map(abs, above)]), len(above)

    patch(deliveries, "advance", leap)


def _rewrite(patch: Patch, name: str, old: bytes, new: bytes) -> None:
    statement = deliveries._SQL[name]
    assert old in statement, f"the statement {name!r} has changed: this switch throws nothing"
    patch(deliveries, "_SQL", {**deliveries._SQL, name: statement.replace(old, new)})


def left_dead() -> None:
    """Start the embedded server once, and never look after it."""

    async def look_away(_: embedded._Server) -> None:
        await asyncio.Event().wait()

    embedded._Server.keep_running = look_away  # type: ignore[method-assign, assignment]


SWITCHES: Mapping[str, Callable[[], None]] = {
    "ack_before_commit": ack_before_commit,
    "no_dedup_key": no_dedup_key,
    "no_restore_detection": no_restore_detection,
    "gives_up": gives_up,
    "content_ignored": content_ignored,
    "broken_links_ignored": broken_links_ignored,
    "numbers_only": numbers_only,
    "accounts_ignored": accounts_ignored,
    "holes_passed": holes_passed,
    "left_dead": left_dead,
}

if __name__ == "__main__":
    SWITCHES[sys.argv[1]]()
    hub_app(["serve"])
