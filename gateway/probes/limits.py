"""The bounds of every read from outside: bytes, addresses, redirects. Time is bounded by the schedule's deadline."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final
from xml.etree import ElementTree
from xml.parsers import expat

from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason

MOST_BYTES: Final = 256 * 1024
_DEEPEST: Final = 64
_LONGEST_SHOWN: Final = 200
# Cloud metadata services, and what else no device in a hamlet has (RFC 6890).
_METADATA: Final = (ipaddress.ip_address("169.254.169.254"), ipaddress.ip_address("fd00:ec2::254"))


async def read_capped(reader: asyncio.StreamReader, most: int = MOST_BYTES) -> bytes:
    """Read to the end; raises ProbeError(TOO_LARGE) past `most` bytes."""
    read = bytearray()
    while chunk := await reader.read(min(65_536, most + 1 - len(read))):
        read += chunk
        if len(read) > most:
            raise ProbeError(Reason.TOO_LARGE, f"more than {most} bytes")
    return bytes(read)


async def read_line_capped(reader: asyncio.StreamReader, most: int = 8_192) -> bytes:
    """Read up to and with a line feed; raises ProbeError(TOO_LARGE, CLOSED)."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = await reader.read(1)
        if not byte:
            raise ProbeError(Reason.CLOSED, "the connection ended in the middle of a line")
        line += byte
        if len(line) > most:
            raise ProbeError(Reason.TOO_LARGE, f"a line of more than {most} bytes")
    return bytes(line)


def parse_xml(data: bytes) -> ElementTree.Element:
    """Parse what a device sent, without document types and hence without entities; raises ProbeError.

    An entity can only be declared in a document type: with none allowed, nothing can unfold and nothing is fetched.
    """
    if len(data) > MOST_BYTES:
        raise ProbeError(Reason.TOO_LARGE, f"{len(data)} bytes of XML")
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, f"XML nested deeper than {_DEEPEST}")
        builder.start(_named(name), {_named(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_named(name))

    def refuse(*_: object) -> None:
        raise ProbeError(Reason.NOT_THE_PROTOCOL, "XML with a document type, which no device needs")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ValueError) as error:
        raise ProbeError(Reason.NOT_THE_PROTOCOL, f"not XML: {error}") from error


def _named(name: str) -> str:
    """Write a name as ElementTree does: `{namespace}local`."""
    return "{" + name if "}" in name else name


def shown_text(text: str) -> str:
    """Return a stranger's text as a terminal and a configuration file can bear it."""
    return "".join(letter for letter in text if letter.isprintable() and letter not in '"\\')[:_LONGEST_SHOWN]


async def refuse_inner_address(host: str, port: int) -> None:
    """Where a redirect or a device's own word leads: raises ProbeError(REDIRECTED) for loopback, metadata and the like.

    What an installer has configured is not asked about: only what somebody outside has named.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        one = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if one.is_loopback or one.is_unspecified or one.is_multicast or one in _METADATA:
            raise ProbeError(Reason.REDIRECTED, f"{host} leads to {one}, where no device of the hamlet is")
