"""The gateway's half of the line, on one screen.

    ChirpStack ──▶ events ──▶ codec worker ──▶ readings ──▶ spool ──▶ sealed batches ──▶ hub
                     ▲                                       │            ▲               │
                     └────────── PUBACK: it is kept ─────────┘            └───── Ack ─────┘

Each stage takes a value and returns a new one. Nothing upstream waits for anything downstream of the spool: the gateway
collects from the first second, with or without a hub.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from codec.client import CodecWorker
from codec.history import HistoryRule, history_rule
from codec.profiles import ProfileLibrary
from codec.strikes import Change
from gateway import crash
from gateway.clock import Clock, Instant
from gateway.delivery.client import Delivery
from gateway.device_memory import DeviceMemory
from gateway.sources.chirpstack import ChirpStackSource, Pack
from gateway.sources.chirpstack_events import Heard
from gateway.spool.sealing import Sealer
from gateway.spool.spool import Spool
from gateway.spool.sqlite import NotKept
from wire.backoff import Backoff
from wire.batch import Event
from wire.identity import SourceId
from wire.reading import Frame, Kind, Reading, Undecoded

log = structlog.get_logger(__name__)

_TICK_S = 1.0
_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 20.0
_TRIM_EVERY_S = 3600.0
_DAY_MS = 86_400_000
_MOST_HELD = 800  # events read behind a refused one: what a broker leaves unacknowledged with us (`chirpstack.terms`)

Line = collections.deque[tuple[asyncio.Task[None], int]]  # packs on their way to the card, and how many events


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """What is known of the devices: each one's profile and interval, s, the library, and what is remembered of them."""

    profiles: Mapping[SourceId, str]
    intervals_s: Mapping[SourceId, float]
    library: ProfileLibrary
    memory: DeviceMemory
    _rules: dict[tuple[SourceId, str], HistoryRule | None] = field(default_factory=dict)

    def named(self, heard: Heard) -> tuple[str | None, Frame]:
        """An event's frame with its device's profile: what the configuration says, else what ChirpStack's tag says."""
        return self.profiles.get(heard.frame.source) or heard.profile_tag or None, heard.frame

    def history_rule(self, profile: str | None, frame: Frame) -> HistoryRule | None:
        """How records of a device's memory are compared with its samples; None where a frame can bring none."""
        if profile is None or frame.kind is not Kind.UPLINK:
            return None
        key = (frame.source, profile)
        if key not in self._rules:
            self._rules[key] = self._read_rule(*key)
        return self._rules[key]

    def _read_rule(self, source: SourceId, profile: str) -> HistoryRule | None:
        if profile not in self.library:
            return None
        return history_rule(self.library.profile(profile), self.intervals_s.get(source))


async def carry(source: ChirpStackSource, devices: Devices, codecs: CodecWorker, spool: Spool, sealer: Sealer) -> None:
    """Move a source's events into the spool, in order, losing none: they are acknowledged only when they are durable.

    While one pack goes to the card, the next is decoded; never more than one ahead. Only while the card refuses a pack
    are others read behind it, for their alarms: they wait for their turn, and are acknowledged in order.
    """
    async with asyncio.TaskGroup() as tasks:
        line: Line = collections.deque()
        async for pack in source.packs():
            readings = await decode(pack, devices, codecs)
            await _place(line, spool.refusing)
            before = line[-1][0] if line else None
            keeping = tasks.create_task(_follow(before, pack, readings, source, spool, sealer))
            line.append((keeping, len(pack.messages)))


async def _place(line: Line, refusing: asyncio.Event) -> None:
    """Return when the next pack may follow: all are kept, or the first is refused and there are not too many yet."""
    while True:
        while line and line[0][0].done():
            line.popleft()
        if not line or (refusing.is_set() and sum(count for _, count in line) < _MOST_HELD):
            return
        waits: set[asyncio.Task[Any]] = {line[0][0]}
        refused = None if refusing.is_set() else asyncio.create_task(refusing.wait())
        await asyncio.wait(waits | ({refused} if refused else set()), return_when=asyncio.FIRST_COMPLETED)
        if refused is not None:
            refused.cancel()


async def _follow(
    before: asyncio.Task[None] | None,
    pack: Pack,
    readings: list[Reading],
    source: ChirpStackSource,
    spool: Spool,
    sealer: Sealer,
) -> None:
    """Keep a pack after the one before it."""
    if before is not None and not before.done():
        await _keep_alarms_meanwhile(before, readings, spool, sealer)
        await before
    await _keep(pack, readings, source, spool, sealer)


async def _keep_alarms_meanwhile(
    before: asyncio.Task[None], readings: list[Reading], spool: Spool, sealer: Sealer
) -> None:
    """Keep the alarms of a pack that waits behind one that finds no room: for them there is a reserve."""
    backoff = Backoff(first_s=_FIRST_RETRY_S, longest_s=_LAST_RETRY_S)
    while not before.done() and not await _keep_alarms(readings, spool, sealer):
        await asyncio.wait([before], timeout=backoff.next_s())


