"""The far end of a line: resolvers, independent targets, pages of known body. Internet, modem and wifi share it."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import ssl
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.probes.errors import ProbeError
from gateway.probes.network.connect import connected, handshake
from gateway.probes.network.layer import DNS, HTTP, OK, TRANSPORT, Figures, Layer, quality, several
from gateway.probes.network.page import fetch, judge, page_place
from gateway.probes.network.resolver import ask, probe_resolver
from gateway.probes.network.settings import Page
from gateway.probes.network.way import Way
from gateway.probes.outcome import OURS, Reason, State
from wire.reading import ClockState


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody who should answer: TCP, and TLS with his own name where `tls`."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `tcp://host:port` or `tls://host:port`; raises ValueError."""
        scheme, _, rest = text.partition("://")
        host, _, port = rest.rpartition(":")
        if scheme not in ("tcp", "tls") or not host or not (port.isdigit() and 0 < int(port) < 65_536):
            raise ValueError(f"{text!r} is not tcp://host:port or tls://host:port")
        return cls(host, int(port), scheme == "tls")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def default_context() -> ssl.SSLContext:
    """Trust what this machine trusts."""
    return ssl.create_default_context()


@dataclass(slots=True)
class Trust:
    """The TLS context, made at its first use and shared: the machine's roots take a megabyte or two."""

    make: Callable[[], ssl.SSLContext] = default_context
    _made: ssl.SSLContext | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """Return it."""
        if self._made is None:
            self._made = self.make()
        return self._made


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What is asked of every line."""

    clock: Clock
    trust: Trust
    resolvers: tuple[str, ...]
    hostname: str
    absent_below: str
    targets: tuple[Target, ...]
    pages: tuple[Page, ...]
    connects: int
    lossy_percent: float
    slow_ms: float

    async def layers(self, way: Way) -> tuple[dict[str, Layer], Figures]:
        """Ask for all of it, by one way; raises ProbeError only where no socket can be made."""
        with way.open(socket.SOCK_STREAM):  # a right or an interface that is missing shows here, once
            pass
        asked = await asyncio.gather(*(self._resolver(way, one) for one in self.resolvers))
        dns = dict(zip(self.resolvers, asked, strict=True))
        answering = [name for name, layer in dns.items() if layer.state is State.OK] or [
            name for name, layer in dns.items() if layer.reason is Reason.DNS_LIES
        ]
        reached = await asyncio.gather(*(self._target(way, one, answering) for one in self.targets))
        figures = _together([figures for _, figures in reached])
        pages = await asyncio.gather(*(self._page(way, one, answering) for one in self.pages))
        targets = {str(target): layer for target, (layer, _) in zip(self.targets, reached, strict=True)}
        transport = quality(several(targets), figures, lossy_percent=self.lossy_percent, slow_ms=self.slow_ms)
        shown = {page.url: layer for page, layer in zip(self.pages, pages, strict=True)}
        return {DNS: _resolving(dns), TRANSPORT: transport, HTTP: several(shown)}, figures

    async def _resolver(self, way: Way, resolver: str) -> Layer:
        absent = f"xom-{secrets.token_hex(10)}.{self.absent_below}"
        layer, _ = await probe_resolver(way, resolver, self.hostname, absent)
        return layer

    async def _target(self, way: Way, target: Target, resolvers: list[str]) -> tuple[Layer, Figures]:
        """Connect several times, once with TLS. A target that never answers says nothing about loss on the line."""
        try:
            address = await _resolve(way, target.host, resolvers)
        except ProbeError as error:
            return Layer.failed(error.reason, str(error)), Figures()
        rtts: list[float] = []
        attempts = lost = 0
        secured, problem = not target.tls, OK
        for attempts in range(1, self.connects + 1):
            try:
                async with connected(way, address, target.port) as stream:
                    lost += stream.lost
                    rtts += [] if stream.lost else [stream.rtt_ms]
                    if not secured:
                        await handshake(stream, target.host, self.trust.context, dates_known=self._dates_known)
                    secured = True
            except ProbeError as error:
                problem = Layer.failed(error.reason, str(error))
                lost += error.reason is Reason.TIMEOUT
                if error.reason is not Reason.TIMEOUT or (attempts == 2 and not rtts):
                    break
        if not rtts and problem.state is not State.OK:
            return problem, Figures()
        rtt_ms = statistics.median(rtts) if rtts else None
        return (OK if secured else problem), Figures(rtt_ms, attempts, min(lost, attempts))

    async def _page(self, way: Way, page: Page, resolvers: list[str]) -> Layer:
        host, port = page_place(page.url)
        try:
            address = await _resolve(way, host, resolvers)
            async with connected(way, address, port) as stream:
                return judge(await fetch(stream, page.url), page.body)
        except ProbeError as error:
            return Layer.failed(error.reason, str(error))

    @property
    def _dates_known(self) -> bool:
        return self.clock.now().state is not ClockState.NONE


async def _resolve(way: Way, host: str, resolvers: list[str]) -> str:
    """Return a host's address as the first resolver tells that knows it; an address is its own. Raises ProbeError."""
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        pass
    problem = ProbeError(Reason.NO_DNS, f"no resolver told the address of {host}")
    for resolver in resolvers:
        try:
            answer = await ask(way, resolver, host)
        except ProbeError as error:
            problem = error
            continue
        if answer.addresses:
            return answer.addresses[0]
    raise problem


def _resolving(resolvers: Mapping[str, Layer]) -> Layer:
    """Return the layer of the resolvers: one that lies says so, every other fault comes to no DNS."""
    layer = several(resolvers)
    if layer.state is State.OK or layer.reason in (Reason.DNS_LIES, *OURS):
        return layer
    return Layer(layer.state, Reason.NO_DNS, layer.why)


def _together(parts: list[Figures]) -> Figures:
    """Return the figures of all targets: the round trip is that of the nearest, losses are added."""
    rtts = [part.rtt_ms for part in parts if part.rtt_ms is not None]
    return Figures(min(rtts) if rtts else None, sum(part.attempts for part in parts), sum(part.lost for part in parts))
