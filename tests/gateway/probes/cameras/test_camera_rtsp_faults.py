"""Hostile, busy and slow RTSP peers: each comes to its own reason, in time and within the byte caps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.probes.outcome import Reason, State
from simulators.camera_rtsp import CameraRtsp, served
from tests.gateway.probes.cameras.camera_probes import made

CASES = {
    "mute": (State.FAIL, "reachable", Reason.TIMEOUT),
    "half_line": (State.FAIL, "reachable", Reason.TIMEOUT),
    "hang_up": (State.FAIL, "reachable", Reason.CLOSED),
    "not_rtsp": (State.FAIL, "reachable", Reason.NOT_THE_PROTOCOL),
    "endless_line": (State.FAIL, "reachable", Reason.TOO_LARGE),
    "endless_headers": (State.FAIL, "reachable", Reason.TOO_LARGE),
    "huge_body": (State.FAIL, "service", Reason.TOO_LARGE),
    "short_body": (State.FAIL, "service", Reason.CLOSED),
    "busy_453": (State.FAIL, "service", Reason.BUSY),
    "busy_454": (State.FAIL, "service", Reason.BUSY),
    "busy_503": (State.FAIL, "service", Reason.BUSY),
    "redirect": (State.FAIL, "service", Reason.REDIRECTED),
    "jpeg": (State.UNKNOWN, "stream", Reason.MISCONFIGURED),
    "sound": (State.FAIL, "service", Reason.NO_PICTURE),
    "no_media": (State.FAIL, "stream", Reason.NO_PICTURE),
    "flood": (State.FAIL, "stream", Reason.TOO_LARGE),
}


@pytest.mark.parametrize("fault", CASES)
async def test_each_fault_has_its_own_word(fault: str, tmp_path: Path) -> None:
    async with served(CameraRtsp(fault)) as port:
        short: dict[str, Any] = {"deadline_s": 17.0, "stream_s": 1.0}
        if fault in ("mute", "half_line"):
            short = {"deadline_s": 16.0, "stream_s": 1.0}
        probe = made(tmp_path, port=port, **short)
        if fault in ("mute", "half_line"):
            import msgspec

            object.__setattr__(probe, "settings", msgspec.structs.replace(probe.settings, deadline_s=2.0))  # type: ignore[attr-defined]
        outcome = await probe.run()
    assert (outcome.state, outcome.rung, outcome.reason) == CASES[fault], outcome


async def test_nobody_there_is_refused(tmp_path: Path) -> None:
    async with served(CameraRtsp("mute")) as port:
        pass
    outcome = await made(tmp_path, port=port).run()
    assert (outcome.state, outcome.rung, outcome.reason) == (State.FAIL, "", Reason.REFUSED)


async def test_basic_is_used_where_nothing_better_is_offered(tmp_path: Path) -> None:
    async with served(CameraRtsp("basic")) as port:
        outcome = await made(tmp_path, port=port, credentials="cam", picture=False).run()
        assert (outcome.state, outcome.rung) == (State.OK, "stream")
        outcome = await made(tmp_path, port=port, credentials="cam", password="wrong", picture=False).run()
        assert outcome.reason is Reason.UNAUTHORISED
