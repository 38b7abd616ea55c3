"""An RTSP 1.0 client for what a probe asks: OPTIONS, DESCRIBE, and one key frame over the same TCP connection.

RFC 2326. Our own, and not FFmpeg's: it counts every byte, connects to nothing but the configured address whatever the
camera names, follows no redirect, and keeps the login out of the process that decodes. Time is the caller's to bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.probes.cameras import sdp
from gateway.probes.cameras.rtp import KeyFrames
from gateway.probes.credentials import Credential
from gateway.probes.digest import Login, login
from gateway.probes.errors import ProbeError
from gateway.probes.limits import read_line_capped
from gateway.probes.outcome import Reason

_MOST_HEADERS: Final = 64
_MOST_HEADER_BYTES: Final = 16 * 1024
_MOST_BODY: Final = 64 * 1024
_MOST_MEDIA: Final = 16 * 1024 * 1024
_BUSY: Final = frozenset({453, 454, 503})  # not enough bandwidth, session not found, service unavailable
_INTERLEAVED: Final = 0x24  # "$"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: status, headers by lower-case name (several of one name in a row), body."""

    status: int
    headers: Mapping[str, list[str]]
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the first header of a name, "" where there is none."""
        return self.headers.get(name, [""])[0]


@dataclass(slots=True, kw_only=True)
class Rtsp:
    """One connection. `url` is the stream's, without a login in it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    url: str
    credential: Credential
    _login: Login | None = None
    _count: int = 0
    _media: int = 0

    async def options(self) -> Answer:
        """Ask for what it can: any well-formed answer proves that the service runs, 401 too."""
        return await self._request("OPTIONS", self.url)

    async def describe(self) -> tuple[sdp.Video, str]:
        """Return the video offered and the base of its addresses; raises ProbeError with the reason of a refusal."""
        answer = await self._ask("DESCRIBE", self.url, {"Accept": "application/sdp"})
        base = answer.header("content-base") or answer.header("content-location") or self.url
        return sdp.video(answer.body), base if _is_plain(base) else self.url

    async def key_frame(self, video: sdp.Video, base: str, frames: KeyFrames, wanted: int) -> None:
        """Play until `frames` has a key frame and has counted `wanted` frames; then tear down."""
        control = _joined(base, video.control)
        answer = await self._ask("SETUP", control, {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"})
        session = answer.header("session").partition(";")[0].strip()
        if not session or not _is_plain(session):
            raise ProbeError(Reason.NOT_THE_PROTOCOL, "SETUP without a session")
        whole = _joined(base, video.session_control if "://" in video.session_control else "")
        channel = _channel(answer.header("transport"))
        try:
            await self._ask("PLAY", whole, {"Session": session, "Range": "npt=0.000-"}, frames, channel)
            while frames.key_frame is None or frames.frames < wanted:
                await self._interleaved(await self.reader.readexactly(1), frames, channel)
        except asyncio.IncompleteReadError as error:
            raise ProbeError(Reason.CLOSED, "it ended the connection in the middle of the picture") from error
        finally:
            # A recorder has few sessions: give ours back, and do not wait for the word of it.
            with contextlib.suppress(OSError):
                self._send("TEARDOWN", whole, {"Session": session})

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], frames: KeyFrames | None = None, channel: int = 0
    ) -> Answer:
        """Ask, log in where it wants that, and return a 200; every other answer is a ProbeError."""
        answer = await self._request(method, url, headers, frames, channel)
        for attempt in range(2):
            if answer.status != 401:
                break
            fresh = login(answer.headers.get("www-authenticate", []), self.credential)
            if attempt and not fresh.stale:  # it did not like the login itself, not the age of its nonce
                break
            self._login = fresh
            answer = await self._request(method, url, headers, frames, channel)
        _refuse(answer.status, method)
        return answer

    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        frames: KeyFrames | None = None,
        channel: int = 0,
    ) -> Answer:
        self._send(method, url, headers or {})
        await self.writer.drain()
        while True:
            first = await self.reader.read(1)
            if not first:
                raise ProbeError(Reason.CLOSED, f"it ended the connection instead of answering {method}")
            if first[0] == _INTERLEAVED:
                await self._interleaved(first, frames, channel)
                continue
            answer = await self._answer(first)
            if answer.header("cseq").strip() == str(self._count):
                return answer
            self._account(1024)  # an answer to nothing we asked: not for ever

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        self._count += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._count}", "User-Agent: xom"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self._login is not None:
            lines.append(f"Authorization: {self._login.answer(method, url, secrets.token_hex(8))}")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def _answer(self, first: bytes) -> Answer:
        line = first + await read_line_capped(self.reader, 1024)
        words = line.decode("latin-1").split(None, 2)
        if len(words) < 2 or not words[0].startswith("RTSP/1.") or not words[1].isascii() or not words[1].isdigit():
            raise ProbeError(Reason.NOT_THE_PROTOCOL, f"no RTSP: {line[:40]!r}")
        headers: dict[str, list[str]] = {}
        size = count = 0
        while (line := await read_line_capped(self.reader)).strip():
            size, count = size + len(line), count + 1
            if count > _MOST_HEADERS or size > _MOST_HEADER_BYTES:
                raise ProbeError(Reason.TOO_LARGE, "headers without end")
            name, _, value = line.decode("latin-1").partition(":")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        length = headers.get("content-length", ["0"])[0]
        if not length.isascii() or not length.isdigit():
            raise ProbeError(Reason.NOT_THE_PROTOCOL, "a length that is no number")
        if len(length) > 9 or int(length) > _MOST_BODY:
            raise ProbeError(Reason.TOO_LARGE, f"a description of more than {_MOST_BODY} bytes")
        try:
            return Answer(int(words[1][:4]), headers, await self.reader.readexactly(int(length)))
        except asyncio.IncompleteReadError as error:
            raise ProbeError(Reason.CLOSED, "its answer is shorter than it says") from error

    async def _interleaved(self, first: bytes, frames: KeyFrames | None, channel: int) -> None:
        """Read one packet (RFC 2326 section 10.12), or an answer that comes between them."""
        if first[0] != _INTERLEAVED:
            await self._answer(first)
            self._account(1024)
            return
        head = await self.reader.readexactly(3)
        packet = await self.reader.readexactly(int.from_bytes(head[1:3]))
        self._account(4 + len(packet))
        if frames is not None and head[0] == channel:
            frames.feed(packet)

    def _account(self, size: int) -> None:
        self._media += size
        if self._media > _MOST_MEDIA:
            raise ProbeError(Reason.TOO_LARGE, f"no key frame within {_MOST_MEDIA} bytes")


