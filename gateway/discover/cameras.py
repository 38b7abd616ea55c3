"""Cameras: asked for by WS-Discovery on each of our networks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from gateway.discover.finding import Family, Finding, Section, Standing, Unsearched
from gateway.discover.known import Known
from gateway.discover.names import Names, slug
from gateway.language import Text
from gateway.probes.cameras.discovery import GROUP, Found, discover
from gateway.probes.cameras.settings import Camera
from gateway.probes.limits import shown_text

_SHOWN: Final = frozenset({"host", "port", "onvif_port"})
_NO_ADDRESS: Final = Text("trạm không có địa chỉ mạng nội bộ nào", "this machine has no address on a local network")
_ELSEWHERE: Final = Text(
    "địa chỉ không thuộc mạng của trạm: đặt lại địa chỉ của camera, rồi chạy lại",
    "its address is not in our network: give the camera another address and search again",
)


async def search(
    own: Iterable[tuple[str, IPv4Address]], *, seconds: float = 4.0, group: tuple[str, int] = GROUP
) -> tuple[list[Found], list[Unsearched]]:
    """Return the cameras that answer on any interface, each once."""
    asked = list(own)
    if not asked:
        return [], [no_address(Family.CAMERA)]
    answers = await asyncio.gather(
        *(discover(str(address), seconds, group) for _, address in asked), return_exceptions=True
    )
    found: dict[tuple[str, int], Found] = {}
    failed: list[Unsearched] = []
    for (name, address), answer in zip(asked, answers, strict=True):
        if isinstance(answer, OSError):
            failed.append(_failed(name, address, answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found |= {(one.host, one.port): one for one in answer}
    return sorted(found.values(), key=lambda one: (IPv4Address(one.host), one.port)), failed


def findings(
    found: Iterable[Found], known: Known, names: Names, local: Sequence[IPv4Network] = (IPv4Network("0.0.0.0/0"),)
) -> list[Finding]:
    """Say what each camera is, and how it would be configured. Pure.

    Who answers from outside `local` is shown alone: a camera with a factory address, or somebody with a forged one.
    """
    return [_finding(one, known, names, local) for one in found]


def no_address(family: Family) -> Unsearched:
    """Say that there is no network to search."""
    remedy = Text(
        "cắm dây mạng hoặc vào wifi của thôn; hoặc nêu --interface",
        "connect it to the hamlet's network, by cable or wifi; or name an --interface",
    )
    return Unsearched(family=family, thing=family.value, what=_NO_ADDRESS, remedy=remedy)


def _finding(one: Found, known: Known, names: Names, local: Sequence[IPv4Network]) -> Finding:
    label = " ".join(dict.fromkeys(word for word in (one.name, one.hardware) if word))
    what = Text(f"camera {label}".strip(), f"camera {label}".strip())
    facts: dict[str, str | int | float | bool | list[str]] = {
        "host": one.host, "onvif_port": one.port, "onvif_path": one.path, "name": one.name, "hardware": one.hardware,
    }  # fmt: skip
    thing = one.host if one.port == 80 else f"{one.host}:{one.port}"
    if known.has_camera(one.host, one.port):
        return Finding(family=Family.CAMERA, thing=thing, what=what, standing=Standing.KNOWN, facts=facts)
    if not any(IPv4Address(one.host) in network for network in local):
        return Finding(
            family=Family.CAMERA, thing=thing, what=what, standing=Standing.SEEN, advice=_ELSEWHERE, facts=facts
        )
    name = names.give(slug(one.name) or "camera", one.host.rpartition(".")[2])
    login = f"camera-{name}"
    has_login = known.has_login(login)
    settings = Camera(
        name=name, host=one.host, onvif_port=one.port, onvif_path=one.path, credentials=login if has_login else ""
    )
    return Finding(
        family=Family.CAMERA,
        thing=thing,
        what=what,
        standing=Standing.NEW,
        section=Section(
            table="camera", settings=settings, show=_SHOWN, credentials="" if has_login else login,
            notes=(Text(f"{label or 'camera'}: tìm thấy bằng WS-Discovery", f"{label or 'camera'}, by WS-Discovery"),),
        ),
        facts=facts,
    )  # fmt: skip


def _failed(name: str, address: IPv4Address, error: OSError) -> Unsearched:
    return Unsearched(
        family=Family.CAMERA,
        thing=f"{name} {address}",
        what=Text("không hỏi được camera qua cổng mạng này", "cameras could not be asked for through this interface"),
        remedy=Text(
            "kiểm tra dây mạng và tường lửa (UDP 3702), rồi chạy lại",
            "check the cable and the firewall (UDP 3702), then search again",
        ),
        detail=shown_text(str(error)),
    )
