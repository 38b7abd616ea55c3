"""Refusals: who is told what, how much at once, and that a lost one is no harm."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

from hub.ingest.admit import Refused as Verdict
from hub.ingest.admit import admit
from hub.ingest.refuse import REASONS, Refuser, in_vain
from hub.metrics import Metrics
from hub.store.admission import Outcome
from hub.store.incidents import Incident, IncidentKind
from tests.hub.ingest.running import until
from tests.hub.written import Log, series
from wire.identity import GatewayId
from wire.keys import SigningKey
from wire.mqtt import Link, Unavailable
from wire.refusal import MOST_REFUSED, Reason, Refused, open_refusal, refused

GATEWAY = GatewayId("gw-a")
# What happens beside the way of one message into the store: nobody sends it again, so nobody is told.
NOT_REFUSED = {
    IncidentKind.UNKNOWN_GATEWAY,
    IncidentKind.CHAIN_BREAK,
    IncidentKind.RESTORED,
    IncidentKind.NEW_EPOCH,
    IncidentKind.SALVAGED,
    IncidentKind.TOO_MANY_GAPS,
}


def test_reasons_and_incidents_are_two_closed_lists_in_step() -> None:
    assert set(REASONS.values()) == set(Reason)
    assert {str(kind): str(reason) for kind, reason in REASONS.items()} == {str(one): str(one) for one in Reason}
    assert set(REASONS) | NOT_REFUSED == set(IncidentKind)
    assert not set(REASONS) & NOT_REFUSED


def test_a_refused_message_and_a_conflict_are_named_by_their_bytes() -> None:
    log = Log(GATEWAY)
    first, second = log.seal(series(1)), log.seal(series(2))
    verdict = admit("xom/v1/gw/gw-a/up/batch", b"poison", {GATEWAY: log.key.public.verifier()})
    assert isinstance(verdict, Verdict)
    told = in_vain([first, second], [Outcome.STORED, Outcome.CONFLICT], [verdict.incident])
    assert list(told) == [
        (GATEWAY, refused(b"poison", Reason.BAD_SIGNATURE)),
        (GATEWAY, refused(second.envelope, Reason.CONFLICT)),
    ]


def test_whoever_is_not_enrolled_is_told_nothing() -> None:
    verdict = admit("xom/v1/gw/gw-a/up/batch", b"poison", {})
    assert isinstance(verdict, Verdict)
    nowhere = Incident(kind=IncidentKind.WRONG_TOPIC, gateway=None, detail="", evidence=b"x")
    assert not list(in_vain([], [], [verdict.incident, nowhere]))


# ---- publishing


@dataclass
class Line:
    """A link that keeps what is published; while it is cut it takes nothing."""

    cut: bool = False
    held: asyncio.Event = field(default_factory=asyncio.Event)
    published: list[tuple[str, bytes, bool]] = field(default_factory=list)

    async def wait_connected(self) -> int:
        await self.held.wait()
        return 1

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        if self.cut:
            raise Unavailable("the line was cut")
        self.published.append((topic, payload, retain))
        return 0


@dataclass
class Bench:
    """A refuser on a line, running."""

    line: Line
    refuser: Refuser
    key: SigningKey

    def told(self) -> dict[str, list[Refused]]:
        """What each gateway was told, in one message each."""
        found: dict[str, list[Refused]] = {}
        for topic, payload, retain in self.line.published:
            gateway = GatewayId(topic.split("/")[3])
            assert (topic, retain) == (f"xom/v1/gw/{gateway}/down/ack", False)
            assert gateway not in found, "coalesced"
            found[gateway] = list(open_refusal(payload, gateway, self.key.public.verifier()).refused)
        return found


async def run(bench: Bench, *told: tuple[GatewayId, Refused], expected: int) -> None:
    """Tell everything while the line is held, then let it go."""
    running = asyncio.create_task(bench.refuser.run())
    bench.refuser.tell(told)
    bench.line.held.set()
    await until(lambda: len(bench.line.published) >= expected, "published")
    running.cancel()


def bench() -> Bench:
    line, key = Line(), SigningKey.generate()
    return Bench(line, Refuser(link=cast("Link", cast("Any", line)), key=key, metrics=Metrics()), key)


async def test_many_refusals_are_one_message_a_gateway_and_the_same_one_is_told_once() -> None:
    made, other = bench(), GatewayId("gw-b")
    ours = [refused(b"%d" % number, Reason.MALFORMED) for number in (1, 2, 1)]
    await run(made, *((GATEWAY, one) for one in ours), (other, ours[0]), expected=2)
    assert made.told() == {GATEWAY: ours[:2], other: ours[:1]}


async def test_more_than_fit_into_one_message_are_left_for_when_they_come_again() -> None:
    made = bench()
    flood = [refused(b"%d" % number, Reason.BAD_SIGNATURE) for number in range(10 * MOST_REFUSED)]
    await run(made, *((GATEWAY, one) for one in flood), expected=1)
    assert made.told() == {GATEWAY: flood[:MOST_REFUSED]}
    assert not made.refuser._waiting


async def test_a_refusal_that_cannot_be_sent_is_dropped_and_the_next_one_goes() -> None:
    made = bench()
    made.line.cut = True
    lost, later = refused(b"lost", Reason.CONFLICT), refused(b"later", Reason.CONFLICT)
    running = asyncio.create_task(made.refuser.run())
    made.line.held.set()
    made.refuser.tell([(GATEWAY, lost)])
    await until(lambda: not made.refuser._waiting, "tried")
    made.line.cut = False
    made.refuser.tell([(GATEWAY, later)])
    await until(lambda: bool(made.line.published), "published")
    running.cancel()
    assert made.told() == {GATEWAY: [later]}
