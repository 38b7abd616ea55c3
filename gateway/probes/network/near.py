"""The near end of a line: link, address, and whether the gateway answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from typing import Final

from gateway.probes.errors import ProbeError
from gateway.probes.network import rtnetlink
from gateway.probes.network.layer import ADDRESS, GATEWAY, LINK, OK, Layer
from gateway.probes.network.rtnetlink import Outlet
from gateway.probes.network.way import Way
from gateway.probes.outcome import Reason, State

_ECHO_S: Final = 1.0
_ECHOES: Final = 2
_NEIGHBOUR_S: Final = 3.5  # three ARP questions a second apart (arp(7): mcast_solicit)
_DISCARD_PORT: Final = 9


def near_layers(outlet: Outlet | None, interface: str) -> dict[str, Layer]:
    """Return link and address as the kernel tells them; the last of them is the one that fails. Pure."""
    name = outlet.link.name if outlet else interface or "any interface"
    if outlet is None:
        return {LINK: Layer.failed(Reason.NO_LINK, f"there is no {name}")}
    if not (outlet.link.up and outlet.link.carrier):
        return {LINK: Layer.failed(Reason.NO_LINK, f"{name} has no carrier: a cable, a radio, a bearer")}
    if not outlet.addresses:
        return {LINK: OK, ADDRESS: Layer.failed(Reason.NO_ADDRESS, f"{name} has no IPv4 address")}
    if not outlet.routed:
        failed = Layer.failed(Reason.NO_GATEWAY, f"no default route leaves by {name}")
        return {LINK: OK, ADDRESS: OK, GATEWAY: failed}
    return {LINK: OK, ADDRESS: OK}


async def gateway_layer(way: Way, outlet: Outlet) -> tuple[Layer | None, float | None]:
    """Ask the gateway for a sign of life: an echo, else ARP. Returns the layer (None: it has none), the RTT, ms."""
    if not outlet.gateway:
        return None, None
    try:
        rtt_ms = await _echo(way, outlet.gateway)
    except ProbeError as error:
        if error.reason is not Reason.NO_PERMISSION:
            return Layer.failed(error.reason, str(error)), None
        rtt_ms = None
    if rtt_ms is not None:
        return OK, rtt_ms
    return await _neighbour(way, outlet), None


async def _echo(way: Way, address: str) -> float | None:
    """Return the round trip of an ICMP echo in ms, None without an answer (RFC 792).

    A datagram ICMP socket needs no capability where net.ipv4.ping_group_range names our group; raises ProbeError.
    """
    loop = asyncio.get_running_loop()
    with way.open(socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as asking:
        for number in range(_ECHOES):
            token = os.urandom(16)
            packet = struct.pack("!BBHHH", 8, 0, 0, 0, number) + token  # the kernel fills in checksum and id
            began = time.perf_counter()
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(_ECHO_S):
                    await loop.sock_sendto(asking, packet, (address, 0))
                    way.spend_datagram(len(packet))
                    while True:
                        answer = await loop.sock_recv(asking, 512)
                        way.spend_datagram(len(answer))
                        if answer[:1] == b"\0" and answer[8:24] == token:
                            return (time.perf_counter() - began) * 1000
    return None


async def _neighbour(way: Way, outlet: Outlet) -> Layer:
    """Make the kernel ask for the gateway's link address, and see what it found: that needs no right at all."""
    gateway, ends_at = outlet.gateway, time.monotonic() + _NEIGHBOUR_S
    with way.open(socket.SOCK_DGRAM) as poke, contextlib.suppress(OSError):
        poke.sendto(b"\0", (gateway, _DISCARD_PORT))
        way.spend_datagram(1)
    state = 0
    while time.monotonic() < ends_at:
        state = rtnetlink.neighbour_state(outlet.link.index, gateway)
        if state & (rtnetlink.REACHABLE | rtnetlink.PERMANENT | rtnetlink.NO_ARP):
            return Layer(State.OK, why="answers ARP, no echo")
        if state & rtnetlink.FAILED:
            break
        await asyncio.sleep(0.1)
    if state & (rtnetlink.FAILED | rtnetlink.INCOMPLETE):
        return Layer.failed(Reason.NO_GATEWAY, f"nobody is at {gateway}: it answers no ARP")
    return Layer.failed(Reason.NO_PERMISSION, f"whether {gateway} lives could not be found out: no echo is allowed")
