"""The worker that decodes: its numbers, its limits, its end."""

from __future__ import annotations

import sys
from fractions import Fraction
from typing import Any

import av
import pytest

from gateway.probes.cameras.decoder import Decoder
from gateway.probes.cameras.picture import Picture
from gateway.probes.cameras.sdp import Codec
from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason


def encoded(codec: str, width: int, height: int, level: int = 128) -> bytes:
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 25)
    encoder.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
    frame = av.VideoFrame(width, height, "yuv420p")
    for index, plane in enumerate(frame.planes):
        plane.update(bytes([level if index == 0 else 128]) * plane.buffer_size)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


async def decoded(data: bytes, codec: Codec = Codec.H264, **limits: Any) -> Picture:
    return await Decoder(**limits).decode(codec, data, [], 5.0)


async def failing(data: bytes, **limits: Any) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        await decoded(data, **limits)
    return caught.value


@pytest.mark.parametrize(("name", "codec"), [("libx264", Codec.H264), ("libx265", Codec.H265)])
async def test_a_gray_frame_is_gray_and_flat(name: str, codec: Codec) -> None:
    picture = await decoded(encoded(name, 320, 240), codec)
    assert (picture.width, picture.height) == (320, 240)
    assert picture.mean == pytest.approx((128 - 16) * 255 / 219, abs=2)
    assert picture.variance < 1
    assert picture.sharpness < 1
    assert not picture.has_colour
    assert len(picture.blocks) == len(picture.texture) == 32 * 18


async def test_a_picture_past_the_pixel_or_memory_limit_ends_the_worker_only() -> None:
    large = encoded("libx264", 1920, 1088)
    assert (await failing(large, most_pixels=1_000_000)).reason in (Reason.NO_PICTURE, Reason.TOO_LARGE)
    assert (await failing(large, memory_mb=128)).reason in (Reason.TOO_LARGE, Reason.NO_EQUIPMENT)
    assert (await decoded(large)).width == 1920


async def test_noise_is_no_picture() -> None:
    assert (await failing(b"\x00\x00\x00\x01\x67" + bytes(range(200)))).reason is Reason.NO_PICTURE


@pytest.mark.parametrize("program", ["import time; time.sleep(60)", "while True: pass"])
async def test_a_decoder_that_hangs_is_killed(program: str) -> None:
    error = await failing(b"x" * 1_000_000, command=(sys.executable, "-c", program), limit_s=1.0)
    assert (error.reason, "did not end" in str(error)) == (Reason.NO_PICTURE, True)


async def test_a_decoder_that_floods_or_dies_is_no_picture() -> None:
    flood = (sys.executable, "-c", "while True: print('x' * 10000)")
    assert (await failing(b"x", command=flood)).reason is Reason.TOO_LARGE
    assert (await failing(b"x", command=(sys.executable, "-c", "raise SystemExit(3)"))).reason is Reason.NO_PICTURE


async def test_who_gets_no_turn_says_so() -> None:
    decoder = Decoder()
    async with decoder.turn:
        with pytest.raises(ProbeError) as caught:
            await decoder.decode(Codec.H264, b"", [], 0.01)
    assert caught.value.reason is Reason.OVERRUN
