"""The spool as the pipeline sees it: asynchronous, its commits shared by everybody who appends meanwhile."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

from gateway.spool.sqlite import NotKept
from gateway.spool.store import SpoolFile
from gateway.spool.views import Contents, Depth, Heard, Older, Position
from wire.ack import Ack
from wire.batch import MAX_ENVELOPE_BYTES, Draft, Event, Sealed
from wire.identity import Epoch
from wire.reading import Reading

P = ParamSpec("P")
R = TypeVar("R")


class Spool:
    """One open spool. `append` returns when the readings are on the card."""

    def __init__(self, file: SpoolFile) -> None:
        self._file = file
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._waiting: list[tuple[Sequence[Reading], asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self.appended = 0
        self.repeated = 0
        self.unsealed = 0
        self.problem = ""
        self.refusals = 0
        self.last_refusal = ""
        self.refusing = asyncio.Event()  # set while routine readings find no room
        self._routine_refused = False

    async def __aenter__(self) -> Self:
        try:
            await self._run(self._file.open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        self.unsealed = await self._run(self._file.count_unsealed)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._committing is not None:
            await asyncio.wait([self._committing])
        await self._run(self._file.close)
        self._thread.shutdown()

    async def append(self, readings: Sequence[Reading]) -> None:
        """Keep readings; returns when no power cut can take them. Appends that wait together share one fsync."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((readings, durable))
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit())
        await durable

    async def _commit(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            readings = [reading for part, _ in group for reading in part]
            try:
                new = await self._run(self._file.append, readings)
            except NotKept as error:
                self._note_refusal(readings, error)
                alarms = [one for one in group if _are_alarms(one[0])]
                if 0 < len(alarms) < len(group):  # they have a reserve, and must not be refused with the others
                    self._waiting[:0] = alarms
                _refuse([one for one in group if one not in alarms or len(alarms) == len(group)], error)
                continue
            except Exception as error:  # noqa: BLE001 - whoever appended decides; nothing is swallowed
                _refuse(group, error)
                continue
            self._note_success(readings)
            self.appended += new
            self.unsealed += new
            self.repeated += len(readings) - new
            for _, durable in group:
                if not durable.done():
                    durable.set_result(None)

    def _note_refusal(self, readings: Sequence[Reading], error: NotKept) -> None:
        self.problem = str(error)
        self._routine_refused = self._routine_refused or not _are_alarms(readings)
        self.refusing.set()

    def _note_success(self, readings: Sequence[Reading]) -> None:
        """An alarm that found room in the reserve does not mean that there is room for others."""
        if not self._routine_refused or not _are_alarms(readings):
            self.problem, self._routine_refused = "", False
            self.refusing.clear()

    async def note(self, event: Event) -> None:
        """Keep an event for the next batch."""
        await self._run(self._file.note, event)

    async def head(self, most: int) -> Contents:
        """Return the oldest unsealed readings that may share a batch."""
        return await self._run(self._file.head, most)

    async def seal(self, draft: Draft, last_id: int, sealed_at_ms: int, largest: int = MAX_ENVELOPE_BYTES) -> Sealed:
        """Turn the head of the queue into a signed batch, in one transaction."""
        sealed = await self._run(self._file.seal, draft, last_id, sealed_at_ms, largest)
        self.unsealed -= len(draft.readings)
        return sealed

    async def envelope(self, seq: int, epoch: Epoch | None = None) -> bytes | None:
        """Return a sealed batch's bytes, or None when it was let go; of this epoch where none is named."""
        return await self._run(self._file.envelope, seq, epoch)

    async def older(self) -> list[Older]:
        """Return the epochs before this one that still have batches for the hub."""
        return await self._run(self._file.older)

    async def urgent_after(self, seq: int) -> list[int]:
        """Return the unconfirmed batches that hold an alarm, oldest first."""
        return await self._run(self._file.urgent_after, seq)

    async def payload_sha256(self, seq: int, epoch: Epoch) -> bytes | None:
        """Return the hash of a batch that we sealed, None where we know none any more."""
        return await self._run(self._file.payload_sha256, seq, epoch)

    async def confirm(self, ack: Ack, proven: int) -> None:
        """Note the hub's word: its watermark, what it has above, and up to where that is proven to be ours."""
        await self._run(self._file.confirm, ack, proven)

    async def end_epoch(self, reason: str, now_ms: int) -> tuple[Older, Position]:
        """End this epoch and begin another; returns both. Nobody may be sealing meanwhile."""
        return await self._run(self._file.end_epoch, reason, now_ms)

    async def note_expired(self, seq: int, epoch: Epoch, now_ms: int) -> int:
        """Say once that the batches from `seq` on are gone behind the retention floor; returns the last one gone."""
        return await self._run(self._file.note_expired, seq, epoch, now_ms)

    async def trim(self, keep_from_ms: int, keep_bytes: int) -> int:
        """Delete confirmed batches behind the retention floor; returns how many."""
        return await self._run(self._file.trim, keep_from_ms, keep_bytes)

    async def position(self) -> Position:
        """Return where chain and delivery stand."""
        return await self._run(self._file.position)

    async def depth(self) -> Depth:
        """Return how full the spool is."""
        return await self._run(self._file.depth)

    async def heard(self) -> list[Heard]:
        """Return each source's tally."""
        return await self._run(self._file.heard)

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        call = functools.partial(work, *args, **kwargs)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except NotKept as error:
            self.refusals += 1
            self.last_refusal = str(error)
            raise


def _are_alarms(readings: Sequence[Reading]) -> bool:
    return all(reading.urgent for reading in readings)


def _refuse(group: Sequence[tuple[Sequence[Reading], asyncio.Future[None]]], error: Exception) -> None:
    """Tell everybody whose readings were in a group that they are not kept."""
    for _, durable in group:
        if not durable.done():  # its caller may have been cancelled
            durable.set_exception(error)
