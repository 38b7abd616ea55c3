"""What the camera tests share: a probe of one camera, as `build` makes it, and the real server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SteppedClock
from gateway.probes.cameras.build import build
from gateway.probes.cameras.settings import Camera
from gateway.probes.credentials import Credentials
from gateway.probes.probe import Probe
from gateway.probes.setup import Setup

NOON_MS = 1_767_243_600_000  # 2026-01-01 12:00 in Viet Nam
SERVER = Path(__file__).parents[4] / "simulators" / "camera_gst.py"


def made(tmp_path: Path, clock: SteppedClock | None = None, password: str = "right", **keys: Any) -> Probe:  # noqa: S107
    file = tmp_path / "credentials.toml"
    file.write_text(f'[cam]\nusername = "xom"\npassword = "{password}"\n')
    file.chmod(0o600)
    setup = Setup(credentials=Credentials(file), clock=clock or SteppedClock(NOON_MS), data=tmp_path)
    known: dict[str, Any] = {"name": "cam-1", "host": "127.0.0.1", "onvif_port": 0, "stream": "/snow"}
    (probe,) = build([Camera(**(known | keys))], setup)
    return probe


@contextmanager
def gst_server(*login: str) -> Iterator[int]:
    python = "/usr/bin/python3"
    asked = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if not Path(python).exists() or subprocess.run([python, "-c", asked], capture_output=True, check=False).returncode:
        pytest.skip("LEFT OUT: no gst-rtsp-server here, so no picture of a real RTSP server is proved")
    with subprocess.Popen(
        [python, str(SERVER), *login], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.kill()
