"""Something that says NMEA 0183 sentences by itself on a pseudo-terminal: a GNSS receiver, a gauge."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from simulators.pty import PtyLine


def sentence(body: str, *, wrong: bool = False) -> bytes:
    """Return `$<body>*<checksum>` with its line end; `wrong` makes the checksum another one."""
    total = 0
    for byte in body.encode():
        total ^= byte
    return f"${body}*{total ^ wrong:02X}\r\n".encode()


def fix(at: datetime.datetime, *, valid: bool = True, satellites: int = 9) -> list[bytes]:
    """Return GGA and RMC of one second, at a place in the delta; without a fix the place is empty."""
    clock, date = f"{at:%H%M%S}.{at.microsecond // 10_000:02d}", f"{at:%d%m%y}"
    place = "0936.1200,N,10558.3400,E" if valid else ",,,"
    gga = f"GPGGA,{clock},{place},{int(valid)},{satellites:02d},1.1,2.0,M,-5.0,M,,"
    rmc = f"GPRMC,{clock},{'A' if valid else 'V'},{place},0.0,0.0,{date},,"
    return [sentence(gga), sentence(rmc)]


class Talker:
    """Says what `words` gives, again and again every `every_s`, until the line is closed."""

    def __init__(self, words: Callable[[], Sequence[bytes]], *, every_s: float = 0.05) -> None:
        self.line = PtyLine()
        self._words = words
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.line.__aenter__()
        self._task = asyncio.create_task(self._talk())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.line.__aexit__(kind, error, trace)

    async def _talk(self) -> None:
        while True:
            for words in self._words():
                self.line.say(words)
            await asyncio.sleep(self._every_s)
