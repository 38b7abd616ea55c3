"""ONVIF and WS-Discovery: clock, identity, stream address, wrong password, and peers that mean no good."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.probes.cameras.discovery import Found, discover
from gateway.probes.outcome import Outcome, Reason, State
from simulators import camera_onvif, camera_rtsp
from simulators.camera_onvif import CameraOnvif, Discoverable
from tests.gateway.probes.cameras.camera_probes import made


async def looked(tmp_path: Path, camera: CameraOnvif, **keys: Any) -> Outcome:
    async with camera_rtsp.served(camera_rtsp.CameraRtsp("basic")) as rtsp, camera_onvif.served(camera) as port:
        camera.stream = camera.stream.replace(":554", f":{rtsp}")
        known: dict[str, Any] = {"onvif_port": port, "port": rtsp, "credentials": "cam", "stream": "", "picture": False}
        return await made(tmp_path, **(known | keys)).run()


async def test_the_stream_is_asked_for_and_only_its_path_believed(tmp_path: Path) -> None:
    camera = CameraOnvif()
    outcome = await looked(tmp_path, camera)
    assert (outcome.state, outcome.rung) == (State.OK, "stream"), outcome
    assert outcome.facts["serial"] == "S1"
    assert camera.asked[-1] == "GetStreamUri"


async def test_a_wrong_clock_is_degraded_and_the_login_follows_it(tmp_path: Path) -> None:
    outcome = await looked(tmp_path, CameraOnvif(skew_s=86_400))
    assert (outcome.state, outcome.reason) == (State.DEGRADED, Reason.CLOCK_SKEW), outcome
    assert outcome.facts["serial"] == "S1"


async def test_another_camera_at_the_address_is_named(tmp_path: Path) -> None:
    assert (await looked(tmp_path, CameraOnvif(), serial="S2")).reason is Reason.WRONG_DEVICE


@pytest.mark.parametrize(
    ("camera", "reason"),
    [
        (CameraOnvif(password="other"), Reason.UNAUTHORISED),
        (CameraOnvif(fault="mute"), Reason.TIMEOUT),
        (CameraOnvif(fault="endless"), Reason.TOO_LARGE),
        (CameraOnvif(fault="bomb"), Reason.NOT_THE_PROTOCOL),
        (CameraOnvif(fault="redirect"), Reason.REDIRECTED),
        (CameraOnvif(fault="not_soap"), Reason.NOT_THE_PROTOCOL),
        (CameraOnvif(fault="fault"), Reason.DEVICE_ERROR),
        (CameraOnvif(stream="http://169.254.169.254/"), Reason.NOT_THE_PROTOCOL),
    ],
)
async def test_each_fault_has_its_own_word(camera: CameraOnvif, reason: Reason, tmp_path: Path) -> None:
    outcome = await looked(tmp_path, camera, deadline_s=16.0, stream_s=1.0)
    assert (outcome.state, outcome.reason) == (State.FAIL, reason), outcome


async def test_discovery_finds_the_camera_and_not_the_noise() -> None:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Discoverable, local_addr=("127.0.0.1", 0))
    try:
        found = await discover("127.0.0.1", 1.0, transport.get_extra_info("sockname"))
    finally:
        transport.close()
    path = "/onvif/device_service"
    assert found == [Found(host="127.0.0.1", port=8080, path=path, name="Cong UBND", hardware="X1")]
