"""Modbus RTU on the wire: requests, and what the bytes of a line turn out to be. Pure.

Written here and not taken from pymodbus, whose client (3.16) drops a frame with a wrong CRC without a word, so that it
looks like silence, raises one and the same exception for a time-out, a foreign address and a lost port, and believes a
late answer to the previous request. Modbus application protocol V1.1b3; Modbus over serial line V1.02.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

READS: Final = (3, 4)  # holding and input registers
MOST_REGISTERS: Final = 125  # V1.1b3, 6.3
_EXCEPTION: Final = 0x80
_LEAST: Final = 5

EXCEPTIONS: Final = {  # V1.1b3, section 7
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "server device failure",
    5: "acknowledge, still working", 6: "server device busy", 8: "memory parity error", 10: "gateway path unavailable",
    11: "gateway target did not respond",
}  # fmt: skip


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ 0xA001 if byte & 1 else byte >> 1
        table.append(byte)
    return tuple(table)


_TABLE: Final = _crc_table()


def crc16(data: bytes, crc: int = 0xFFFF) -> int:
    """Return the CRC of serial line V1.02, 6.2.2; it is sent low byte first."""
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Read `count` registers from `register` (as on the wire, from 0) of the instrument at `address`."""

    address: int
    function: int
    register: int
    count: int

    @property
    def frame(self) -> bytes:
        """The request as it is sent, 8 bytes."""
        head = bytes((self.address, self.function)) + self.register.to_bytes(2) + self.count.to_bytes(2)
        return head + crc16(head).to_bytes(2, "little")


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame whose CRC is right. `data` are the registers' bytes, or the one byte of an exception."""

    address: int
    function: int
    data: bytes

    @property
    def is_exception(self) -> bool:
        """Whether the instrument refuses."""
        return bool(self.function & _EXCEPTION)

    def answers(self, request: Request) -> bool:
        """Whether this can be the answer to a request: its address, its function, its length."""
        if self.address != request.address or self.function & ~_EXCEPTION != request.function:
            return False
        return self.is_exception or len(self.data) == 2 * request.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the bytes since a request are. `noise` counts bytes that belong to no frame."""

    frames: tuple[Frame, ...] = ()
    noise: int = 0
    echo: bool = False
    broken: bool = False  # the wanted answer's head and length, and a wrong CRC
    cut: bool = False  # the wanted answer's head, and not enough behind it
    raw: bytes = field(default=b"", repr=False)

    def answers(self, request: Request) -> list[Frame]:
        """Return the frames that can be answers to a request, in the order in which they came."""
        return [frame for frame in self.frames if frame.answers(request)]


def hear(raw: bytes, request: Request) -> Heard:
    """Sort the bytes that came since a request was sent.

    RTU ends a frame by silence alone, which neither a USB adapter nor Linux keep exactly: here a frame is where a head,
    a length and a CRC agree. An adapter of two wires may hand us our own request first.
    """
    echo = raw.startswith(request.frame)
    at, noise = len(request.frame) if echo else 0, 0
    frames: list[Frame] = []
    first_skipped: int | None = None
    while at < len(raw):
        size, frame = _frame_at(raw, at)
        if frame is None:
            first_skipped = at if first_skipped is None else first_skipped
            noise, at = noise + 1, at + 1
        else:
            frames.append(frame)
            at += size
    rest = raw[first_skipped:] if first_skipped is not None else b""
    broken, cut = _damage(rest, request)
    return Heard(frames=tuple(frames), noise=noise, echo=echo, broken=broken, cut=cut, raw=raw)


def _damage(rest: bytes, request: Request) -> tuple[bool, bool]:
    """Return whether the wanted answer is there with a wrong CRC, and whether only its beginning is."""
    head = bytes((request.address, request.function, 2 * request.count))
    at = rest.find(head)
    if at >= 0:
        complete = len(rest) - at >= _LEAST + 2 * request.count
        return complete, not complete
    refusal = rest.find(bytes((request.address, request.function | _EXCEPTION)))
    if refusal >= 0 and len(rest) - refusal >= _LEAST:
        return True, False
    return False, bool(rest) and head.startswith(rest)


def _frame_at(raw: bytes, at: int) -> tuple[int, Frame | None]:
    """Return the size of the frame that begins here, and the frame; None where none does."""
    if len(raw) - at < _LEAST:
        return 0, None
    function = raw[at + 1]
    if function in READS:
        size = _LEAST + raw[at + 2]
        begin = at + 3
    elif function & _EXCEPTION and function & ~_EXCEPTION in READS:
        size, begin = _LEAST, at + 2
    else:
        return 0, None
    if at + size > len(raw):
        return 0, None
    body, checksum = raw[at : at + size - 2], raw[at + size - 2 : at + size]
    if crc16(body).to_bytes(2, "little") != checksum:
        return 0, None
    return size, Frame(raw[at], function, raw[begin : at + size - 2])
