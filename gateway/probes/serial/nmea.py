"""NMEA 0183 sentences: `$<talker><formatter>,<fields>*<checksum>`. Pure.

Form and checksum are as public descriptions of the standard give them (E. S. Raymond, "NMEA Revealed"); the standard
itself is sold and was not read.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from functools import reduce
from typing import Final

_MOST: Final = 82 + 40  # the standard's, and some for those makers who do not keep it
_SENTENCE: Final = re.compile(r"[$!](?P<body>[A-Z][A-Z0-9]{3,9}(?:,[^*$!\r\n]*)?)\*(?P<sum>[0-9A-Fa-f]{2})")
_CENTURY: Final = 2000


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence. `talker` is "" for a maker's own (`$P…`), whose `formatter` is then its whole address."""

    talker: str
    formatter: str
    fields: tuple[str, ...]

    def field(self, number: int) -> str:
        """Return a field, counted from 1; "" where there is none."""
        return self.fields[number - 1] if number <= len(self.fields) else ""


class BadChecksumError(ValueError):
    """It has the form of a sentence, and another checksum."""


def checksum(body: str) -> int:
    """Return the exclusive or of what stands between `$` and `*`."""
    return reduce(lambda total, byte: total ^ byte, body.encode("ascii", "replace"), 0)


def parse(line: str) -> Sentence | None:
    """Read a line; None where it is no sentence. A sentence without checksum is none. Raises BadChecksumError."""
    match = _SENTENCE.search(line) if len(line) <= _MOST else None
    if match is None:
        return None
    if checksum(match["body"]) != int(match["sum"], 16):
        raise BadChecksumError(line[:_MOST])
    address, *fields = match["body"].split(",")
    if address.startswith("P"):
        return Sentence("", address, tuple(fields))
    return Sentence(address[:-3], address[-3:], tuple(fields))


def time_of(rmc: Sentence) -> datetime.datetime | None:
    """Return the time of an RMC, UTC; None where it has none yet, or one that cannot be."""
    clock, date = rmc.field(1), rmc.field(9)
    match = re.fullmatch(r"(\d\d)(\d\d)(\d\d)(?:\.(\d{1,6}))?", clock)
    if match is None or not re.fullmatch(r"\d{6}", date):
        return None
    hour, minute, second = (int(part) for part in match.groups()[:3])
    fraction = int((match[4] or "").ljust(6, "0"))
    leap, second = second == 60, min(second, 59)
    try:
        at = datetime.datetime(
            _CENTURY + int(date[4:]), int(date[2:4]), int(date[:2]), hour, minute, second, fraction, tzinfo=datetime.UTC
        )
    except ValueError:
        return None
    return at + datetime.timedelta(seconds=1) if leap else at


def number(text: str) -> float | None:
    """Return a field's number; None where it is empty or none."""
    return float(text) if re.fullmatch(r"[+-]?\d{1,12}(?:\.\d{0,9})?|[+-]?\.\d{1,9}", text) else None
