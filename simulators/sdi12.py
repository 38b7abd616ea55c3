"""An SDI-12 line behind an ASCII adapter, on a pty: sensors with faults on demand. SDI-12 1.4, section 4.4."""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from simulators.pty import PtyLine

_COMMAND = re.compile(rb"([0-9A-Za-z])(I|[MC]C?[1-9]?|D[0-9])!")


class Fault(enum.Enum):
    """What is wrong with one sensor."""

    NONE = enum.auto()
    DEAD = enum.auto()
    WRONG_ADDRESS = enum.auto()
    FLIPPED = enum.auto()  # one digit of a value is another, the CRC is that of the true one
    NO_REQUEST = enum.auto()  # it measures, and does not say that it is ready
    ABORTED = enum.auto()  # has no values when it is asked for them
    SLOW = enum.auto()  # wants ten minutes
    HALF = enum.auto()
    GARBAGE = enum.auto()
    ECHO = enum.auto()  # the adapter hands the command back before the answer
    STALE_LINE = enum.auto()  # what an earlier command has left behind comes first


@dataclass(slots=True)
class SimSensor:
    """A sensor with its values, in as many parts as D commands it takes. `seconds`: how long it says it measures."""

    address: str
    parts: Sequence[str]
    fault: Fault = Fault.NONE
    seconds: int = 0
    identity: str = "14XOM     SIM   001"
    with_crc: bool = False
    commands: list[str] = field(default_factory=list)


class Sdi12Line:
    """The adapter and what hangs on it: `line.path` is its port."""

    def __init__(self, sensors: Sequence[SimSensor]) -> None:
        self.sensors = {one.address: one for one in sensors}
        self.line = PtyLine(self._heard)
        self._rest = b""

    async def __aenter__(self) -> Self:
        await self.line.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.line.__aexit__(kind, error, trace)

    def _heard(self, data: bytes) -> None:
        self._rest += data
        while match := _COMMAND.search(self._rest):
            self._rest = self._rest[match.end() :]
            one = self.sensors.get(match[1].decode())
            if one is not None:
                self._answer(one, match[2].decode())

    def _answer(self, one: SimSensor, command: str) -> None:
        one.commands.append(command)
        if one.fault is Fault.DEAD:
            return
        if one.fault is Fault.GARBAGE:
            self.line.say(b"\x80\x91\r\n\xff\xfe\r\n")
            return
        if one.fault is Fault.ECHO:
            self.line.say(f"{one.address}{command}!".encode())
        address = "z" if one.fault is Fault.WRONG_ADDRESS else one.address
        if command == "I":
            self._say(one, address + one.identity)
        elif command[0] in "MC":
            self._begin(one, address, command)
        else:
            self._say(one, self._values(one, address, int(command[1])))

    def _begin(self, one: SimSensor, address: str, command: str) -> None:
        one.with_crc = command[1:2] == "C"
        count = sum(len(re.findall(r"[+-]", part)) for part in one.parts)
        seconds = 600 if one.fault is Fault.SLOW else one.seconds
        self._say(one, f"{address}{seconds:03d}{count:02d}" if command[0] == "C" else f"{address}{seconds:03d}{count}")
        if command[0] == "M" and 0 < seconds < 600 and one.fault is not Fault.NO_REQUEST:
            # Sooner than it has said, as a sensor may; a line of its own, after the answer.
            asyncio.get_running_loop().call_later(0.02, self._say, one, address)

    def _values(self, one: SimSensor, address: str, part: int) -> str:
        body = one.parts[part] if part < len(one.parts) and one.fault is not Fault.ABORTED else ""
        text = address + body
        checked = text + (_crc(text) if one.with_crc else "")
        if one.fault is Fault.FLIPPED and body:
            flipped = str((int(body[1]) + 1) % 10)
            return checked[:2] + flipped + checked[3:]
        return checked

    def _say(self, one: SimSensor, text: str) -> None:
        if one.fault is Fault.HALF:
            self.line.say(text[: max(1, len(text) // 2)].encode())
            return
        if one.fault is Fault.STALE_LINE:
            self.line.say(b"\r\n")
        self.line.say(text.encode() + b"\r\n")


def _crc(text: str) -> str:
    crc = 0
    for byte in text.encode():
        crc ^= byte
        for _ in range(8):
            low, crc = crc & 1, crc >> 1
            crc ^= 0xA001 if low else 0
    return chr(0x40 + (crc >> 12)) + chr(0x40 + (crc >> 6 & 63)) + chr(0x40 + (crc & 63))
