"""Starts the worker that decodes, hands it one key frame, and ends it at the deadline. One at a time."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from gateway.probes.cameras.picture import Picture
from gateway.probes.cameras.sdp import Codec
from gateway.probes.errors import ProbeError
from gateway.probes.limits import read_capped
from gateway.probes.outcome import Reason

_COMMAND: Final = (sys.executable, "-I", "-m", "gateway.probes.cameras.frame_worker")
_MOST_ANSWER: Final = 64 * 1024


class _Failure(msgspec.Struct, frozen=True):
    error: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """The door to the worker. `turn` bounds how many run at once, over all cameras.

    An 8-megapixel H.265 frame needs some 150 MB with FFmpeg's own libraries mapped; the limit leaves room above that.
    """

    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    limit_s: float = 10.0
    cpu_s: int = 8
    memory_mb: int = 512
    most_pixels: int = 16_000_000
    command: Sequence[str] = _COMMAND

    async def decode(self, codec: Codec, frame: bytes, masked: Sequence[int], wait_s: float) -> Picture:
        """Return the numbers of a key frame; raises ProbeError: OVERRUN where no turn came within `wait_s`."""
        try:
            async with asyncio.timeout(wait_s):
                await self.turn.acquire()
        except TimeoutError:
            raise ProbeError(Reason.OVERRUN, "the pictures of other cameras took the whole time") from None
        try:
            order = {
                "codec": codec.value,
                "masked": list(masked),
                "cpu_s": self.cpu_s,
                "memory_mb": self.memory_mb,
                "most_pixels": self.most_pixels,
            }
            answer, code = await self._run(msgspec.json.encode(order) + b"\n" + frame)
        finally:
            self.turn.release()
        return _picture(answer, code)

    async def _run(self, data: bytes) -> tuple[bytes, int]:
        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},  # nothing of ours is for its eyes
            cwd="/",
        )
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            async with asyncio.timeout(self.limit_s):
                with contextlib.suppress(ConnectionError):  # it ended before it had read all: its exit code tells
                    process.stdin.write(data)
                    await process.stdin.drain()
                    process.stdin.close()
                answer = await read_capped(process.stdout, _MOST_ANSWER)
                return answer, await process.wait()
        except TimeoutError:
            raise ProbeError(Reason.NO_PICTURE, f"the decoder did not end within {self.limit_s:.0f} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            # Its pipes first: one that is full and not read would never show its end, and the wait would hang.
            process._transport.close()  # type: ignore[attr-defined]
            # The kernel ends it at once; were we cancelled meanwhile, it would stay as a zombie.
            await asyncio.shield(process.wait())


def _picture(answer: bytes, code: int) -> Picture:
    try:
        failure = msgspec.json.decode(answer, type=_Failure)
        if not failure.error:
            return msgspec.json.decode(answer, type=Picture)
    except msgspec.DecodeError:
        raise ProbeError(Reason.NO_PICTURE, f"the decoder ended with {code} and without a picture") from None
    if failure.error == "library":
        raise ProbeError(Reason.NO_EQUIPMENT, f"no decoder here: {failure.why}")
    if failure.error == "memory":
        raise ProbeError(Reason.TOO_LARGE, "its picture needs more memory than a decoder may have")
    raise ProbeError(Reason.NO_PICTURE, f"its key frame cannot be decoded: {failure.why}")
