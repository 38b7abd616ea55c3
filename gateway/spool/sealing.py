"""When and what to seal: the head of the spool becomes a batch that accounts for a window of time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway import crash
from gateway.clock import Instant
from gateway.due import DueLedger
from gateway.spool.spool import Spool
from gateway.spool.views import Contents, Older, Position
from gateway.steps import StepFinder
from wire.batch import MAX_ENVELOPE_BYTES, BatchError, Clock, Draft, Event, Sealed, Software
from wire.identity import GatewayId
from wire.reading import ClockState, Reading

_FEWER = 2  # a batch that is too large is cut in halves until it fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """Seal what is there after `every_s`, an empty batch after `idle_s`, at once at `most_readings` or for an alarm."""

    every_s: float = 60.0
    idle_s: float = 300.0
    most_readings: int = 200

    def is_due(self, *, waited_s: float, unsealed: int, urgent: bool) -> bool:
        """Whether to seal now, `waited_s` after the last batch's window ended."""
        if urgent or unsealed >= self.most_readings:
            return True
        return waited_s >= (self.every_s if unsealed else self.idle_s)


@dataclass(slots=True, kw_only=True)
class Sealer:
    """Seals one gateway's batches. `sealed` is told of each, in order."""

    gateway: GatewayId
    spool: Spool
    rhythm: Rhythm
    software: Software
    due: DueLedger
    sealed: Callable[[Sealed, bool], None]
    started_at_ms: int
    largest: Callable[[], int] = lambda: MAX_ENVELOPE_BYTES
    steps: StepFinder | None = None
    unsynchronised_s: float = 0.0
    count: int = 0
    attention: asyncio.Event = field(default_factory=asyncio.Event)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    _sealed_at_mono_ms: int | None = None
    _began_mono_ms: int = 0
    _urgent: bool = False

    def notice(self, readings: Sequence[Reading]) -> None:
        """Hear what has just been kept: an alarm, or a full batch's worth, is sealed at once."""
        self._urgent = self._urgent or any(reading.urgent for reading in readings)
        if self._urgent or self.spool.unsealed >= self.rhythm.most_readings:
            self.attention.set()

    async def seal_if_due(self, now: Instant) -> None:
        """Seal when the rhythm says so."""
        self.attention.clear()
        await self._note_step(now)
        # By the boot clock: a step of the wall clock neither hurries nor delays a batch.
        if self._sealed_at_mono_ms is None:
            self._sealed_at_mono_ms = now.monotonic_ms - max(0, now.wall_ms - self.started_at_ms)
            self._began_mono_ms = now.monotonic_ms
        waited_s = (now.monotonic_ms - self._sealed_at_mono_ms) / 1000
        if self._waits_for_the_time(now):
            return
        if self.rhythm.is_due(waited_s=waited_s, unsealed=self.spool.unsealed, urgent=self._urgent):
            self._urgent = False
            await self.seal_all(now)

    def _waits_for_the_time(self, now: Instant) -> bool:
        """Whether readings are left unsealed because the clock has not been set; an alarm never waits."""
        unset = now.state is ClockState.NONE and not self._urgent
        return unset and now.monotonic_ms - self._began_mono_ms < self.unsynchronised_s * 1000

    async def _note_step(self, now: Instant) -> None:
        event = self.steps.look(now) if self.steps is not None else None
        if event is not None:
            await self.spool.note(event)

    async def seal_all(self, now: Instant) -> None:
        """Seal everything there is, at least one batch: an empty one states that nothing came."""
        async with self._one_at_a_time:
            while True:
                await self._seal(await self.spool.head(self.rhythm.most_readings), now)
                if self.spool.unsealed <= 0:
                    return

    async def end_epoch(self, reason: str, now_ms: int, then: Callable[[Older, Position], None]) -> None:
        """End this epoch and begin another, between two batches; `then` hears of both before the next is sealed."""
        async with self._one_at_a_time:
            then(*await self.spool.end_epoch(reason, now_ms))

    async def _seal(self, contents: Contents, now: Instant) -> None:
        position = await self.spool.position()
        mark = self.due.mark()
        draft = self._draft(contents, position, now)
        # One reading cannot be halved: it is sealed all the same, and delivery says that this broker does not take it.
        largest = self.largest() if len(contents.readings) > 1 else MAX_ENVELOPE_BYTES
        crash.reach(crash.Point.BEFORE_SEAL)
        try:
            sealed = await self.spool.seal(draft, contents.last_id, now.wall_ms, largest)
        except BatchError as error:
            self.due.rewind(mark)
            if error.reason != "too_large" or len(contents.readings) <= 1:
                raise
            await self._seal(await self.spool.head(len(contents.readings) // _FEWER), now)
            return
        crash.reach(crash.Point.AFTER_SEAL)
        self.count += 1
        self._sealed_at_mono_ms = now.monotonic_ms
        self.sealed(sealed, any(reading.urgent for reading in contents.readings))

    def _draft(self, contents: Contents, position: Position, now: Instant) -> Draft:
        # A gateway that was off leaves a hole between the last window's end and its start: the hole is the statement.
        from_ms = max(position.window_to_ms, self.started_at_ms if self.count == 0 else 0)
        to_ms = max(from_ms, now.wall_ms)
        boot, state = now.boot, now.state
        if contents.readings:
            boot, state = contents.readings[0].frame.boot, contents.readings[0].frame.clock
        return Draft(
            gateway=self.gateway,
            epoch=position.epoch,
            seq=position.last_seq + 1,
            prev=position.last_hash,
            from_ms=from_ms,
            to_ms=to_ms,
            boot=boot,
            clock=Clock(state),
            software=self.software,
            readings=contents.readings,
            due=self.due.settle(to_ms, contents.readings, more=self.spool.unsealed > len(contents.readings)),
            events=contents.events,
        )


def start_event(now: Instant, position: Position) -> Event:
    """Say that the gateway started, and where the previous window ended."""
    return Event(now.wall_ms, "start", f"boot {now.boot}, previous window ended {position.window_to_ms}")
