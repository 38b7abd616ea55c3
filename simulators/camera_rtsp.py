"""A stand-in for cameras that an honest RTSP server cannot play: busy, mute, endless, lying. RFC 2326 on loopback.

`fault` is one of FAULTS. It counts connections; `served` in `async with` gives the port.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

FAULTS: Final = (
    "mute", "half_line", "hang_up", "endless_headers", "endless_line", "huge_body", "short_body", "not_rtsp",
    "busy_453", "busy_454", "busy_503", "redirect", "basic", "jpeg", "sound", "no_media", "flood", "broken",
)  # fmt: skip
_SDP: Final = "v=0\r\ns=x\r\n{media}\r\na=control:track1\r\n"
_H264: Final = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000"
_MEDIA: Final = {"jpeg": "m=video 0 RTP/AVP 26", "sound": "m=audio 0 RTP/AVP 0"}


@dataclass(slots=True)
class CameraRtsp:
    """One camera; `basic` wants the login xom:right in the clear, and then has no picture."""

    fault: str
    seen: list[str] = field(default_factory=list)  # the methods asked

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        method = request.split()[0]
        self.seen.append(method)
        cseq = next(line for line in request.splitlines() if line.startswith("CSeq"))
        match self.fault:
            case "mute":
                return True
            case "half_line":
                writer.write(b"RTSP/1.0 20")
                return True
            case "hang_up":
                return False
            case "not_rtsp":
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return False
            case "endless_line" | "endless_headers":
                writer.write(b"RTSP/1.0 200 OK\r\n")
                while True:
                    writer.write(b"X: " + b"y" * 1000 + (b"" if self.fault == "endless_line" else b"\r\n"))
                    await writer.drain()
        status, more, body = self._content(method, request)
        head = f"RTSP/1.0 {status}\r\n{cseq}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        if self.fault == "short_body" and method == "DESCRIBE":
            writer.write(head.replace(f"Length: {len(body)}", f"Length: {len(body) + 9}").encode() + body.encode())
            return False
        writer.write(head.encode() + body.encode())
        while method == "PLAY" and self.fault in ("flood", "broken"):
            kind = b"\x61" if self.fault == "flood" else b"\x65"
            payload = b"\x80\xe0\x00\x01" + bytes(8) + kind + bytes(60_000 if self.fault == "flood" else 50)
            writer.write(b"$\x00" + len(payload).to_bytes(2) + payload)
            await writer.drain()
            await asyncio.sleep(0)
        return True

    def _content(self, method: str, request: str) -> tuple[str, str, str]:
        if method == "OPTIONS":
            return "200 OK", "Public: DESCRIBE\r\n", ""
        if self.fault == "basic" and "Authorization: Basic eG9tOnJpZ2h0" not in request:
            return "401 Unauthorized", 'WWW-Authenticate: Basic realm="cam"\r\n', ""
        if self.fault.startswith("busy_"):
            return f"{self.fault[5:]} Busy", "", ""
        if self.fault == "redirect":
            return "302 Moved", "Location: rtsp://127.0.0.1:22/\r\n", ""
        if self.fault == "huge_body":
            return "200 OK", "", "v=0\r\n" + "a=x\r\n" * 100_000
        if method == "DESCRIBE":
            return "200 OK", "", _SDP.format(media=_MEDIA.get(self.fault, _H264))
        if method == "SETUP":
            return "200 OK", "Session: 7;timeout=60\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n", ""
        return "200 OK", "Session: 7\r\n", ""


@asynccontextmanager
async def served(camera: CameraRtsp, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve on an address of loopback; yields the port, and ends every connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        try:
            await camera.answer(reader, writer)
        except asyncio.CancelledError:
            pass  # ours: the simulation is over
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
