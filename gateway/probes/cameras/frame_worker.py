"""The process that decodes one key frame and tells numbers about it: `python -m gateway.probes.cameras.frame_worker`.

It has no network, no login and no file: the frame comes on stdin, one line of JSON leaves on stdout, and it ends. It
limits its own memory and processor time before FFmpeg sees a byte, and whoever started it kills it at the deadline.

In: one line of JSON, {"codec", "masked": [block...], "cpu_s", "memory_mb", "most_pixels"}, then the byte stream.
Out: {"width", "height", "mean", "variance", "sharpness", "colour", "hash", "blocks", "texture"} or {"error"}.
"""

from __future__ import annotations

import json
import operator
import random
import resource
import sys
from typing import Any, Final

WIDTH: Final = 640
HEIGHT: Final = 360
BLOCK: Final = 20
ACROSS: Final = WIDTH // BLOCK
DOWN: Final = HEIGHT // BLOCK
_MOST_INPUT: Final = 5 * 1024 * 1024


def measure(frame: Any, masked: frozenset[int]) -> dict[str, object]:
    """Return the numbers of a decoded frame; blocks count from 0 at the top left, row by row, 32 by 18."""
    gray = frame.reformat(width=WIDTH, height=HEIGHT, format="gray", interpolation="AREA")
    plane, stride = bytes(gray.planes[0]), gray.planes[0].line_size
    rows = [plane[y * stride : y * stride + WIDTH] for y in range(HEIGHT)]
    shown = [block for block in range(ACROSS * DOWN) if block not in masked]
    blocks, texture = _blocks(rows)
    seen = b"".join(_block_row(rows, block, y) for block in shown for y in range(BLOCK))
    mean = sum(seen) / len(seen)
    variance = sum(map(operator.mul, seen, seen)) / len(seen) - mean * mean
    return {
        "width": frame.width,
        "height": frame.height,
        "mean": round(mean, 2),
        "variance": round(max(variance, 0.0), 2),
        "sharpness": round(_sharpness(rows, shown), 2),
        "colour": round(_colour(frame), 2),
        "hash": _hash(frame),
        "blocks": blocks,
        "texture": texture,
    }


def _block_row(rows: list[bytes], block: int, y: int) -> bytes:
    down, across = divmod(block, ACROSS)
    return rows[down * BLOCK + y][across * BLOCK : (across + 1) * BLOCK]


def _blocks(rows: list[bytes]) -> tuple[list[float], list[int]]:
    """Return each block's mean, and its sum under a fixed pattern of +1 and -1.

    The second is a random projection: its squared difference between two frames is, on average, the block's summed
    squared difference pixel by pixel. So two frames can be compared finer than by means, and neither need be kept.
    """
    signs = [1, -1] * (BLOCK * BLOCK // 2)
    random.Random(1).shuffle(signs)  # noqa: S311 - a fixed pattern, no secret
    means: list[float] = []
    texture: list[int] = []
    for block in range(ACROSS * DOWN):
        pixels = b"".join(_block_row(rows, block, y) for y in range(BLOCK))
        means.append(round(sum(pixels) / len(pixels), 1))
        texture.append(sum(map(operator.mul, pixels, signs)))
    return means, texture


def _sharpness(rows: list[bytes], shown: list[int]) -> float:
    """Return the variance of the Laplacian (4 neighbours) inside the blocks that are looked at."""
    count = total = squares = 0
    for block in shown:
        lines = [_block_row(rows, block, y) for y in range(BLOCK)]
        for up, line, below in zip(lines, lines[1:], lines[2:], strict=False):
            values = [
                4 * c - w - e - n - s
                for w, c, e, n, s in zip(line, line[1:], line[2:], up[1:], below[1:], strict=False)
            ]
            count += len(values)
            total += sum(values)
            squares += sum(map(operator.mul, values, values))
    return squares / count - (total / count) ** 2


def _colour(frame: Any) -> float:
    """Return how far the colours are from gray, 0 to 128: a camera in infrared shows none."""
    small = frame.reformat(width=64, height=36, format="yuv444p")
    planes = [bytes(small.planes[index])[: 64 * 36] for index in (1, 2)]
    return sum(sum(abs(value - 128) for value in plane) for plane in planes) / (2 * 64 * 36)


def _hash(frame: Any) -> str:
    """Return the 64-bit difference hash: whether each of 9 by 8 cells is brighter than its neighbour to the right."""
    small = frame.reformat(width=9, height=8, format="gray", interpolation="AREA")
    plane, stride = bytes(small.planes[0]), small.planes[0].line_size
    bits = 0
    for y in range(8):
        for x in range(8):
            bits = bits << 1 | (plane[y * stride + x] > plane[y * stride + x + 1])
    return f"{bits:016x}"


def _limit(cpu_s: int, memory_mb: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Decode one frame from stdin."""
    order = json.loads(sys.stdin.buffer.readline(65_536))
    data = sys.stdin.buffer.read(_MOST_INPUT)
    _limit(order["cpu_s"], order["memory_mb"])
    try:
        answer = _decode(data, order)
    except MemoryError:
        answer = {"error": "memory"}
    json.dump(answer, sys.stdout)


def _decode(data: bytes, order: dict[str, Any]) -> dict[str, object]:
    try:
        import av
    except ImportError as error:
        return {"error": "library", "why": str(error)[:200]}

    decoder = av.CodecContext.create(order["codec"], "r")
    decoder.options = {"threads": "1", "max_pixels": str(order["most_pixels"])}
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
        if frames:
            return measure(frames[0], frozenset(order["masked"]))
    except av.error.FFmpegError as error:
        # ENOMEM, and EAGAIN where not even a thread's stack was left; past max_pixels it is invalid data.
        return {"error": "memory" if error.errno in (11, 12) else "broken", "why": str(error)[:200]}
    return {"error": "broken", "why": "no frame in it"}


if __name__ == "__main__":
    main()
