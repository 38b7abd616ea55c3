"""A Modbus RTU bus on a pseudo-terminal: instruments at their addresses, each with a fault on demand (faults.md G9).

Its frames and its CRC are written for themselves, bit by bit from Modbus over serial line V1.02.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from simulators.pty import PtyLine

_REQUEST: Final = 8
_BETWEEN_S: Final = 0.05
_NOISE: Final = bytes.fromhex("00ff7f80")
_GARBAGE: Final = bytes.fromhex("e0fcfee0f8c0feff1e") * 2


class Fault(enum.Enum):
    """What is wrong with one instrument."""

    NONE = enum.auto()
    DEAD = enum.auto()  # says nothing
    LATE = enum.auto()  # holds its answer back until somebody releases it
    HELD = enum.auto()  # holds its answer back and sends it before the next one on the bus, whoever is asked
    WRONG_ADDRESS = enum.auto()  # answers as somebody else
    WRONG_FUNCTION = enum.auto()
    WRONG_LENGTH = enum.auto()
    FLIPPED = enum.auto()  # one bit of the answer is another
    EXCEPTION = enum.auto()
    BUSY = enum.auto()
    NOISE = enum.auto()  # stray bytes before the answer
    GARBAGE = enum.auto()  # nothing but stray bytes: another baud
    HALF = enum.auto()  # the answer stops in the middle
    CHATTER = enum.auto()  # more bytes than anybody wants
    ECHO = enum.auto()  # the adapter hands the request back, then the answer
    ONCE_FLIPPED = enum.auto()  # the first answer is broken, the next is good


@dataclass(slots=True)
class SimInstrument:
    """Registers at an address, from register 0. `asked` counts the requests that were for it."""

    address: int
    registers: list[int]
    fault: Fault = Fault.NONE
    asked: int = 0
    held: list[bytes] = field(default_factory=list)


class SerialBus:
    """The bus: `line.path` is its port. Requests that come to it are kept as (address, function, register, count)."""

    def __init__(self, instruments: Sequence[SimInstrument]) -> None:
        self.instruments = {one.address: one for one in instruments}
        self.requests: list[tuple[int, int, int, int]] = []
        self.requested = asyncio.Event()
        self.line = PtyLine(self._heard)
        self._rest = bytearray()

    async def __aenter__(self) -> Self:
        await self.line.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.line.__aexit__(kind, error, trace)

    def release(self, address: int) -> None:
        """Send what an instrument has held back."""
        one = self.instruments[address]
        for answer in one.held:
            self.line.say(answer)
        one.held.clear()

    def _heard(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= _REQUEST:
            frame = bytes(self._rest[:_REQUEST])
            if _crc(frame) != b"\x00\x00":  # a frame with its CRC behind it comes to nothing
                del self._rest[0]
                continue
            del self._rest[:_REQUEST]
            self._asked(frame)

    def _asked(self, frame: bytes) -> None:
        address, function = frame[0], frame[1]
        register, count = int.from_bytes(frame[2:4]), int.from_bytes(frame[4:6])
        self.requests.append((address, function, register, count))
        late = [other for other in self.instruments.values() if other.held and other.fault is not Fault.LATE]
        for other in late:
            self.release(other.address)
        one = self.instruments.get(address)
        if one is not None:
            one.asked += 1
            wait_s = _BETWEEN_S if late else 0.0
            asyncio.get_running_loop().call_later(wait_s, self._answer, one, frame, register, count)
        self.requested.set()

    def _answer(self, one: SimInstrument, request: bytes, register: int, count: int) -> None:
        if register + count > len(one.registers):
            self.line.say(_closed(bytes((one.address, request[1] | 0x80, 2))))
            return
        data = b"".join(value.to_bytes(2) for value in one.registers[register : register + count])
        answer = _closed(bytes((one.address, request[1], len(data))) + data)
        match one.fault:
            case Fault.DEAD:
                return
            case Fault.LATE | Fault.HELD:
                one.held.append(answer)
                return
            case Fault.WRONG_ADDRESS:
                answer = _closed(bytes((one.address + 100, request[1], len(data))) + data)
            case Fault.WRONG_FUNCTION:
                answer = _closed(bytes((one.address, 7 - request[1], len(data))) + data)
            case Fault.WRONG_LENGTH:
                answer = _closed(bytes((one.address, request[1], len(data) + 2)) + data + b"\x00\x00")
            case Fault.FLIPPED | Fault.ONCE_FLIPPED:
                answer = answer[:3] + bytes((answer[3] ^ 0x04,)) + answer[4:]
                one.fault = Fault.FLIPPED if one.fault is Fault.FLIPPED else Fault.NONE
            case Fault.EXCEPTION:
                answer = _closed(bytes((one.address, request[1] | 0x80, 4)))
            case Fault.BUSY:
                answer = _closed(bytes((one.address, request[1] | 0x80, 6)))
            case Fault.NOISE:
                answer = _NOISE + answer
            case Fault.GARBAGE:
                answer = _GARBAGE
            case Fault.HALF:
                answer = answer[: len(answer) // 2]
            case Fault.CHATTER:
                answer = b"\x55" * 2_000
            case Fault.ECHO:
                answer = request + answer
            case Fault.NONE:
                pass
        self.line.say(answer)


def _closed(body: bytes) -> bytes:
    return body + _crc(body)


def _crc(data: bytes) -> bytes:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            low, crc = crc & 1, crc >> 1
            crc ^= 0xA001 if low else 0
    return bytes((crc & 0xFF, crc >> 8))
