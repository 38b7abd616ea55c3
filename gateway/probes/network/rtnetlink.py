"""What the kernel knows of our links, addresses, routes and neighbours: rtnetlink(7), asked without any right.

Not /sys: that shows the network namespace of whoever mounted it, not always ours.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason

_GETLINK, _GETADDR, _GETROUTE, _GETNEIGH = 18, 22, 26, 30
_REQUEST_DUMP: Final = 0x301
_DONE, _ERROR = 3, 2
_IFF_UP, _IFF_LOOPBACK, _IFF_POINT_TO_POINT, _IFF_NO_ARP, _IFF_LOWER_UP = 0x1, 0x8, 0x10, 0x80, 0x10000
_MAIN_TABLE, _UNICAST = 254, 1
_LINK_LOCAL: Final = ipaddress.ip_network("169.254.0.0/16")  # RFC 3927: what a machine gives itself without DHCP
_MOST_MESSAGES: Final = 256
_ANSWER_S: Final = 2.0

# Neighbour states (linux/neighbour.h).
INCOMPLETE, REACHABLE, STALE, DELAY, PROBE, FAILED, NO_ARP, PERMANENT = (1 << bit for bit in range(8))


@dataclass(frozen=True, slots=True)
class Link:
    """One interface. `carrier` is what the hardware says: a cable, an association, a bearer.

    `neighbours`: others are on it beside its far end; ppp, a tunnel and a modem's raw-IP interface have none.
    """

    index: int
    name: str
    up: bool
    carrier: bool
    loopback: bool
    neighbours: bool = True


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where packets would leave: the link, its addresses (without link-local ones), its default route.

    `routed` without `gateway` is a line without neighbours: ppp, a modem's raw-IP interface.
    """

    link: Link
    addresses: tuple[str, ...] = ()
    routed: bool = False
    gateway: str = ""


def find_outlet(interface: str = "") -> Outlet | None:
    """Return the outlet of an interface, or the one of the best default route; None where there is no such link."""
    links = {link.index: link for link in _links()}
    addresses: dict[int, tuple[str, ...]] = {}
    for index, address in _addresses():
        addresses[index] = (*addresses.get(index, ()), str(address.ip))
    routes = sorted(_default_routes())  # by metric
    if not interface:
        for _, index, gateway in routes:
            if index in links:
                return Outlet(links[index], addresses.get(index, ()), True, gateway)
    candidates = [
        Outlet(link, addresses.get(link.index, ()))
        for link in links.values()
        if (link.name == interface if interface else not link.loopback)
    ]
    if not candidates:
        return None
    best = max(candidates, key=lambda one: (bool(one.addresses), one.link.carrier, one.link.up))
    for _, index, gateway in routes:
        if index == best.link.index:
            return Outlet(best.link, best.addresses, True, gateway)
    return best


def own_addresses() -> list[tuple[Link, ipaddress.IPv4Interface]]:
    """Return each of our IPv4 addresses with its link and its network, link-local ones left out."""
    links = {link.index: link for link in _links()}
    return [(links[index], address) for index, address in _addresses() if index in links]


def neighbour_state(index: int, address: str) -> int:
    """Return what the kernel believes of a neighbour; 0 where it has not asked yet."""
    for body in _dump(_GETNEIGH, struct.pack("=BxxxiHBB", socket.AF_INET, 0, 0, 0, 0)):
        _, interface, state = struct.unpack_from("=BxxxiH", body)
        if interface == index and _text(_attributes(body[12:]).get(1)) == address:
            return int(state)
    return 0


def _links() -> Iterator[Link]:
    for body in _dump(_GETLINK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)):
        index, flags = struct.unpack_from("=iI", body, 4)
        name = _attributes(body[16:]).get(3, b"").rstrip(b"\0").decode("utf-8", "replace")
        yield Link(
            index,
            name,
            up=bool(flags & _IFF_UP),
            carrier=bool(flags & _IFF_LOWER_UP),
            loopback=bool(flags & _IFF_LOOPBACK),
            neighbours=not flags & (_IFF_POINT_TO_POINT | _IFF_NO_ARP),
        )


def _addresses() -> Iterator[tuple[int, ipaddress.IPv4Interface]]:
    """Yield interface index, address with its prefix."""
    for body in _dump(_GETADDR, struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0)):
        prefix, index = body[1], struct.unpack_from("=I", body, 4)[0]
        attributes = _attributes(body[8:])
        text = _text(attributes.get(2, attributes.get(1)))  # IFA_LOCAL, else IFA_ADDRESS
        if text and ipaddress.ip_address(text) not in _LINK_LOCAL:
            yield index, ipaddress.IPv4Interface(f"{text}/{prefix}")


def _default_routes() -> Iterator[tuple[int, int, str]]:
    """Yield metric, interface index, gateway ("" without one)."""
    for body in _dump(_GETROUTE, struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
        _, prefix, _, _, table, _, _, kind = struct.unpack_from("=8B", body)
        attributes = _attributes(body[12:])
        if prefix or table != _MAIN_TABLE or kind != _UNICAST or 4 not in attributes:
            continue
        metric = _number(attributes.get(6))
        yield metric, _number(attributes[4]), _text(attributes.get(5))


def _dump(kind: int, body: bytes) -> Iterator[bytes]:
    """Yield the bodies of a dump's messages; raises ProbeError. The kernel answers at once, so waiting is in order."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asked:
            asked.settimeout(_ANSWER_S)
            asked.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_DUMP, 1, 0) + body)
            for _ in range(_MOST_MESSAGES):
                data = asked.recv(65_536)
                while len(data) >= 16:
                    length, message, _, _, _ = struct.unpack_from("=IHHII", data)
                    if message == _DONE:
                        return
                    if message == _ERROR or length < 16:
                        raise ProbeError(Reason.PROBE_ERROR, f"rtnetlink refuses a dump of {kind}")
                    yield data[16:length]
                    data = data[(length + 3) & ~3 :]
    except OSError as error:
        reason = Reason.NO_PERMISSION if error.errno in (errno.EPERM, errno.EACCES) else Reason.PROBE_ERROR
        raise ProbeError(reason, f"rtnetlink: {error}") from error


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def _text(address: bytes | None) -> str:
    return socket.inet_ntoa(address) if address is not None and len(address) == 4 else ""


def _number(raw: bytes | None) -> int:
    return int.from_bytes(raw, "little" if struct.pack("=H", 1)[0] else "big") if raw else 0
