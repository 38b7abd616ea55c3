"""Cameras against gst-rtsp-server: login, path, live, black, frozen with and without a clock in the picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.clock import SteppedClock
from gateway.probes.outcome import Outcome, Reason, State
from tests.gateway.probes.cameras.camera_probes import NOON_MS, gst_server, made


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with gst_server("xom", "right") as port:
        yield port


def shown(outcome: Outcome) -> tuple[State, str, Reason]:
    return outcome.state, outcome.rung, outcome.reason


async def test_a_live_picture_is_plausible_and_becomes_the_reference(port: int, tmp_path: Path) -> None:
    outcome = await made(tmp_path, port=port, credentials="cam").run()
    assert shown(outcome) == (State.OK, "plausible", Reason.NONE), outcome
    assert outcome.checks == {"reach": State.OK, "stream": State.OK, "picture": State.OK}
    figures = {one.name: one.value or 0.0 for one in outcome.figures}
    assert (figures["picture_width"], figures["picture_height"]) == (640, 360)
    assert figures["video_frames"] >= 10
    assert (tmp_path / "cameras" / "cam-1.json").stat().st_mode & 0o077 == 0


async def test_wrong_password_no_credentials_and_wrong_path_are_told_apart(port: int, tmp_path: Path) -> None:
    refused = await made(tmp_path, port=port, credentials="cam", password="wrong").run()
    assert shown(refused) == (State.FAIL, "service", Reason.UNAUTHORISED)
    assert "wrong" not in str(refused)
    none = await made(tmp_path, port=port).run()
    assert shown(none) == (State.UNKNOWN, "service", Reason.CREDENTIALS_MISSING)
    lost = await made(tmp_path, port=port, credentials="cam", stream="/nowhere").run()
    assert shown(lost) == (State.FAIL, "service", Reason.NOT_FOUND)


async def test_black_is_black_unless_it_may_be(port: int, tmp_path: Path) -> None:
    outcome = await made(tmp_path, port=port, credentials="cam", stream="/black").run()
    assert shown(outcome) == (State.FAIL, "picture", Reason.BLACK)
    outcome = await made(tmp_path, port=port, credentials="cam", stream="/black", night="11:00-13:00").run()
    assert (shown(outcome), outcome.checks["picture"]) == ((State.OK, "picture", Reason.NONE), State.UNKNOWN)


@pytest.mark.parametrize(
    ("stream", "masks", "reason"),
    [
        ("/frozen", [], Reason.FROZEN),
        ("/clock", [], Reason.NONE),
        ("/clock", [[0.0, 0.0, 25.0, 6.0]], Reason.FROZEN),
    ],
)
async def test_frozen_needs_time_and_a_mask_over_the_clock(
    port: int, tmp_path: Path, stream: str, masks: list[list[float]], reason: Reason
) -> None:
    clock = SteppedClock(NOON_MS)
    probe = made(tmp_path, clock, port=port, credentials="cam", stream=stream, masks=masks, moved_below=-1.0)
    for turn in range(3):
        clock.advance(NOON_MS + turn * 300_000)
        outcome = await probe.run()
        assert outcome.reason is (reason if turn == 2 else Reason.NONE), (turn, outcome)
