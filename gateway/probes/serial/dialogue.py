"""Questions and answers in lines, through an SDI-12 adapter that takes ASCII and hands the sensor's lines back.

A line that is not for us is passed over, and told of when nothing better comes: another address, our own echo, the
adapter's chatter. What an earlier command left behind is read away before the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.probes.outcome import Reason
from gateway.probes.serial.line_error import LineError, shown
from gateway.probes.serial.port import Port
from gateway.probes.serial.sdi12 import MOST_LINE

_MOST_HEARD = 1_024


@dataclass(slots=True, kw_only=True)
class Dialogue:
    """One sensor at an open port."""

    port: Port
    address: str
    timeout_s: float
    _rest: bytearray = field(default_factory=bytearray)

    async def ask(self, command: str, fits: Callable[[str], bool], *, within_s: float | None = None) -> str:
        """Send `<address><command>!` and return the first line of this sensor that `fits`; raises LineError."""
        await self.port.quieten(self.timeout_s)
        self._rest.clear()
        self.port.send(f"{self.address}{command}!".encode("ascii"))
        return await self.line(fits, within_s=within_s, sent=f"{self.address}{command}!")

    async def line(self, fits: Callable[[str], bool], *, within_s: float | None = None, sent: str = "") -> str:
        """Return the next line of this sensor that `fits`, without its end; raises LineError."""
        until = time.monotonic() + (self.timeout_s if within_s is None else within_s)
        heard, strangers, others = bytearray(), list[str](), list[str]()
        while True:
            while (end := self._rest.find(b"\n")) >= 0:
                line = self._rest[:end].decode("ascii", "replace").rstrip("\r").removeprefix(sent)
                del self._rest[: end + 1]
                if not line or "!" in line or len(line) > MOST_LINE:
                    continue
                if not line.startswith(self.address):
                    strangers.append(line)
                elif fits(line):
                    return line
                else:
                    others.append(line)
            left_s = until - time.monotonic()
            chunk = await self.port.receive(left_s) if left_s > 0 and len(heard) < _MOST_HEARD else b""
            if not chunk:
                raise _failure(bytes(heard), strangers, others)
            heard += chunk
            self._rest += chunk


def _failure(heard: bytes, strangers: list[str], others: list[str]) -> LineError:
    facts = {"heard": shown(heard)}
    if not heard:
        return LineError(Reason.TIMEOUT, "nothing was heard: is it powered, wired, at this address?", rung="port")
    if len(heard) >= _MOST_HEARD:
        return LineError(Reason.TOO_LARGE, f"more than {_MOST_HEARD} bytes, no answer among them", rung="heard")
    if others:
        return LineError(Reason.NOT_THE_PROTOCOL, f"it said {others[0]!r:.60}", rung="heard", facts=facts)
    if strangers and strangers[0][0].isalnum():
        return LineError(Reason.WRONG_DEVICE, f"another sensor said {strangers[0]!r:.60}", rung="heard", facts=facts)
    if b"\n" not in heard:
        return LineError(Reason.TIMEOUT, "only the beginning of a line came", rung="heard", facts=facts)
    return LineError(Reason.NOT_THE_PROTOCOL, "lines that are no sensor's", rung="heard", facts=facts)
