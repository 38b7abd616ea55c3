"""What a hamlet has beside its sensors, on loopback: a loudspeaker, a camera, the far ends of a line and of a wifi."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import msgspec

from simulators import camera_player, camera_rtsp
from simulators.camera_player import CameraPlayer
from simulators.camera_rtsp import CameraRtsp
from simulators.lines import DnsFault, FarEnd, PageFault
from simulators.loudspeaker_http import HttpSpeaker
from simulators.loudspeaker_sip import SipSpeaker


class Fault(enum.StrEnum):
    """What is wrong in a hamlet."""

    NONE = "none"
    MUTE_HORN = "mute_horn"  # it is reached, and not heard
    FROZEN_PICTURE = "frozen_picture"
    LOGIN_PAGE = "login_page"  # the wifi's
    NO_DNS = "no_dns"  # the line's
    DEAD = "dead"  # all of it takes the question and never answers


class FarPlaces(msgspec.Struct, frozen=True):
    """Where the far end of a line is asked: address:port of the resolver, http://address:port, ports of targets."""

    resolver: str
    pages: str
    targets: list[int]


class Place(msgspec.Struct, frozen=True):
    """Where everything of one hamlet is: ports on loopback, at `host` the camera's; the speaker's page as a URL."""

    host: str
    sip: int
    page: str
    camera: int
    line: FarPlaces
    wifi: FarPlaces


async def stand(
    stack: AsyncExitStack,
    fault: Fault = Fault.NONE,
    seconds: Callable[[], float] = time.time,
    host: str = "127.0.0.1",
) -> Place:
    """Have it all while the stack is open; `seconds` is the time that the picture of the camera at `host` shows."""
    dead = fault is Fault.DEAD
    sip = await stack.enter_async_context(SipSpeaker(fault="silent" if dead else ""))
    page: dict[str, object] = {"registered": True, "test": "failed" if fault is Fault.MUTE_HORN else "passed"}
    http = await stack.enter_async_context(HttpSpeaker(page=page, fault="drip" if dead else ""))
    line = DnsFault.MUTE if dead else DnsFault.REFUSES if fault is Fault.NO_DNS else DnsFault.NONE
    return Place(
        host=host,
        sip=sip.port,
        page=f"{http.url}/status",
        camera=await _camera(stack, fault, seconds, host),
        line=await _far(stack, FarEnd(dns_fault=line)),
        wifi=await _far(
            stack,
            FarEnd(
                dns_fault=DnsFault.MUTE if dead else DnsFault.NONE,
                page_fault=PageFault.LOGIN if fault is Fault.LOGIN_PAGE else PageFault.NONE,
            ),
        ),
    )


async def _camera(stack: AsyncExitStack, fault: Fault, seconds: Callable[[], float], host: str) -> int:
    if fault is Fault.DEAD:
        return await stack.enter_async_context(camera_rtsp.served(CameraRtsp("mute"), host))
    shows: camera_player.Shows = "frozen" if fault is Fault.FROZEN_PICTURE else "moving"
    return await stack.enter_async_context(camera_player.served(CameraPlayer(shows, seconds), host))


async def _far(stack: AsyncExitStack, end: FarEnd) -> FarPlaces:
    return FarPlaces(
        resolver=await stack.enter_async_context(end.resolver()),
        pages=await stack.enter_async_context(end.pages()),
        targets=[await stack.enter_async_context(end.target()) for _ in range(2)],
    )
