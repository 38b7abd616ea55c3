"""Asks one resolver, by one way out: UDP, and TCP where the answer did not fit (RFC 1035, 4.2)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import socket
from typing import Final

from gateway.probes.errors import ProbeError, sorted_os_error
from gateway.probes.network.dns import (
    MOST_BYTES,
    NOERROR,
    NXDOMAIN,
    REFUSED,
    Answer,
    NotDns,
    decode_answer,
    encode_question,
)
from gateway.probes.network.layer import OK, Layer
from gateway.probes.network.way import Way
from gateway.probes.outcome import Reason

_TRY_S: Final = 2.0
_TRIES: Final = 2
_TCP_S: Final = 4.0
_STRAY: Final = 32  # packets that are no answer to us, before we stop looking


async def ask(way: Way, resolver: str, name: str) -> Answer:
    """Ask for a name's IPv4 addresses; raises ProbeError where no answer came. `resolver`: address[:port]."""
    host, _, port = resolver.partition(":")
    place = (host, int(port or 53))
    question = encode_question(secrets.randbelow(65_536), name)
    for attempt in range(_TRIES):
        try:
            async with asyncio.timeout(_TRY_S):
                answer = await _over_udp(way, place, question)
        except TimeoutError:
            if attempt + 1 == _TRIES:
                raise ProbeError(Reason.TIMEOUT, f"{resolver} does not answer") from None
            continue
        except OSError as error:
            raise ProbeError(_reason(error), f"{resolver}: {error.strerror or error}") from error
        return await _over_tcp(way, place, question) if answer.truncated else answer
    raise AssertionError("unreachable")


async def probe_resolver(way: Way, resolver: str, name: str, absent: str) -> tuple[Layer, tuple[str, ...]]:
    """Return whether a resolver works and tells the truth, and the addresses of `name`.

    `absent` is a name that cannot exist: a resolver that knows it lies, and so does one that sends `name` inside.
    """
    try:
        found, nobody = await asyncio.gather(ask(way, resolver, name), ask(way, resolver, absent))
    except ProbeError as error:
        return Layer.failed(error.reason, str(error)), ()
    return judge(found, nobody), found.addresses if not found.leads_inside else ()


def judge(found: Answer, nobody: Answer) -> Layer:
    """Return what the answers for a name that exists and for one that cannot say of their resolver. Pure."""
    if nobody.addresses:
        return Layer.failed(Reason.DNS_LIES, f"knows a name that does not exist, at {nobody.addresses[0]}")
    if found.leads_inside:
        return Layer.failed(Reason.DNS_LIES, f"sends a public name to {found.addresses[0]}")
    if found.code == NXDOMAIN:
        return Layer.failed(Reason.NOT_FOUND, "does not know the name")
    if found.code == REFUSED:
        return Layer.failed(Reason.REFUSED, "refuses to resolve for us")
    if found.code != NOERROR:
        return Layer.failed(Reason.DEVICE_ERROR, f"says that it cannot resolve (code {found.code})")
    return OK if found.addresses else Layer.failed(Reason.NOT_FOUND, "knows no address of the name")


async def _over_udp(way: Way, place: tuple[str, int], question: bytes) -> Answer:
    loop = asyncio.get_running_loop()
    with way.open(socket.SOCK_DGRAM) as asking:
        asking.connect(place)  # connected: the kernel drops what comes from elsewhere, and tells us of a refusal
        await loop.sock_sendall(asking, question)
        way.spend_datagram(len(question))
        for _ in range(_STRAY):
            data = await loop.sock_recv(asking, MOST_BYTES)
            way.spend_datagram(len(data))
            with contextlib.suppress(NotDns):
                return decode_answer(data, question)
    raise ProbeError(Reason.NOT_THE_PROTOCOL, f"{place[0]} sends what is no answer")


async def _over_tcp(way: Way, place: tuple[str, int], question: bytes) -> Answer:
    loop = asyncio.get_running_loop()
    with way.open(socket.SOCK_STREAM) as asking:
        try:
            async with asyncio.timeout(_TCP_S):
                await loop.sock_connect(asking, place)
                await loop.sock_sendall(asking, len(question).to_bytes(2, "big") + question)
                length = int.from_bytes(await _exactly(asking, 2), "big")
                if length > MOST_BYTES:
                    raise ProbeError(Reason.TOO_LARGE, f"{place[0]} answers with {length} bytes")
                return decode_answer(await _exactly(asking, length), question)
        except NotDns as error:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, f"{place[0]}: {error}") from error
        except TimeoutError as error:
            raise ProbeError(Reason.TIMEOUT, f"{place[0]} does not answer over TCP") from error
        except OSError as error:
            raise ProbeError(_reason(error), f"{place[0]} over TCP: {error.strerror or error}") from error
        finally:
            way.spend_connection(asking)


async def _exactly(connection: socket.socket, count: int) -> bytes:
    loop, read = asyncio.get_running_loop(), bytearray()
    while len(read) < count:
        chunk = await loop.sock_recv(connection, count - len(read))
        if not chunk:
            raise ProbeError(Reason.CLOSED, "closed in the middle of an answer")
        read += chunk
    return bytes(read)


def _reason(error: OSError) -> Reason:
    """Sort an error; that we have no way there is what was asked here, so it is no excuse."""
    if error.errno in (errno.ENETUNREACH, errno.ENETDOWN):
        return Reason.UNREACHABLE
    return sorted_os_error(error)
