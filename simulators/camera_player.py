"""A camera that plays: RTSP (RFC 2326) with H.264 between the answers (RFC 6184), pictures made here. No GStreamer.

Where `camera_gst` is a real server for tests, this one needs nothing but PyAV, so that the demonstration has cameras.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

Shows = Literal["moving", "frozen", "black", "covered", "turned"]

_WIDTH, _HEIGHT, _FPS = 320, 240, 20
_FRAMES: Final = 12  # a key frame, and what follows it
_CLOCK_HZ: Final = 90_000
_PAYLOAD: Final = 96
_LARGEST: Final = 1_200  # bytes of one packet's payload
_FU_A: Final = 28
_SDP: Final = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=sim\r\nt=0 0\r\na=control:*\r\n"
    f"m=video 0 RTP/AVP {_PAYLOAD}\r\na=rtpmap:{_PAYLOAD} H264/{_CLOCK_HZ}\r\na=control:track1\r\n"
)


@dataclass(slots=True)
class CameraPlayer:
    """One camera. `seconds` is the time that its picture shows; a frozen one shows the same for ever.

    Covered is an even gray, as a cloth over the lens makes it; turned is another view, as well lit as the first.
    """

    shows: Shows = "moving"
    seconds: Callable[[], float] = time.time

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; what plays goes on until the other side has enough."""
        playing: asyncio.Task[None] | None = None
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method = request.split(" ", 1)[0]
                writer.write(_answer(method, request))
                await writer.drain()
                if method == "PLAY" and playing is None:
                    playing = asyncio.create_task(self._play(writer))
                if method == "TEARDOWN":
                    return
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            if playing is not None:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        at = 0 if self.shows == "frozen" else int(self.seconds() // 60)
        frames = await asyncio.to_thread(encode, at, self.shows)
        sequence = 0
        with contextlib.suppress(OSError):
            for number, frame in enumerate(frames):
                for packet in packets(frame, sequence, number * _CLOCK_HZ // _FPS):
                    writer.write(b"$\0" + len(packet).to_bytes(2) + packet)
                    sequence += 1
                await writer.drain()
                await asyncio.sleep(1 / _FPS)


def encode(at: int, shows: Shows = "moving") -> list[bytes]:
    """Return some frames as Annex B byte streams, the first a key frame; `at` moves what moves in them."""
    import av  # FFmpeg's libraries: only where a camera plays

    coder = av.CodecContext.create("libx264", "w")
    coder.width, coder.height, coder.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
    coder.framerate, coder.gop_size = Fraction(_FPS), _FRAMES
    coder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    frame = av.VideoFrame(_WIDTH, _HEIGHT, "yuv420p")
    for plane, data in zip(frame.planes, _planes(at, shows), strict=True):
        plane.update(_padded(data, plane.width, plane.line_size))
    coded: list[bytes] = []
    for number in range(_FRAMES):
        frame.pts = number
        coded += [bytes(packet) for packet in coder.encode(frame)]
    return coded + [bytes(packet) for packet in coder.encode(None)]


def _planes(at: int, shows: Shows) -> Iterator[bytes]:
    """Light and two colours: squares that stay, and a bar that is elsewhere each time."""
    half = _WIDTH // 2 * (_HEIGHT // 2)
    if shows in ("black", "covered"):
        yield bytes([2 if shows == "black" else 120 + at % 8]) * (_WIDTH * _HEIGHT)
    else:
        left = at * 37 % (_WIDTH - 40)
        rows = [_row(down, left, 5 if shows == "turned" else 7) for down in range(0, _HEIGHT, 20)]
        yield b"".join(row * 20 for row in rows)
    yield bytes([110]) * half
    yield bytes([140]) * half


def _row(down: int, left: int, view: int) -> bytes:
    lights = [40 + (across * view + down // 20 * (view + 3)) % 11 * 18 for across in range(_WIDTH // 20)]
    squares = b"".join(bytes([light]) * 20 for light in lights)
    bar = bytes(min(235, light + 40) for light in squares[left : left + 40])
    return squares[:left] + bar + squares[left + 40 :]


def _padded(data: bytes, width: int, line_size: int) -> bytes:
    """FFmpeg's lines may be longer than the picture is wide."""
    if width == line_size:
        return data
    return b"".join(data[at : at + width].ljust(line_size, b"\0") for at in range(0, len(data), width))


def packets(frame: bytes, sequence: int, stamp: int) -> Iterator[bytes]:
    """Yield a frame's RTP packets: each unit whole where it fits, else in fragments (RFC 6184, 5.6 and 5.8)."""
    units = [unit.rstrip(b"\0") for unit in frame.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]]
    payloads = [payload for unit in units for payload in _payloads(unit)]
    for number, payload in enumerate(payloads):
        marker = 0x80 if number == len(payloads) - 1 else 0
        head = bytes([0x80, marker | _PAYLOAD]) + ((sequence + number) & 0xFFFF).to_bytes(2)
        yield head + (stamp & 0xFFFFFFFF).to_bytes(4) + bytes(4) + payload


def _payloads(unit: bytes) -> Iterator[bytes]:
    if len(unit) <= _LARGEST:
        yield unit
        return
    indicator, kind, body = unit[0] & 0xE0 | _FU_A, unit[0] & 0x1F, unit[1:]
    for at in range(0, len(body), _LARGEST):
        edge = (0x80 if at == 0 else 0) | (0x40 if at + _LARGEST >= len(body) else 0)
        yield bytes([indicator, edge | kind]) + body[at : at + _LARGEST]


def _answer(method: str, request: str) -> bytes:
    cseq = next((line for line in request.split("\r\n") if line.lower().startswith("cseq:")), "CSeq: 0")
    more, body = "", ""
    match method:
        case "OPTIONS":
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        case "DESCRIBE":
            more, body = "Content-Type: application/sdp\r\n", _SDP
        case "SETUP":
            more = "Session: 1;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        case "PLAY" | "TEARDOWN":
            more = "Session: 1\r\n"
        case _:
            return f"RTSP/1.0 501 Not Implemented\r\n{cseq}\r\n\r\n".encode("latin-1")
    return f"RTSP/1.0 200 OK\r\n{cseq}\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}".encode("latin-1")


@asynccontextmanager
async def served(camera: CameraPlayer, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve on an address of loopback; yields the port, and ends every connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server makes one
        tasks.add(task)
        try:
            await camera.answer(reader, writer)
        except asyncio.CancelledError:
            pass  # ours: the simulation is over
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(connected, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
