"""The whole way of a picture against our own player, without GStreamer: the demonstration has these cameras."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.clock import SteppedClock
from gateway.probes.outcome import Outcome, Reason, State
from simulators.camera_player import CameraPlayer, Shows, encode, packets, served
from tests.gateway.probes.cameras.camera_probes import NOON_MS, made

_STEP_MS = 300_000


async def seen(folder: Path, *shows: Shows) -> list[Outcome]:
    """What a probe says of a camera that shows one thing after the other."""
    clock = SteppedClock(NOON_MS)
    camera = CameraPlayer(seconds=lambda: clock.now().wall_ms / 1000)
    async with served(camera) as port:
        probe, outcomes = made(folder, clock, port=port, stream="/main"), []
        for turn, camera.shows in enumerate(shows):
            clock.advance(NOON_MS + turn * _STEP_MS)
            outcomes.append(await probe.run())
    return outcomes


async def test_a_picture_that_moves_is_plausible_again_and_again(tmp_path: Path) -> None:
    for outcome in await seen(tmp_path, "moving", "moving", "moving", "moving"):
        assert (outcome.state, outcome.rung) == (State.OK, "plausible"), outcome
        assert {one.name: one.value for one in outcome.figures}["video_frames"] == 10


async def test_a_picture_that_stands_still_for_too_long_is_frozen(tmp_path: Path) -> None:
    outcomes = await seen(tmp_path, "frozen", "frozen", "frozen", "frozen")
    assert [one.reason for one in outcomes] == [Reason.NONE, Reason.NONE, Reason.FROZEN, Reason.FROZEN]


async def test_a_black_picture_is_black(tmp_path: Path) -> None:
    (outcome,) = await seen(tmp_path, "black")
    assert (outcome.state, outcome.reason) == (State.FAIL, Reason.BLACK)


async def test_a_covered_lens_is_told_from_the_picture_before(tmp_path: Path) -> None:
    outcomes = await seen(tmp_path, "moving", "covered", "covered", "moving")
    assert [one.reason for one in outcomes] == [Reason.NONE, Reason.BLURRED, Reason.BLURRED, Reason.NONE]


async def test_a_camera_that_was_turned_is_noticed_the_second_time(tmp_path: Path) -> None:
    outcomes = await seen(tmp_path, "moving", "turned", "turned", "moving")
    assert [one.reason for one in outcomes] == [Reason.NONE, Reason.NONE, Reason.MOVED, Reason.NONE]


@pytest.mark.parametrize("at", [0, 5])
def test_a_large_frame_comes_in_packets_that_fit_and_are_numbered(at: int) -> None:
    sent = [packet for frame in encode(at) for packet in packets(frame, 65_530, 0)]
    assert max(map(len, sent)) <= 1_214
    key = list(packets(encode(at)[0], 65_530, 0))
    assert [int.from_bytes(packet[2:4]) for packet in key] == [(65_530 + at) & 0xFFFF for at in range(len(key))]
    assert [bool(packet[1] & 0x80) for packet in key] == [False] * (len(key) - 1) + [True]
