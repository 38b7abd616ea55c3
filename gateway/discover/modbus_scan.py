"""Asks every address of a Modbus RTU bus for one register. Only where that was ordered: others may be disturbed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateway.probes.serial.port import Line, Port
from gateway.probes.serial.rtu import Request, hear

Parity = Literal["N", "E", "O"]

# 9600 8N1 is what most makers deliver, 19200 8E1 what the standard wants (Modbus over serial line V1.02, 2.5.1).
SETTINGS: Final[tuple[tuple[int, Parity], ...]] = (
    (9600, "N"), (19200, "E"), (4800, "N"), (19200, "N"), (9600, "E"), (38400, "N"), (115_200, "N"),
)  # fmt: skip
_HOLDING: Final = 3
_QUIET_S: Final = 1.0
_MOST_HEARD: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """A bus with its settings and the addresses that answered. An exception is an answer, too."""

    baud: int
    parity: Parity
    addresses: tuple[int, ...]


async def scan(
    path: str, last: int, *, answer_s: float = 0.25, settings: Sequence[tuple[int, Parity]] = SETTINGS
) -> Bus | None:
    """Return the bus at the first settings with which anybody answers, None for nobody; raises LineError."""
    for baud, parity in settings:
        line = Line(path=path, baud=baud, data_bits=8, parity=parity, stop_bits=1)
        async with Port(line) as port:
            addresses = await _addresses(port, last, answer_s)
        if addresses:
            return Bus(baud=baud, parity=parity, addresses=tuple(sorted(addresses)))
    return None


async def _addresses(port: Port, last: int, answer_s: float) -> set[int]:
    """Ask one after the other. A late answer counts for who sent it, as long as he had been asked."""
    found: set[int] = set()
    for address in range(1, last + 1):
        request = Request(address=address, function=_HOLDING, register=0, count=1)
        heard = bytearray(await port.quieten(_QUIET_S))
        port.send(request.frame)
        until = time.monotonic() + answer_s
        while (left_s := until - time.monotonic()) > 0 and len(heard) < _MOST_HEARD:
            heard += await port.receive(left_s)
            if hear(bytes(heard), request).answers(request):
                break
        told = hear(bytes(heard), request)
        found |= {one.address for one in told.frames if one.function & 0x7F == _HOLDING and one.address <= address}
    return found - {0}
