"""Ingest's I/O: takes packs from the broker, commits them in groups, and only then acknowledges, both ways.

Several lanes work side by side, so that one group is judged while another is being committed; a gateway always uses the
same lane. While the database is away nothing is acknowledged, and the bounded queues stop the socket.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from hub.crash import Point, Reach, nowhere
from hub.ingest.acknowledge import Acknowledger
from hub.ingest.admit import Refused, admit
from hub.ingest.refuse import Refuser, in_vain
from hub.metrics import Metrics
from hub.store.admission import Admitted, Outcome
from hub.store.batches import BatchStore, Committed, NotEnrolled
from hub.store.database import Database, StoreUnavailable
from hub.store.incidents import Incident, IncidentKind, record
from wire.backoff import Backoff
from wire.identity import GatewayId
from wire.keys import Verifier
from wire.mqtt import Link, Message

log = structlog.get_logger(__name__)

_PACK = 64
_REFRESH_S = 5.0


@dataclass(slots=True)
class Enrolled:
    """The registry's keys in memory. A stranger makes us look again, though not more often than every few seconds."""

    fetch: Callable[[], Awaitable[Mapping[GatewayId, Verifier]]]
    keys: Mapping[GatewayId, Verifier] = field(default_factory=dict)
    looked_at: float = float("-inf")

    async def refresh(self, *, at_once: bool = False) -> bool:
        """Read the registry anew, unless that was done just now; returns whether. Raises StoreUnavailable."""
        due = at_once or time.monotonic() - self.looked_at > _REFRESH_S
        if due:
            self.keys = await self.fetch()
            self.looked_at = time.monotonic()
        return due


def _is_stranger(verdict: Admitted | Refused) -> bool:
    return isinstance(verdict, Refused) and verdict.incident.kind is IncidentKind.UNKNOWN_GATEWAY


@dataclass(slots=True, kw_only=True)
class Consumer:
    """The way from the broker to the store."""

    link: Link
    store: BatchStore
    database: Database
    enrolled: Enrolled
    acknowledger: Acknowledger
    refuser: Refuser
    metrics: Metrics
    group: int = 64
    lanes: int = 4
    incident_cap: int = 100
    reach: Reach = nowhere
    _queues: list[asyncio.Queue[Message]] = field(default_factory=list)

    async def run(self) -> None:
        """Work until cancelled."""
        self._queues = [asyncio.Queue(self.group * 2) for _ in range(self.lanes)]
        async with asyncio.TaskGroup() as tasks:
            for number, queue in enumerate(self._queues):
                tasks.create_task(self._work(queue), name=f"ingest lane {number}")
            tasks.create_task(self._distribute(), name="distribute")

    async def _distribute(self) -> None:
        async for pack in self.link.packs(_PACK):
            for message in pack:
                lane = zlib.crc32(message.topic.encode()) % self.lanes
                await self._queues[lane].put(message)
            self.metrics.queue_depth.set(sum(queue.qsize() for queue in self._queues))

    async def _work(self, queue: asyncio.Queue[Message]) -> None:
        while True:
            messages = [await queue.get()]
            while len(messages) < self.group and not queue.empty():
                messages.append(queue.get_nowait())
            self.reach(Point.RECEIVED)
            await self._take(messages)

    async def _take(self, messages: Sequence[Message]) -> None:
        """Store a group, as often as it takes, then acknowledge it to the broker and to the gateways."""
        backoff = Backoff(first_s=0.2, longest_s=5.0)
        while True:
            try:
                admitted, refused = await self._judge(messages)
                committed = await self._commit(admitted)
                await self._record(refused)
                break
            except NotEnrolled:
                # Taken out of the registry since we read it: look again, and the next judgement refuses its batches.
                await self.enrolled.refresh(at_once=True)
            except StoreUnavailable as error:
                delay = backoff.next_s()
                self.metrics.store_unavailable.inc()
                log.warning("store not available; holding back", messages=len(messages), problem=str(error))
                await asyncio.sleep(delay)
        self.reach(Point.AFTER_COMMIT)
        self.link.acknowledge(messages)
        # The PUBACKs leave in the loop's next round, before the acknowledger wakes: that is the instant meant.
        asyncio.get_running_loop().call_soon(self.reach, Point.AFTER_PUBACK)
        self.acknowledger.tell(committed.deliveries, newest_batch=committed.newest_batch)
        self.refuser.tell(in_vain(admitted, committed.outcomes, refused))
        self._count(admitted, committed, refused)

    async def _judge(self, messages: Sequence[Message]) -> tuple[list[Admitted], list[Incident]]:
        admitted: list[Admitted] = []
        refused: list[Incident] = []
        verdicts = self._admit(messages)
        if any(_is_stranger(verdict) for verdict in verdicts) and await self.enrolled.refresh():
            verdicts = self._admit(messages)
        for verdict in verdicts:
            if isinstance(verdict, Refused):
                log.warning("batch refused", kind=str(verdict.incident.kind), problem=verdict.incident.detail)
                refused.append(verdict.incident)
            else:
                admitted.append(verdict)
        return admitted, refused

    def _admit(self, messages: Sequence[Message]) -> list[Admitted | Refused]:
        return [admit(message.topic, message.payload, self.enrolled.keys) for message in messages]

    async def _commit(self, admitted: Sequence[Admitted]) -> Committed:
        started = time.perf_counter()
        committed = await self.store.commit(admitted)
        self.metrics.commit_seconds.observe(time.perf_counter() - started)
        return committed

    async def _record(self, refused: Sequence[Incident]) -> None:
        if refused:
            await record(self.database, refused, cap=self.incident_cap)

    def _count(self, admitted: Sequence[Admitted], committed: Committed, refused: Sequence[Incident]) -> None:
        for one, outcome in zip(admitted, committed.outcomes, strict=True):
            self.metrics.batches.labels(outcome=outcome.value).inc()
            if outcome is Outcome.CONFLICT:
                self.metrics.forks.labels(gateway=one.gateway).inc()
                log.error("two writers of one log", gateway=one.gateway, seq=one.batch.seq, epoch=one.batch.epoch)
        self.metrics.readings.inc(committed.readings)
        self.metrics.undecoded.inc(committed.undecoded)
        self.metrics.observations.inc(committed.observations)
        for incident in refused:
            self.metrics.refused.labels(reason=str(incident.kind)).inc()
