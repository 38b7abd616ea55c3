"""The AT dialogue: from bytes to one command's reply. Pure. 3GPP TS 27.007 (commands), ITU-T V.250 (result codes).

Between question and answer a modem says other things: the echo, news of its own (URC), half lines, noise. They are
told apart here, and of news only the name is kept: a text message is nobody's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

MOST_BYTES: Final = 8_192
_LONGEST_LINE: Final = 512
_MOST_KEPT: Final = 16
_CODE: Final = re.compile(r"\+CM[ES] ERROR: ?(.{0,60})")
_NEWS: Final = re.compile(r"([+^*%#][A-Z0-9]{1,16})")
_NEWS_WORDS: Final = frozenset({"RING", "RDY", "READY", "SMS READY", "SMS DONE", "PB DONE", "CALL READY", "NO CARRIER"})
_WORD: Final = re.compile(r"[A-Za-z0-9 _./-]{2,40}")
_REFUSALS: Final = frozenset({"ERROR", "COMMAND NOT SUPPORT"})


class Flood(Exception):
    """More bytes than any reply has."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`lines` are the answer; `error` is "" after OK, "ERROR", or what stood behind +CME ERROR."""

    lines: tuple[str, ...] = ()
    error: str = ""
    news: tuple[str, ...] = ()
    noise: int = 0

    @property
    def ok(self) -> bool:
        """Whether the modem did it."""
        return not self.error


@dataclass(slots=True)
class Exchange:
    """One command on its way. `prefix` is what its answer begins with, "" for one without a name (AT+CGMM)."""

    command: str
    prefix: str = ""
    heard: int = 0
    noise: int = 0
    _rest: bytes = b""
    _lines: list[str] = field(default_factory=list)
    _news: list[str] = field(default_factory=list)

    def feed(self, data: bytes) -> Reply | None:
        """Take what came; returns the reply once its result code is there. Raises Flood."""
        self.heard += len(data)
        if self.heard > MOST_BYTES:
            raise Flood(f"{self.heard} bytes in answer to {self.command}")
        *lines, self._rest = re.split(rb"[\r\n]+", self._rest + data)
        for raw in lines:
            reply = self._take(raw)
            if reply is not None:
                return reply
        return None

    def _take(self, raw: bytes) -> Reply | None:
        line = raw.decode("ascii", "replace").strip(" \0")
        if not line or line.upper() == self.command.upper():
            return None
        if len(line) > _LONGEST_LINE or not line.isprintable() or "\ufffd" in line:
            self.noise += 1
        elif line == "OK":
            return self._done("")
        elif line in _REFUSALS:
            return self._done("ERROR")
        elif code := _CODE.fullmatch(line):
            return self._done(code[1] or "ERROR")
        elif self.prefix and line.startswith(self.prefix):
            self._keep(self._lines, line)
        elif news := _NEWS.match(line):
            self._keep(self._news, news[1])
        elif line.upper() in _NEWS_WORDS:
            self._keep(self._news, line)
        elif not self.prefix:
            self._keep(self._lines, line)
        else:
            self.noise += 1
        return None

    def _done(self, error: str) -> Reply:
        return Reply(tuple(self._lines), error, tuple(self._news), self.noise)

    def _keep(self, kept: list[str], line: str) -> None:
        if len(kept) < _MOST_KEPT:
            kept.append(line)


def word_of(reply: Reply) -> str:
    """Return a maker's or a model's name, "" where what was answered is none."""
    words = [line for line in reply.lines if _WORD.fullmatch(line)]
    return words[-1] if words else ""


def fields_of(line: str) -> list[str]:
    """Return a line's values without their quotes: `+COPS: 0,2,"45204",7` gives 0, 2, 45204, 7."""
    _, _, rest = line.partition(":")
    return [value.strip().strip('"') for value in re.findall(r'(?:^|,)((?:"[^"]*"|[^,])*)', rest)]


def number(text: str) -> int | None:
    """Return a value as a whole number; None for "-", nothing, and -32768, with which modems say unknown."""
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        return None
    value = int(text)
    return None if value == -32_768 else value
