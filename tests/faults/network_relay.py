"""A TCP relay that ends a connection after exactly N bytes of one direction. No root, no kernel feature."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_CHUNK = 4096


@dataclass(slots=True)
class CuttingRelay:
    """Passes bytes on; the next connection ends after `cut_after` bytes in `direction` ("up" or "down").

    It is reset, or with `silently` swallows from then on whatever comes, both ways, and says nothing: a black hole.
    """

    target: int
    port: int = 0
    direction: str = "up"
    cut_after: int | None = None
    silently: bool = False
    cuts: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def arm(self, direction: str, cut_after: int, *, silently: bool = False) -> None:
        """Cut the connections that stand, so that the next one is cut after so many bytes."""
        self.direction, self.cut_after, self.silently = direction, cut_after, silently
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        try:
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        budget, direction = self.cut_after, self.direction
        self._open |= {writer, onward}
        ends = {"up": (reader, onward), "down": (onward_reader, writer)}
        pumps = [
            asyncio.create_task(self._pump(*end, budget if way == direction else None)) for way, end in ends.items()
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if self.silently and self.cut_after is None and budget is not None:
                await self._swallow(reader, pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            for one in (writer, onward):
                one.transport.abort()
                self._open.discard(one)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None) -> None:
        with contextlib.suppress(OSError):
            while budget is None or budget > 0:
                data = await reader.read(_CHUNK if budget is None else min(_CHUNK, budget))
                if not data:
                    return
                writer.write(data)
                await writer.drain()
                budget = None if budget is None else budget - len(data)
        if budget == 0:
            self.cuts += 1
            self.cut_after = None  # the connection after that lives

    @staticmethod
    async def _swallow(reader: asyncio.StreamReader, pumps: list[asyncio.Task[None]]) -> None:
        """Take what comes until the client has had enough."""
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        with contextlib.suppress(OSError):
            while await reader.read(_CHUNK):
                pass


@asynccontextmanager
async def cutting_relay(target: int) -> AsyncIterator[CuttingRelay]:
    """Relay a free loopback port to `target` for as long as the context is open."""
    relay = CuttingRelay(target)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        for writer in list(relay._open):
            writer.transport.abort()
