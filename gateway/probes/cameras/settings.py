"""What an installer says of them: [[camera]]. `samples/gateway.toml` explains every key."""

from __future__ import annotations

import msgspec


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[[camera]]: one camera, or one channel of a recorder.

    Shares of the picture are percent: a mask is [left, top, width, height]. Limits are as in `judgement`.
    """

    name: str
    host: str
    port: int = 554
    stream: str = ""  # path and query; "" asks ONVIF
    credentials: str = ""
    onvif_port: int = 80  # 0: no ONVIF
    onvif_path: str = "/onvif/device_service"
    serial: str = ""
    picture: bool = True
    masks: list[list[float]] = []
    night: str = ""  # local hours in which black is no fault, e.g. "18:00-05:30"
    every_s: float = 300.0
    deadline_s: float = 60.0
    stream_s: float = 15.0
    black_below: float = 16.0
    dark_below: float = 50.0
    still_below: float = 0.5
    frozen_after_s: float = 600.0
    frozen_dark_s: float = 50_400.0
    blurred_below: float = 0.2
    moved_below: float = 0.5
    clock_limit_s: float = 60.0
