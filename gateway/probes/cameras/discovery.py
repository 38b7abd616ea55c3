"""Finds the cameras of a network for the installer: WS-Discovery 1.0 (2005/04), as ONVIF Core section 7 asks for.

An answer is a claim of whoever sent it: bounded in size and number, and only ever shown.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from gateway.probes.errors import ProbeError
from gateway.probes.limits import parse_xml, shown_text

GROUP: Final = ("239.255.255.250", 3702)
_ADDRESSING: Final = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
_DISCOVERY: Final = "http://schemas.xmlsoap.org/ws/2005/04/discovery"
_MOST_FOUND: Final = 256
_MOST_ANSWERS: Final = 2048
_LARGEST: Final = 16 * 1024
_PROBE: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="{addressing}" xmlns:d="{discovery}"'
    ' xmlns:n="http://www.onvif.org/ver10/network/wsdl"><s:Header>'
    "<a:Action>{discovery}/Probe</a:Action><a:MessageID>{message}</a:MessageID>"
    "<a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header>"
    "<s:Body><d:Probe><d:Types>n:NetworkVideoTransmitter</d:Types></d:Probe></s:Body></s:Envelope>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One camera as it presents itself. `host` is who sent the answer, not what the answer says."""

    host: str
    port: int
    path: str
    name: str
    hardware: str


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, message: str) -> None:
        self.message = message
        self.found: dict[tuple[str, int], Found] = {}
        self.answers = 0

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.answers += 1
        if len(data) > _LARGEST or self.answers > _MOST_ANSWERS or len(self.found) >= _MOST_FOUND:
            return
        try:
            one = _match(parse_xml(data), self.message, address[0])
        except ProbeError:
            return  # noise on the group, or a hostile sender: the others still count
        if one is not None:
            self.found.setdefault((one.host, one.port), one)


async def discover(address: str = "", seconds: float = 4.0, group: tuple[str, int] = GROUP) -> list[Found]:
    """Return the cameras that answer within `seconds`, asked through the interface of `address`, "": any."""
    message = f"uuid:{uuid.uuid4()}"
    probe = _PROBE.format(addressing=_ADDRESSING, discovery=_DISCOVERY, message=message).encode()
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        if address:
            line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        line.bind((address, 0))
        transport, answers = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Answers(message), sock=line
        )
    except BaseException:
        line.close()
        raise
    try:
        for _ in range(2):  # a datagram may be lost: the standard asks twice (SOAP-over-UDP, UNICAST_UDP_REPEAT)
            transport.sendto(probe, group)
            await asyncio.sleep(seconds / 2)
    finally:
        transport.close()
    return sorted(answers.found.values(), key=lambda one: (one.host, one.port))


def _match(root: ElementTree.Element, message: str, host: str) -> Found | None:
    """Return the camera of a ProbeMatch that answers our question; None for everything else."""
    if root.findtext(f".//{{{_ADDRESSING}}}RelatesTo", "").strip() != message:
        return None
    match = root.find(f".//{{{_DISCOVERY}}}ProbeMatch")
    if match is None or "NetworkVideoTransmitter" not in match.findtext(f"{{{_DISCOVERY}}}Types", ""):
        return None
    scopes = match.findtext(f"{{{_DISCOVERY}}}Scopes", "").split()
    port, path = 80, "/onvif/device_service"
    for word in match.findtext(f"{{{_DISCOVERY}}}XAddrs", "").split():
        try:
            parts = urlsplit(word)
            named = parts.port or 80
        except ValueError:
            continue
        if parts.scheme == "http":
            port, path = named, shown_text(parts.path) or path
            break
    return Found(host=host, port=port, path=path, name=_scope(scopes, "name"), hardware=_scope(scopes, "hardware"))


def _scope(scopes: list[str], kind: str) -> str:
    start = f"onvif://www.onvif.org/{kind}/"
    return next((shown_text(unquote(one.removeprefix(start))) for one in scopes if one.startswith(start)), "")
