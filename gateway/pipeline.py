"""The gateway's half of the line, on one screen.

    ChirpStack ──▶ events ──▶ codec worker ──▶ readings ──▶ spool ──▶ sealed batches ──▶ hub
                     ▲                                       │            ▲               │
                     └────────── PUBACK: it is kept ─────────┘            └───── Ack ─────┘

Each stage takes a value and returns a new one. Nothing upstream waits for anything downstream of the spool: the gateway
collects from the first second, with or without a hub.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from typing import Protocol

from gateway import crash
from gateway.clock import Clock
from gateway.codecs.client import CodecWorker
from gateway.delivery.client import Delivery
from gateway.sources.chirpstack import ChirpStackSource, Pack
from gateway.spool.sealing import Sealer
from gateway.spool.spool import Spool
from wire.identity import SourceId
from wire.reading import Reading, Undecoded

_TICK_S = 1.0
_TRIM_EVERY_S = 3600.0
_DAY_MS = 86_400_000


class Profiles(Protocol):
    """Which profile decodes which source."""

    def get(self, source: SourceId, /) -> str | None:
        """Return the profile's name, None for a device that nobody has named."""
        ...


async def carry(
    source: ChirpStackSource, profiles: Mapping[SourceId, str], codecs: CodecWorker, spool: Spool, sealer: Sealer
) -> None:
    """Move a source's events into the spool, in order, losing none: they are acknowledged only when they are durable.

    While one pack goes to the card, the next is decoded; never more than one ahead.
    """
    async with asyncio.TaskGroup() as tasks:
        keeping: asyncio.Task[None] | None = None
        async for pack in source.packs():
            readings = await decode(pack, profiles, codecs)
            if keeping is not None:
                await keeping
            keeping = tasks.create_task(_keep(pack, readings, source, spool, sealer))


async def _keep(pack: Pack, readings: list[Reading], source: ChirpStackSource, spool: Spool, sealer: Sealer) -> None:
    crash.reach(crash.Point.BEFORE_APPEND)
    await spool.append(readings)
    crash.reach(crash.Point.AFTER_APPEND)
    source.keep(pack)
    sealer.notice(readings)


async def decode(pack: Pack, profiles: Mapping[SourceId, str], codecs: CodecWorker) -> list[Reading]:
    """Turn a pack into readings; what cannot be decoded stays as it came, with the reason."""
    named = [(profiles.get(heard.frame.source) or heard.profile_tag or None, heard.frame) for heard in pack.heard]
    decoded = await codecs.decode(named)
    return [
        Reading(heard.frame, quantities=heard.quantities) if heard.quantities else reading
        for heard, reading in zip(pack.heard, decoded, strict=True)
    ] + [Reading(frame, undecoded=Undecoded.MALFORMED_EVENT) for frame in pack.rejected]


async def seal_on_time(sealer: Sealer, clock: Clock) -> None:
    """Seal in rhythm, at once for an alarm."""
    while True:
        await sealer.seal_if_due(clock.now())
        await _first(clock.sleep(_TICK_S), sealer.attention.wait())


async def deliver(delivery: Delivery) -> None:
    """Send batches until the hub's signed watermark says that they are stored."""
    await delivery.run()


async def keep_floor(spool: Spool, clock: Clock, *, days: float, megabytes: int) -> None:
    """Let confirmed batches go once they lie behind the retention floor."""
    while True:
        crash.reach(crash.Point.BEFORE_TRIM)
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
