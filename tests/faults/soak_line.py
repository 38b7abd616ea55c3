"""The way from the gateway to the hub's broker, as a case may treat it: cut, held back, cut after some bytes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType

_CHUNK = 4096
_PAUSE_S = 0.05


class SoakLine:
    """A TCP relay in a thread of its own. `silent`: connections stand, and nothing passes."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self._ready, self._end = threading.Event(), asyncio.Event()
        self.port = 0
        self.silent = self.closed = False
        self.budget: int | None = None  # bytes until the next cut

    def __enter__(self) -> SoakLine:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)

    def cut(self) -> None:
        """Reset what stands."""
        self._loop.call_soon_threadsafe(self._abort)

    def heal(self) -> None:
        """Pass everything on from here."""
        self.silent = self.closed = False
        self.budget = None

    def _abort(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        self._abort()
        await asyncio.sleep(_PAUSE_S)  # what was aborted ends its tasks

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.closed:
                raise ConnectionRefusedError
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, onward}
        pumps = [
            asyncio.create_task(self._pump(reader, onward)),
            asyncio.create_task(self._pump(onward_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for one in (writer, onward):
                one.transport.abort()
                self._open.discard(one)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = await reader.read(_CHUNK)
                while self.silent:  # noqa: ASYNC110 - set by another thread
                    await asyncio.sleep(_PAUSE_S)
                if not data or self._is_cut(len(data)):
                    return
                writer.write(data)
                await writer.drain()

    def _is_cut(self, size: int) -> bool:
        if self.budget is None:
            return False
        self.budget -= size
        if self.budget > 0:
            return False
        self.budget = None
        return True
