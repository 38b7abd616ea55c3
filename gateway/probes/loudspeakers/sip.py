"""SIP OPTIONS over UDP and TCP, with the login of 401 and 407 (RFC 3261 sections 11, 17, 22; RFC 8760).

Any final response proves that a stack answers (`answers`); 2xx that it would serve us (`ready`). Neither proves sound.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass, replace
from typing import Final

from gateway.clock import Instant
from gateway.probes.credentials import Credentials
from gateway.probes.digest import login
from gateway.probes.errors import ProbeError
from gateway.probes.limits import read_line_capped
from gateway.probes.loudspeakers.finding import FINE, Check, Finding
from gateway.probes.loudspeakers.memory import Memory
from gateway.probes.loudspeakers.settings import Sip
from gateway.probes.loudspeakers.sip_message import MOST_BYTES, Options, Response, parse
from gateway.probes.outcome import Fact, Reason, State

_T1_S: Final = 0.5  # RFC 3261 17.1.1.1
_T2_S: Final = 4.0
_MOST_PROVISIONAL: Final = 32
_LOGIN: Final = {401: ("www-authenticate", "Authorization"), 407: ("proxy-authenticate", "Proxy-Authorization")}


@dataclass(frozen=True, slots=True, kw_only=True)
class SipAdapter:
    """One SIP device, or the station's registrar that knows it."""

    settings: Sip
    credentials: Credentials
    timeout_s: float
    name: str = "sip"
    keeps_log: bool = False
    signs: frozenset[str] = frozenset()

    @property
    def gives(self) -> frozenset[str]:
        """A device's answer is reach; a registrar's that it can pass on is link."""
        return frozenset({"link" if self.settings.asks == "registrar" else "reach"})

    @property
    def is_asked_directly(self) -> bool:
        """A registrar's silence says nothing about the loudspeaker."""
        return self.settings.asks == "device"

    async def ask(self, now: Instant, memory: Memory) -> Finding:
        """Ask, log in if that is wanted and known, and say what the last answer means."""
        _ = now, memory
        opened = _Datagrams if self.settings.transport == "udp" else _Stream
        async with asyncio.timeout(self.timeout_s):
            line = await opened.open(self.settings.host, self.settings.port)
        try:
            async with asyncio.timeout(self.timeout_s):
                status, logged_in = await self._exchange(line)
        except TimeoutError:
            if line.noise is None:
                raise
            raise line.noise from None  # somebody answers there, and it is not SIP
        finally:
            await line.close()
        facts: dict[str, Fact] = {"status": status, "rung": "ready" if 200 <= status < 300 else "answers"}
        check = of_device(status, logged_in) if self.is_asked_directly else of_registrar(status)
        return Finding(checks={next(iter(self.gives)): check}, facts=facts)

    async def _exchange(self, line: _Datagrams | _Stream) -> tuple[int, bool]:
        """Return the last status and whether we had logged in."""
        there = self.settings
        host = f"[{there.host}]" if ":" in there.host else there.host
        target = f"sip:{there.user}@{host}:{there.port}" if there.user else f"sip:{host}:{there.port}"
        if there.transport == "tcp":
            target += ";transport=tcp"
        request = Options(
            target=target, transport=there.transport, local=line.local, branch=_branch(),
            tag=secrets.token_hex(8), call_id=secrets.token_hex(16),
        )  # fmt: skip
        response = await line.answer(request)
        logged_in = False
        for _ in range(2):  # the second time only for a nonce that is too old
            if response.status not in _LOGIN or not there.credentials:
                break
            asked, answered = _LOGIN[response.status]
            mine = login(response.headers.get(asked, ()), self.credentials.of(there.credentials))
            if logged_in and not mine.stale:
                break
            header = (answered, mine.answer("OPTIONS", target, secrets.token_hex(8)))
            request = replace(request, branch=_branch(), sequence=request.sequence + 1, login=header)
            logged_in, response = True, await line.answer(request)
        return response.status, logged_in


def of_device(status: int, logged_in: bool) -> Check:
    """Return what a device's final answer means for `reach`: 404, 405, 480 and 486 prove the stack as well as 200."""
    if status in _LOGIN and logged_in:
        return Check(State.DEGRADED, Reason.UNAUTHORISED, "it answers, and does not take our login")
    if status == 503:
        return Check(State.DEGRADED, Reason.BUSY, "it answers 503")
    if status >= 500 and status != 501:
        return Check(State.DEGRADED, Reason.DEVICE_ERROR, f"it answers {status}")
    return FINE