async def _keep(pack: Pack, readings: list[Reading], source: ChirpStackSource, spool: Spool, sealer: Sealer) -> None:
    crash.reach(crash.Point.BEFORE_APPEND)
    await keep(readings, spool, sealer)
    crash.reach(crash.Point.AFTER_APPEND)
    source.keep(pack)
    sealer.notice(readings)


async def keep(readings: list[Reading], spool: Spool, sealer: Sealer) -> None:
    """Return when the readings are on the card, however long it refuses them: until then the broker holds them.

    Alarms go first and alone: there is a reserve for them where routine readings find no room.
    """
    backoff = Backoff(first_s=_FIRST_RETRY_S, longest_s=_LAST_RETRY_S)
    while True:
        try:
            await spool.append(readings)
        except NotKept as error:
            wait_s = backoff.next_s()
            log.warning("readings not kept yet", count=len(readings), problem=str(error), retry_s=round(wait_s, 1))
            await _keep_alarms(readings, spool, sealer)
            await asyncio.sleep(wait_s)
        else:
            return


async def _keep_alarms(readings: list[Reading], spool: Spool, sealer: Sealer) -> bool:
    """Keep those readings that are alarms; returns whether none is left to keep."""
    alarms = [reading for reading in readings if reading.urgent and reading.frame.key]
    try:
        if alarms:
            await spool.append(alarms)
            sealer.notice(alarms)
    except NotKept:
        return False
    return True


async def decode(pack: Pack, devices: Devices, codecs: CodecWorker) -> list[Reading]:
    """Turn a pack into readings; what cannot be decoded stays as it came, with the reason.

    A frame may bring records from its device's memory: each is a reading of its own, right after its frame, unless it
    repeats a sample that has been kept (decision 012).
    """
    named = [devices.named(heard) for heard in pack.heard]
    unfolded = [
        ([Reading(heard.frame, quantities=heard.quantities)], None)
        if heard.quantities
        else (readings, devices.history_rule(*name))
        for heard, name, readings in zip(pack.heard, named, await codecs.unfold(named), strict=True)
    ]
    kept = await devices.memory.sift(unfolded)
    return kept + [Reading(frame, undecoded=Undecoded.MALFORMED_EVENT) for frame in pack.rejected]


async def note_codecs(codecs: CodecWorker, spool: Spool, clock: Clock) -> None:
    """Put on record which codecs were disabled for meeting their limits, and which are back."""
    waiting: list[Event] = []
    while True:
        waiting += [codec_event(change, clock.now().wall_ms) for change in codecs.changes()]
        with contextlib.suppress(NotKept):
            while waiting:
                await spool.note(waiting[0])
                waiting.pop(0)
        await clock.sleep(_TICK_S)


def codec_event(change: Change, at_ms: int) -> Event:
    """Say in a batch what became of a codec."""
    if change.disabled:
        log.warning("codec disabled", codec=change.codec, problem=change.message, pause_s=change.pause_s)
    else:
        log.info("codec enabled again", codec=change.codec)
    detail = {"codec": change.codec, "pause_s": change.pause_s, "message": change.message}
    return Event(at_ms, "codec_disabled" if change.disabled else "codec_enabled", msgspec.json.encode(detail).decode())


async def seal_on_time(sealer: Sealer, clock: Clock) -> None:
    """Seal in rhythm, at once for an alarm. A card that does not take a batch leaves its readings unsealed."""
    while True:
        try:
            await sealer.seal_if_due(clock.now())
        except NotKept as error:
            log.warning("nothing sealed", problem=str(error))
        await _first(clock.sleep(_TICK_S), sealer.attention.wait())


async def report_health(
    report: Callable[[Instant], Iterable[Reading]], spool: Spool, sealer: Sealer, clock: Clock, every_s: float
) -> None:
    """Keep what the gateway finds out about its own surroundings, at a steady pace."""
    while True:
        await clock.sleep(every_s)
        readings = list(report(clock.now()))
        if readings:
            await keep_own(spool, sealer, readings)


async def keep_own(spool: Spool, sealer: Sealer, readings: list[Reading]) -> None:
    """Keep what the gateway has measured itself."""
    await keep(readings, spool, sealer)
    sealer.notice(readings)


async def deliver(delivery: Delivery) -> None:
    """Send batches until the hub's signed watermark says that they are stored."""
    await delivery.run()


async def keep_floor(spool: Spool, clock: Clock, *, days: float, megabytes: int) -> None:
    """Let confirmed batches go once they lie behind the retention floor."""
    while True:
        crash.reach(crash.Point.BEFORE_TRIM)
        with contextlib.suppress(NotKept):
            await spool.trim(clock.now().wall_ms - int(days * _DAY_MS), megabytes * 1_000_000)
        await clock.sleep(_TRIM_EVERY_S)


async def _first(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
