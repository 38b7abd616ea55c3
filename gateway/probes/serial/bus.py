"""A Modbus bus: one request at a time, and every answer given to the request that it answers.

RTU numbers nothing: a late answer looks like the answer to the next request. So the bus remembers who still owes one.
After a time-out it listens on for `late_s`; what comes then is dropped. Where an instrument still owes an answer when
it is asked again, its first answer is not believed before `late_s` more have passed without another one: if another
comes, the first was the late one. The schedule runs one probe of a bus at a time: `device` is the bus.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from gateway.probes.outcome import Fact, Reason
from gateway.probes.serial.line_error import LineError, shown
from gateway.probes.serial.port import Line, Port
from gateway.probes.serial.rtu import EXCEPTIONS, Frame, Heard, Request, hear

_MOST_HEARD: Final = 600  # two of the longest frames, and noise
_BUSY: Final = (5, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The registers' bytes, and what it took to get them."""

    data: bytes
    attempts: int
    noise: int
    late: int  # answers dropped because an earlier request was theirs
    latency_ms: float


@dataclass(slots=True, kw_only=True)
class Bus:
    """One line and what is still owed on it. `late_s`: how long after its time-out an answer may still come."""

    line: Line
    late_s: float
    retries: int
    _owed: Counter[int] = field(default_factory=Counter)

    def longest_s(self, timeout_s: float) -> float:
        """Return the longest that one question can take, all its attempts included."""
        # Before each attempt the line may take until `timeout_s` to fall silent; then the answer, then the late one.
        return (self.retries + 1) * (2 * timeout_s + self.late_s)

    def owes(self, address: int) -> bool:
        """Whether an answer of this instrument to an earlier request has not been seen."""
        return self._owed[address] > 0

    async def ask(self, port: Port, request: Request, timeout_s: float) -> Answer:
        """Return the answer; raises LineError with the reason of the last attempt."""
        late, attempt = 0, 0
        while True:
            attempt += 1
            await port.quieten(timeout_s)
            owed = self._owed[request.address] if self.owes(request.address) else 0
            self._owed[request.address] += 1  # until we have seen it; also when we are stopped in the middle
            began = time.monotonic()
            port.send(request.frame)
            heard = await self._listen(port, request, timeout_s, enough=1)
            latency_ms = (time.monotonic() - began) * 1000
            if owed and heard.answers(request):
                heard = await self._listen(port, request, self.late_s, enough=owed + 1, heard=heard)
            strangers = self._cross_off(heard, request)
            answers = heard.answers(request)
            if answers:
                late += len(answers) - 1
                counts: dict[str, Fact] = {"attempts": attempt, "late": late}
                data = _registers(answers[-1], counts)
                return Answer(data=data, attempts=attempt, noise=heard.noise, late=late, latency_ms=latency_ms)
            came = await self._outwait(port, request, heard)
            late += came
            error = _failure(heard, strangers, came)
            if attempt > self.retries:
                error.facts |= {"attempts": attempt, "late": late}
                raise error

    async def _listen(
        self, port: Port, request: Request, within_s: float, *, enough: int, heard: Heard | None = None
    ) -> Heard:
        """Hear until there are `enough` answers, or one that is broken, or the time is over."""
        until, heard = time.monotonic() + within_s, heard or hear(b"", request)
        while (found := len(heard.answers(request))) < enough and not (heard.broken and not found):
            left_s = until - time.monotonic()
            chunk = await port.receive(left_s) if left_s > 0 and len(heard.raw) < _MOST_HEARD else b""
            if not chunk:
                break
            heard = hear((heard.raw + chunk)[:_MOST_HEARD], request)
        return heard

    def _cross_off(self, heard: Heard, request: Request) -> list[int]:
        """Strike what was answered off the list; return the addresses that answered and were asked nothing."""
        strangers = []
        for frame in heard.frames:
            if frame.address == request.address:
                continue
            if self._owed[frame.address]:
                self._owed[frame.address] -= 1
            else:
                strangers.append(frame.address)
        if heard.answers(request) or heard.broken:
            self._owed[request.address] = 0
        return strangers

    async def _outwait(self, port: Port, request: Request, heard: Heard) -> int:
        """Listen on for the answer that comes too late; return how many came. Ends with the first."""
        if not self.owes(request.address):
            return 0
        heard = await self._listen(port, request, self.late_s, enough=1, heard=heard)
        came = len(heard.answers(request))
        self._owed[request.address] = max(0, self._owed[request.address] - came)
        return came


def _registers(frame: Frame, counts: dict[str, Fact]) -> bytes:
    """Return the registers' bytes; raises LineError where the instrument refuses."""
    if not frame.is_exception:
        return frame.data
    code = frame.data[0]
    reason = Reason.BUSY if code in _BUSY else Reason.DEVICE_ERROR
    explanation = f"exception {code}, {EXCEPTIONS.get(code, 'not in the standard')}"
    raise LineError(reason, explanation, rung="answer", facts=counts | {"exception": code})


def _failure(heard: Heard, strangers: list[int], came_late: int) -> LineError:
    """Say why there is no answer, by what was heard instead."""
    if not heard.raw and not came_late:
        return LineError(Reason.TIMEOUT, "nothing was heard: is it powered, wired, at this address?", rung="port")
    facts: dict[str, Fact] = {"heard": shown(heard.raw), "noise": heard.noise, "echo": heard.echo}
    if heard.broken:
        why, text = Reason.BAD_CHECKSUM, "its answer came with a wrong CRC: wiring, termination, another instrument?"
    elif came_late:
        why, text = Reason.TIMEOUT, "its answer came after timeout_s: raise timeout_s"
    elif heard.cut:
        why, text = Reason.TIMEOUT, "only the beginning of its answer came"
    elif strangers:
        facts["strangers"] = [*sorted(set(strangers))]
        why, text = Reason.WRONG_DEVICE, f"address {strangers[0]} answered what was asked of another"
    elif heard.frames:
        other = heard.frames[0]
        why = Reason.NOT_THE_PROTOCOL
        text = (
            f"address {other.address} answered function {other.function}, {len(other.data)} bytes: not what was asked"
        )
    elif len(heard.raw) >= _MOST_HEARD:
        why, text = Reason.TOO_LARGE, f"more than {_MOST_HEARD} bytes and no answer among them"
    elif heard.noise:
        why, text = Reason.NOT_THE_PROTOCOL, "bytes that are no frame: baud, parity, A and B exchanged?"
    else:
        return LineError(Reason.TIMEOUT, "our own request came back, and no answer", rung="port", facts=facts)
    return LineError(why, text, rung="heard", facts=facts)
