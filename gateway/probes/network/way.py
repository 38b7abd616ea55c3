"""One way out of this machine: sockets that leave by one interface, and the count of what they spend."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Final

from gateway.probes.errors import ProbeError
from gateway.probes.network.budget import Budget
from gateway.probes.network.rtnetlink import Outlet, find_outlet
from gateway.probes.outcome import Reason

_IP_UDP_BYTES: Final = 28  # RFC 791 and 768: headers without options
_IP_TCP_BYTES: Final = 52  # with the timestamps option that Linux sends (RFC 7323)
_TCP_INFO_BYTES: Final = 232
_TCP_INFO_LEAST: Final = 144


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """What the kernel knows of one connection (struct tcp_info): round trip in ms, repeats, bytes and segments."""

    rtt_ms: float
    repeats: int
    bytes: int
    segments: int


@dataclass(frozen=True, slots=True)
class Way:
    """`interface` "" lets the routing table choose."""

    budget: Budget
    interface: str = ""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.interface or "default"

    def outlet(self) -> Outlet | None:
        """Return where packets would leave, as the kernel knows it now; None where there is no such link."""
        return find_outlet(self.interface)

    def open(self, kind: int, protocol: int = 0) -> socket.socket:
        """Return a non-blocking IPv4 socket bound to the interface; raises ProbeError."""
        try:
            made = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
        except PermissionError as error:
            raise ProbeError(Reason.NO_PERMISSION, f"socket: {error}") from error
        if self.interface:
            try:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode() + b"\0")
            except OSError as error:
                made.close()
                if error.errno == errno.ENODEV:
                    raise ProbeError(Reason.NO_EQUIPMENT, f"there is no interface {self.interface}") from error
                raise ProbeError(
                    Reason.NO_PERMISSION, f"sockets cannot be bound to {self.interface}: {error}; give CAP_NET_RAW"
                ) from error
        return made

    def spend_datagram(self, payload: int) -> None:
        """Count one UDP or ICMP packet of `payload` bytes."""
        self.budget.spend(payload + _IP_UDP_BYTES)

    def spend_connection(self, connection: socket.socket | None) -> None:
        """Count what a TCP connection took, before it is closed; one that never stood counts as its SYNs."""
        info = tcp_info(connection) if connection is not None else None
        self.budget.spend(info.bytes + info.segments * _IP_TCP_BYTES if info else 3 * 60)


def tcp_info(connection: socket.socket) -> TcpInfo | None:
    """Ask the kernel about a connection; None where it does not tell (older than Linux 4.6)."""
    try:
        raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return None
    if len(raw) < _TCP_INFO_LEAST:
        return None
    rtt_us, repeats = struct.unpack_from("=I", raw, 68)[0], struct.unpack_from("=I", raw, 100)[0]
    acknowledged, received, sent_segments, received_segments = struct.unpack_from("=QQII", raw, 120)
    return TcpInfo(rtt_us / 1000, repeats, acknowledged + received, sent_segments + received_segments)
