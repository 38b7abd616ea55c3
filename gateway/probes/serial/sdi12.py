"""SDI-12 answers: their forms and their check. Pure. SDI-12 specification 1.4, section 4.4."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.probes.outcome import Reason
from gateway.probes.serial.line_error import LineError
from gateway.probes.serial.rtu import crc16

ADDRESS: Final = re.compile(r"[0-9A-Za-z]")
MOST_LINE: Final = 90  # a, 75 characters of values (concurrent: 4.4.8), CRC, CR LF
MOST_PARTS: Final = 10  # D0 to D9

_BEGUN: Final = re.compile(r"(?P<seconds>\d{3})(?P<values>\d{1,2})")
_VALUE: Final = re.compile(r"[+-]\d*\.?\d*")
_CRC: Final = 3


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer to M or C: ready in `seconds` or before, with so many values."""

    seconds: int
    values: int


def crc_text(text: str) -> str:
    """Return the three characters of a text's CRC-16 (4.4.12): six bits in each, so that all are printable."""
    crc = crc16(text.encode("ascii"), 0)
    return "".join(chr(0x40 | crc >> shift & 0x3F) for shift in (12, 6, 0))


def begun(body: str) -> Begun:
    """Read `tttn` or `tttnn`, without the address; raises LineError (NOT_THE_PROTOCOL)."""
    match = _BEGUN.fullmatch(body)
    if match is None:
        raise LineError(Reason.NOT_THE_PROTOCOL, f"{body!r:.40} says neither when nor how many", rung="heard")
    return Begun(int(match["seconds"]), int(match["values"]))


def values_of(line: str, *, crc: bool) -> tuple[float, ...]:
    """Read `a<values>[crc]`, address included; raises LineError (BAD_CHECKSUM, NOT_THE_PROTOCOL)."""
    if crc:
        line, sent = line[:-_CRC], line[-_CRC:]
        if crc_text(line) != sent:
            raise LineError(Reason.BAD_CHECKSUM, f"its values came with a wrong CRC: {sent!r}", rung="heard")
    body = line[1:]
    found = _VALUE.findall(body)
    try:
        numbers = tuple(float(text) for text in found)
    except ValueError:
        numbers = ()
    if "".join(found) != body or len(numbers) != len(found):
        raise LineError(Reason.NOT_THE_PROTOCOL, f"{line!r:.60} are no values with signs", rung="heard")
    return numbers