def of_registrar(status: int) -> Check:
    """Return what the station's answer means for `link`."""
    if 200 <= status < 300 or status in (
        405,
        486,
        488,
        501,
    ):  # passed on and answered: 405 and 501 come from the device
        return FINE
    if status in (404, 410, 480, 604):
        return Check(State.FAIL, Reason.NOT_LINKED, f"the station does not have it ({status})")
    if status in (408, 504):
        return Check(State.FAIL, Reason.TIMEOUT, f"the station has it and gets no answer ({status})")
    if status in (401, 403, 407):
        return Check(State.UNKNOWN, Reason.UNAUTHORISED, f"the station does not tell us ({status})")
    return Check(State.UNKNOWN, Reason.DEVICE_ERROR, f"the station answers {status}")


def _branch() -> str:
    return f"z9hG4bK{secrets.token_hex(12)}"  # 8.1.1.7: the cookie, then what nobody can guess


class _Inbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.came: asyncio.Queue[bytes | OSError] = asyncio.Queue(64)

    def datagram_received(self, data: bytes, _addr: object) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # a flood: what is over is not kept
            self.came.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            with contextlib.suppress(asyncio.QueueFull):
                self.came.put_nowait(exc)


@dataclass(slots=True)
class _Datagrams:
    """UDP: asked again after T1, doubling up to T2 (17.1.2.2), until somebody's deadline ends it."""

    transport: asyncio.DatagramTransport
    inbox: _Inbox
    local: tuple[str, int]
    noise: ProbeError | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> _Datagrams:
        """Open a connected socket: the kernel drops what comes from elsewhere."""
        loop = asyncio.get_running_loop()
        transport, inbox = await loop.create_datagram_endpoint(_Inbox, remote_addr=(host, port))
        here = transport.get_extra_info("sockname")
        return cls(transport, inbox, (here[0], here[1]))

    async def answer(self, request: Options) -> Response:
        """Return the final response; raises OSError. What is no SIP is kept as `noise`."""
        wait_s, data = _T1_S, request.encode()
        while True:
            self.transport.sendto(data)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    while True:
                        response = self._read(await self.inbox.came.get())
                        if response is None or not request.is_answered_by(response):
                            continue
                        if response.status >= 200:
                            return response
                        wait_s = _T2_S
            wait_s = min(2 * wait_s, _T2_S)

    def _read(self, came: bytes | OSError) -> Response | None:
        if isinstance(came, OSError):
            raise came
        try:
            return parse(came)
        except ProbeError as error:
            self.noise = error
            return None

    async def close(self) -> None:
        """Give the socket back."""
        self.transport.close()
        await asyncio.sleep(0)


@dataclass(slots=True)
class _Stream:
    """TCP: messages framed by Content-Length (18.3), no repeats."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    local: tuple[str, int]
    noise: ProbeError | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> _Stream:
        """Connect; raises OSError."""
        reader, writer = await asyncio.open_connection(host, port)
        here = writer.get_extra_info("sockname")
        return cls(reader, writer, (here[0], here[1]))

    async def answer(self, request: Options) -> Response:
        """Return the final response; raises ProbeError, OSError."""
        self.writer.write(request.encode())
        await self.writer.drain()
        for _ in range(_MOST_PROVISIONAL):
            response = await self._response()
            if response.status >= 200 and request.is_answered_by(response):
                return response
        raise ProbeError(Reason.NOT_THE_PROTOCOL, f"{_MOST_PROVISIONAL} messages and no final answer to ours")

    async def _response(self) -> Response:
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            line = await read_line_capped(self.reader)
            if head or line.strip():  # empty lines before a message are keep-alives (RFC 5626 3.5.1)
                head += line
            if head and not head.startswith(b"SIP/"[: len(head)]):
                raise ProbeError(Reason.NOT_THE_PROTOCOL, f"not a SIP response: {bytes(head[:60])!r}")
            if len(head) > MOST_BYTES:
                raise ProbeError(Reason.TOO_LARGE, f"more than {MOST_BYTES} bytes of headers")
        response = parse(bytes(head))
        if response.body_bytes > MOST_BYTES:
            raise ProbeError(Reason.TOO_LARGE, f"a body of {response.body_bytes} bytes")
        try:
            await self.reader.readexactly(response.body_bytes)
        except asyncio.IncompleteReadError as error:
            raise ProbeError(Reason.CLOSED, "the connection ended in the middle of an answer") from error
        return response

    async def close(self) -> None:
        """End the connection."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
