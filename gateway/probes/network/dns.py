"""DNS messages as far as a probe needs them: one question, its A records, NXDOMAIN, truncation (RFC 1035). Pure."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
MOST_BYTES: Final = 4096
_A, _IN = 1, 1
_HEADER: Final = struct.Struct("!HHHHHH")
_RECORD: Final = struct.Struct("!HHIH")
_MOST_RECORDS: Final = 64

# What no public name leads to (RFC 1918, 1122, 3927, 6598): a portal's or a blocker's answer.
_INNER: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
                 "192.168.0.0/16", "224.0.0.0/3")
)  # fmt: skip


class NotDns(Exception):
    """Bytes that are no answer to what was asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a resolver says: the response code, whether there is more over TCP, the IPv4 addresses."""

    code: int
    truncated: bool = False
    addresses: tuple[str, ...] = ()

    @property
    def leads_inside(self) -> bool:
        """Whether a public name was given an address that is nobody's public one."""
        return any(ipaddress.IPv4Address(one) in network for one in self.addresses for network in _INNER)


def encode_question(number: int, name: str) -> bytes:
    """Write a recursive question for a name's A records; raises ValueError for what is no name."""
    labels = name.rstrip(".").split(".")
    if not all(0 < len(label) <= 63 and label.isascii() for label in labels) or len(name) > 253:
        raise ValueError(f"{name!r:.80} is no host name")
    encoded = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    return _HEADER.pack(number, 0x0100, 1, 0, 0, 0) + encoded + struct.pack("!HH", _A, _IN)


def decode_answer(data: bytes, question: bytes) -> Answer:
    """Read the answer to a question that `encode_question` wrote; raises NotDns where it is none."""
    if len(data) < _HEADER.size:
        raise NotDns("shorter than a header")
    number, flags, questions, records, _, _ = _HEADER.unpack_from(data)
    if number != _HEADER.unpack_from(question)[0] or not flags & 0x8000 or flags & 0x7800 or questions != 1:
        raise NotDns("another id, or no answer to one question")
    end = len(question)
    if data[_HEADER.size : end].lower() != question[_HEADER.size :].lower():
        raise NotDns("the answer to another question")
    truncated, code = bool(flags & 0x0200), flags & 0xF
    return Answer(code, truncated, () if truncated else _addresses(data, end, records))


def _addresses(data: bytes, at: int, records: int) -> tuple[str, ...]:
    found = []
    for _ in range(min(records, _MOST_RECORDS)):
        at = _after_name(data, at)
        if at + _RECORD.size > len(data):
            raise NotDns("a record that is cut off")
        kind, family, _, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + length > len(data):
            raise NotDns("a record longer than the message")
        if (kind, family, length) == (_A, _IN, 4):
            found.append(str(ipaddress.IPv4Address(data[at : at + 4])))
        at += length
    return tuple(found)


def _after_name(data: bytes, at: int) -> int:
    """Return where a name ends. A pointer ends it: we need no names, so none is followed and none can loop."""
    while at < len(data):
        length = data[at]
        if length & 0xC0 == 0xC0:
            return at + 2
        if length & 0xC0:
            raise NotDns("a label of an unknown type")
        at += 1 + length
        if not length:
            return at
    raise NotDns("a name without end")
