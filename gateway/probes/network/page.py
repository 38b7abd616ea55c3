"""A page whose answer is known: what comes instead is a portal. Nothing is followed. HTTP/1.1 as in RFC 9112."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from gateway.probes.errors import ProbeError
from gateway.probes.limits import read_capped, read_line_capped
from gateway.probes.network.connect import Stream
from gateway.probes.network.layer import OK, Layer
from gateway.probes.outcome import Reason

_PAGE_S: Final = 5.0
_MOST_BODY: Final = 32 * 1024
_MOST_HEADERS: Final = 64
_LONGEST_LINE: Final = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: the status, where it wants to send us (never followed), the body."""

    status: int
    location: str
    body: bytes


async def fetch(stream: Stream, url: str) -> Answer:
    """Ask for a page over an open connection; raises ProbeError."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = (
        f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: xom\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(_PAGE_S):
            stream.writer.write(request.encode("ascii"))
            await stream.writer.drain()
            return await _read(stream.reader)
    except TimeoutError as error:
        raise ProbeError(Reason.TIMEOUT, f"{parts.netloc} takes the question and does not answer") from error
    except ConnectionError as error:
        raise ProbeError(Reason.CLOSED, f"{parts.netloc} ended the connection") from error


def judge(answer: Answer, body: str) -> Layer:
    """Return what an answer says; `body` "" expects 204. Pure.

    Redirects, 511 (RFC 6585, 6) and another page in place of ours are a portal; a server's own trouble is not.
    """
    if answer.status == (200 if body else 204) and answer.body == body.encode():
        return OK
    if 300 <= answer.status < 400:
        return Layer.failed(Reason.PORTAL, f"a redirect ({answer.status}) to {_host(answer.location)}")
    if answer.status in (200, 204, 511):
        return Layer.failed(Reason.PORTAL, f"another page in place of ours ({answer.status})")
    if answer.status in (401, 403):
        return Layer.failed(Reason.UNAUTHORISED, f"status {answer.status}")
    if answer.status in (404, 410):
        return Layer.failed(Reason.NOT_FOUND, f"status {answer.status}")
    return Layer.failed(Reason.DEVICE_ERROR, f"status {answer.status}")


def page_place(url: str) -> tuple[str, int]:
    """Return host and port of a page; raises ValueError for what a portal could not intercept."""
    parts: SplitResult = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or not url.isascii() or any(one in url for one in "\r\n "):
        raise ValueError(f"{url!r} is not http://host/path: a portal shows itself over plain http only")
    return parts.hostname, parts.port or 80


def _host(location: str) -> str:
    """Return where a redirect leads, without what it may carry: addresses of clients, tokens."""
    try:
        return urlsplit(location).hostname or "a place of its own"
    except ValueError:
        return "no address"


async def _read(reader: asyncio.StreamReader) -> Answer:
    words = (await read_line_capped(reader, _LONGEST_LINE)).split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit() or len(words[1]) != 3:
        raise ProbeError(Reason.NOT_THE_PROTOCOL, "no status line of HTTP")
    status, headers = int(words[1]), {}
    for _ in range(_MOST_HEADERS + 1):
        line = (await read_line_capped(reader, _LONGEST_LINE)).strip()
        if not line:
            break
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip().decode("latin-1")
    else:
        raise ProbeError(Reason.TOO_LARGE, f"more than {_MOST_HEADERS} headers")
    if status in (204, 304):
        return Answer(status, "", b"")
    return Answer(status, headers.get(b"location", ""), await _body(reader, headers))


async def _body(reader: asyncio.StreamReader, headers: dict[bytes, str]) -> bytes:
    if headers.get(b"transfer-encoding", "").lower() == "chunked":
        return await _chunks(reader)
    length = headers.get(b"content-length", "")
    if not length:
        return await read_capped(reader, _MOST_BODY)
    if not (length.isascii() and length.isdigit()):
        raise ProbeError(Reason.NOT_THE_PROTOCOL, "a length that is no number")
    return await _exactly(reader, int(length[:12]))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = (await read_line_capped(reader, _LONGEST_LINE)).partition(b";")[0].strip()
        try:
            count = int(size, 16)
        except ValueError:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, "a chunk without a size") from None
        if count <= 0:
            return body
        body += await _exactly(reader, count, have=len(body))
        await _exactly(reader, 2)


async def _exactly(reader: asyncio.StreamReader, count: int, have: int = 0) -> bytes:
    if have + count > _MOST_BODY:
        raise ProbeError(Reason.TOO_LARGE, f"a body of {have + count} bytes")
    try:
        return await reader.readexactly(count)
    except asyncio.IncompleteReadError as error:
        raise ProbeError(Reason.CLOSED, "the body ended early") from error
