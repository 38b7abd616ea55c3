"""What time it is on this gateway, and how far that may be believed.

Every reading carries wall time, boot id, monotonic time and clock state, because a gateway without a battery clock may
start in 1970 and jump to now hours later.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import time
from pathlib import Path
from typing import Protocol

import msgspec

from wire.reading import ClockState

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR = 5  # adjtimex(2): the kernel's clock is not synchronised
_STA_UNSYNC = 0x0040
_REFRESH_S = 10.0


class Instant(msgspec.Struct, frozen=True, gc=False):
    """One moment as the gateway saw it: wall clock (ms UTC), boot clock (ms), which boot, what set the wall clock."""

    wall_ms: int
    monotonic_ms: int
    boot: str
    state: ClockState


class Clock(Protocol):
    """Where time comes from: the machine, or a simulation that drives it."""

    def now(self) -> Instant:
        """Return this moment."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait by this clock."""
        ...


class SystemClock:
    """The machine's own clocks: CLOCK_REALTIME, and CLOCK_BOOTTIME, which also counts while suspended."""

    def __init__(self) -> None:
        self._boot = _BOOT_ID.read_text().strip().replace("-", "")[:16]
        self._state = ClockState.NONE
        self._checked = float("-inf")

    def now(self) -> Instant:
        """Return this moment; the kernel is asked for its synchronisation once in ten seconds."""
        monotonic = time.clock_gettime(time.CLOCK_BOOTTIME)
        if monotonic - self._checked > _REFRESH_S:
            self._state, self._checked = _kernel_clock_state(), monotonic
        return Instant(time.time_ns() // 1_000_000, int(monotonic * 1000), self._boot, self._state)

    async def sleep(self, seconds: float) -> None:
        """Wait real seconds."""
        await asyncio.sleep(seconds)


class SteppedClock:
    """A clock that stands until somebody advances it: simulated days pass as fast as the real path goes."""

    def __init__(self, start_ms: int, boot: str = "5" * 16) -> None:
        self._start_ms = start_ms
        self._now_ms = start_ms
        self._boot = boot
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._turn = 0

    def now(self) -> Instant:
        """Return the moment where the clock stands."""
        return Instant(self._now_ms, self._now_ms - self._start_ms, self._boot, ClockState.NTP)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced that far."""
        self._turn += 1
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_ms + int(seconds * 1000), self._turn, woken))
        await woken

    def advance(self, to_ms: int) -> None:
        """Move forward and wake who was waiting for it."""
        self._now_ms = max(self._now_ms, to_ms)
        while self._sleepers and self._sleepers[0][0] <= self._now_ms:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)


def _kernel_clock_state() -> ClockState:
    """Ask the kernel whether a time service keeps the clock (adjtimex with no change asked for)."""
    buffer = ctypes.create_string_buffer(256)  # struct timex is 208 bytes on 64-bit Linux
    outcome = ctypes.CDLL(None).adjtimex(buffer)
    status = int.from_bytes(buffer.raw[40:44], "little") if ctypes.sizeof(ctypes.c_long) == 8 else 0
    if outcome in (-1, _TIME_ERROR) or status & _STA_UNSYNC:
        return ClockState.NONE
    return ClockState.NTP
