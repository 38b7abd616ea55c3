"""A broker of raw bytes: it says exactly what a test tells it to, well-formed or not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Self

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, DISCONNECT, PUBACK = 0x10, 0x30, 0x80, 0xC0, 0xE0, 0x40


def packet(kind: int, body: bytes) -> bytes:
    """Put a fixed header before a packet's body."""
    size, length = len(body), b""
    while True:
        size, digit = divmod(size, 128)
        length += bytes([digit | (0x80 if size else 0)])
        if not size:
            return bytes([kind]) + length + body


def connack(properties: bytes = b"", code: int = 0) -> bytes:
    """A CONNACK with these properties (MQTT 5, 3.2)."""
    return packet(0x20, bytes([0, code, len(properties)]) + properties)


def suback(mid: bytes, code: int = 1) -> bytes:
    """A SUBACK for one subscription."""
    return packet(0x90, mid + b"\x00" + bytes([code]))


def message(topic: str, payload: bytes, mid: int) -> bytes:
    """A PUBLISH with QoS 1."""
    return packet(0x32, len(topic).to_bytes(2) + topic.encode() + mid.to_bytes(2) + b"\x00" + payload)


class Caller:
    """One client's connection, seen from the broker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def packet(self) -> tuple[int, bytes]:
        """Read one packet: its kind without flags, its body."""
        kind = (await self._reader.readexactly(1))[0]
        size, shift = 0, 0
        while True:
            digit = (await self._reader.readexactly(1))[0]
            size |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return kind & 0xF0, await self._reader.readexactly(size)

    async def some(self) -> bytes:
        """Read whatever comes first."""
        return await self._reader.read(4096)

    async def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def serve_politely(self, greeting: bytes) -> None:
        """Answer everything as a broker should, after this CONNACK."""
        while True:
            kind, body = await self.packet()
            if kind == CONNECT:
                await self.say(greeting)
            elif kind == SUBSCRIBE:
                await self.say(suback(body[:2]))
            elif kind == PINGREQ:
                await self.say(b"\xd0\x00")
            elif kind == PUBLISH:
                at = 2 + int.from_bytes(body[:2])
                await self.say(packet(PUBACK, body[at : at + 2]))
            elif kind == DISCONNECT:
                return


Manner = Callable[[Caller], Awaitable[None]]


class FakeBroker:
    """Listens on a free port; each connection is treated in the next of `manners`, the last one from then on."""

    def __init__(self, *manners: Manner, tls: ssl.SSLContext | None = None) -> None:
        self._manners = list(manners)
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0
        self.callers = 0
        self.failures: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._greet, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        assert not self.failures, self.failures

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        manner = self._manners[min(self.callers, len(self._manners) - 1)]
        self.callers += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await manner(Caller(reader, writer))
        except AssertionError as error:
            self.failures.append(error)
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