@asynccontextmanager
async def connected(host: str, port: int, url: str, credential: Credential) -> AsyncIterator[Rtsp]:
    """Open a connection and close it again; raises OSError."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Rtsp(reader=reader, writer=writer, url=url, credential=credential)
    finally:
        if writer.transport.get_write_buffer_size():
            writer.transport.abort()  # a peer that reads nothing must not hold us
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _refuse(status: int, method: str) -> None:
    if status == 200:
        return
    if 300 <= status < 400:
        reason = Reason.REDIRECTED
    elif status in (401, 403):
        reason = Reason.UNAUTHORISED
    elif status == 404:
        reason = Reason.NOT_FOUND
    elif status in _BUSY:
        reason = Reason.BUSY
    else:
        reason = Reason.DEVICE_ERROR
    raise ProbeError(reason, f"{status} to {method}")


def _joined(base: str, control: str) -> str:
    """Return the address of a medium (RFC 2326 section C.1.1). It names, and leads nowhere: the connection is open."""
    if not control or control == "*":
        return base
    return control if "://" in control else base.rstrip("/") + "/" + control.lstrip("/")


def _channel(transport: str) -> int:
    """Return the channel that the camera chose for the video; we asked for 0."""
    for part in transport.split(";"):
        name, _, value = part.strip().partition("=")
        first = value.partition("-")[0]
        if name == "interleaved" and first.isascii() and first.isdigit():
            return int(first[:3])
    return 0


def _is_plain(text: str) -> bool:
    return all(0x20 < ord(letter) < 0x7F for letter in text)


def stream_path(uri: str) -> tuple[int | None, str]:
    """Return port and path of a stream address that a camera names; its host is never used. Raises ProbeError."""
    try:
        parts = urlsplit(uri.strip())
        port = parts.port
    except ValueError as error:
        raise ProbeError(Reason.NOT_THE_PROTOCOL, "a stream address that is none") from error
    if parts.scheme != "rtsp" or not _is_plain(uri.strip()):
        raise ProbeError(Reason.NOT_THE_PROTOCOL, f"a stream address that is not rtsp but {parts.scheme[:10]!r}")
    return port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
