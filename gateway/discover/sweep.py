"""Asks every host of a network by SIP OPTIONS over UDP (RFC 3261 section 11): few at a time, twice, then no more."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import islice
from typing import Final

from gateway.probes.errors import ProbeError
from gateway.probes.limits import shown_text
from gateway.probes.loudspeakers.sip_message import Options, Response, parse

PORT: Final = 5060
# A kernel keeps some thousand neighbours, and asks for each one that is not there by ARP, one a second for three
# seconds: so many at a time does not push out those it works with.
_IN_FLIGHT: Final = 64
_ROUNDS: Final = 2  # a datagram may be lost
_MOST_ANSWERS_A_HOST: Final = 8
_LARGEST: Final = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A host on which a SIP stack answers. `software` is what it says of itself, "" for nothing."""

    host: str
    port: int
    status: int
    software: str


@dataclass(slots=True)
class _Inbox(asyncio.DatagramProtocol):
    """Takes answers of those who were asked, to what they were asked."""

    port: int
    asked: dict[str, Options] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)
    found: dict[str, Answered] = field(default_factory=dict)
    failures: int = 0
    problem: OSError | None = None

    def ask(self, transport: asyncio.DatagramTransport, host: str, here: int) -> None:
        """Ask one host; where there is no way to it, that is kept as the problem."""
        try:
            request = self.asked.get(host) or _request(host, self.port, here)
        except OSError as error:
            self.error_received(error)
            return
        self.asked[host] = request
        transport.sendto(request.encode(), (host, self.port))

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        host = address[0]
        request = self.asked.get(host)
        if request is None or host in self.found or len(data) > _LARGEST:
            return
        self.heard[host] = self.heard.get(host, 0) + 1
        if self.heard[host] > _MOST_ANSWERS_A_HOST:
            return
        try:
            response = parse(data)
        except ProbeError:
            return  # whoever else uses the port
        if request.is_answered_by(response) and response.status >= 200:
            self.found[host] = Answered(
                host=host, port=self.port, status=response.status, software=_software_of(response)
            )

    def error_received(self, exc: Exception) -> None:
        """Count what could not be sent; a host that refuses has been asked."""
        if isinstance(exc, OSError) and not isinstance(exc, ConnectionError):
            self.failures, self.problem = self.failures + 1, exc


async def sweep(
    hosts: Sequence[IPv4Address], *, port: int = PORT, wave_s: float = 0.2, last_s: float = 2.0
) -> list[Answered]:
    """Return the hosts that answer; raises OSError where nothing could be sent. Takes as long as the hosts are many."""
    loop = asyncio.get_running_loop()
    transport, inbox = await loop.create_datagram_endpoint(lambda: _Inbox(port), local_addr=("0.0.0.0", 0))  # noqa: S104
    try:
        here = transport.get_extra_info("sockname")[1]
        for _ in range(_ROUNDS):
            for wave in _waves(host for host in hosts if str(host) not in inbox.found):
                for host in wave:
                    inbox.ask(transport, str(host), here)
                await asyncio.sleep(wave_s)
            await asyncio.sleep(last_s / _ROUNDS)
    finally:
        transport.close()
    if inbox.problem is not None and inbox.failures >= _ROUNDS * len(hosts):
        raise inbox.problem
    return sorted(inbox.found.values(), key=lambda one: IPv4Address(one.host))


def _waves(hosts: Iterator[IPv4Address]) -> Iterator[list[IPv4Address]]:
    while wave := list(islice(hosts, _IN_FLIGHT)):
        yield wave


def _request(host: str, port: int, here: int) -> Options:
    return Options(
        target=f"sip:{host}:{port}",
        transport="udp",
        local=(_own_address(host, port), here),
        branch=f"z9hG4bK{secrets.token_hex(12)}",
        tag=secrets.token_hex(8),
        call_id=secrets.token_hex(16),
    )


def _own_address(host: str, port: int) -> str:
    """Return the address that we have where the host is; raises OSError. Connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect((host, port))
        return str(line.getsockname()[0])


def _software_of(response: Response) -> str:
    """Return what the stack calls itself (RFC 3261 20.35 and 20.41)."""
    return shown_text(response.first("server") or response.first("user-agent"))[:80]
