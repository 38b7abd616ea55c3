"""The far end of a line: resolvers, targets and pages on real sockets, with the faults of lines on demand."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, cast

_HOUR_S: Final = 3_600


class DnsFault(Enum):
    """How a resolver misbehaves."""

    NONE = "none"
    MUTE = "mute"
    LIES = "lies"  # every name exists, and is a portal
    INSIDE = "inside"  # names lead into the local network
    FAILS = "fails"  # SERVFAIL
    REFUSES = "refuses"
    TRUNCATES = "truncates"  # the answer fits TCP only
    GARBAGE = "garbage"
    STRANGER = "stranger"  # first an answer to another question


class PageFault(Enum):
    """What a page's server does instead."""

    NONE = "none"
    REDIRECT = "redirect"
    LOGIN = "login"  # 200 with a page of its own
    REQUIRED = "required"  # 511
    BROKEN = "broken"  # 503
    MUTE = "mute"
    DRIP = "drip"  # one header a moment, for ever
    FLOOD = "flood"
    NOT_HTTP = "not_http"
    CLOSES = "closes"


@dataclass(slots=True)
class FarEnd:
    """What is at the far end. `known` are the names that exist; pages are `/204` and `/known` (body `xom\\n`)."""

    known: dict[str, str] = field(default_factory=lambda: {"known.example": "198.51.100.10"})
    dns_fault: DnsFault = DnsFault.NONE
    page_fault: PageFault = PageFault.NONE
    paths: list[str] = field(default_factory=list)
    over_tcp: int = 0

    @asynccontextmanager
    async def resolver(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Serve DNS over UDP and TCP at one port; yields address:port."""
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._dns_over_tcp, host, port)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=(host, port))
        try:
            yield f"{host}:{port}"
        finally:
            transport.close()
            server.close()
            await server.wait_closed()

    @asynccontextmanager
    async def pages(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Serve the pages; yields http://address:port."""
        async with _serving(self._page, host, port) as at:
            yield f"http://{host}:{at}"

    @asynccontextmanager
    async def target(
        self, host: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[int]:
        """Take connections, with TLS where there is a context; yields the port."""
        async with _serving(_hold, host, port, context) as at:
            yield at

    def answer(self, question: bytes, *, tcp: bool) -> list[bytes]:
        """Return the messages with which a question is answered."""
        name, end = _name(question)
        address = self.known.get(name.lower())
        body = question[12 : end + 4]
        match self.dns_fault:
            case DnsFault.MUTE:
                return []
            case DnsFault.GARBAGE:
                return [b"\xff" * 7]
            case DnsFault.FAILS:
                return [_message(question, 2, body)]
            case DnsFault.REFUSES:
                return [_message(question, 5, body)]
            case DnsFault.LIES:
                address = "198.51.100.99"
            case DnsFault.INSIDE if address:
                address = "10.0.0.1"
            case DnsFault.TRUNCATES if not tcp:
                return [_message(question, 0, body, truncated=True)]
            case DnsFault.STRANGER:
                other = bytes([question[0] ^ 1]) + question[1:]
                return [
                    _message(other, 0, body, "198.51.100.66"),
                    _message(question, 0 if address else 3, body, address),
                ]
        return [_message(question, 0 if address else 3, body, address)]

    async def _dns_over_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            self.over_tcp += 1
            for message in self.answer(question, tcp=True):
                writer.write(len(message).to_bytes(2, "big") + message)
            await writer.drain()
        except (OSError, EOFError):
            return
        finally:
            writer.close()

    async def _page(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode("ascii", "replace")
        self.paths.append(path)
        match self.page_fault:
            case PageFault.NONE:
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n" if path == "/204" else _ok(b"xom\n"))
            case PageFault.REDIRECT:
                writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/login?mac=secret\r\n\r\n")
            case PageFault.LOGIN:
                writer.write(_ok(b"<html><form action=login></html>"))
            case PageFault.REQUIRED:
                writer.write(b"HTTP/1.1 511 Network Authentication Required\r\nContent-Length: 0\r\n\r\n")
            case PageFault.BROKEN:
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            case PageFault.MUTE:
                await asyncio.sleep(_HOUR_S)
            case PageFault.DRIP:
                writer.write(b"HTTP/1.1 200 OK\r\n")
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.5)
            case PageFault.FLOOD:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(200_000))
            case PageFault.NOT_HTTP:
                writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            case PageFault.CLOSES:
                pass
        await writer.drain()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, end: FarEnd) -> None:
        self._end = end
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for message in self._end.answer(data, tcp=False):
            if self._transport is not None:
                self._transport.sendto(message, addr)


@asynccontextmanager
async def _serving(handler: object, host: str, port: int, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run a server whose connections end with it."""
    running: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # start_server makes one
        running.add(task)
        try:
            await handler(reader, writer)  # type: ignore[operator]
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            running.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(handle, host, port, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()


async def _hold(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def _ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body


def _name(question: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode("ascii", "replace"))
        at += 1 + question[at]
    return ".".join(labels), at + 1


def _message(question: bytes, code: int, body: bytes, address: str | None = None, *, truncated: bool = False) -> bytes:
    flags = 0x8180 | code | (0x0200 if truncated else 0)
    record = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address) if address else b""
    return question[:2] + struct.pack("!HHHHH", flags, 1, bool(address), 0, 0) + body + record


async def stand(end: FarEnd, stack: AsyncExitStack, host: str) -> None:
    """Stand at an address with the ports that the world uses: DNS 53, pages 80, a target 443."""
    await stack.enter_async_context(end.resolver(host, 53))
    await stack.enter_async_context(end.pages(host, 80))
    await stack.enter_async_context(end.target(host, 443))
