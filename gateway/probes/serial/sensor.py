"""One SDI-12 sensor: who it is, its measurements with their check, and its values by its map."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from gateway.clock import Clock
from gateway.probes.outcome import Fact, Outcome, Reason
from gateway.probes.serial.dialogue import Dialogue
from gateway.probes.serial.instrument_map import InstrumentMap, Measurement
from gateway.probes.serial.line_error import LineError
from gateway.probes.serial.port import Line, Port
from gateway.probes.serial.sdi12 import MOST_PARTS, begun, values_of
from gateway.probes.serial.steadiness import Steadiness
from gateway.probes.serial.verdict import RUNGS, assess_values
from wire.identity import SourceId

_OPENING_S: Final = 1.0
_BEGIN: Final = (4, 5, 6)  # the address and tttn, or tttnn


@dataclass(frozen=True, kw_only=True)
class Sdi12Sensor:
    """A sensor behind an adapter. `measure_s`: the longest measurement that the line is kept busy for."""

    source: SourceId
    device: str
    every_s: float
    line: Line
    address: str
    meaning: InstrumentMap
    timeout_s: float
    late_s: float
    retries: int
    measure_s: float
    clock: Clock
    steadiness: Steadiness
    rungs: tuple[str, ...] = field(default=RUNGS)

    @property
    def deadline_s(self) -> float:
        """The identity, and each measurement with its wait and its parts, each asked as often as allowed."""
        one_s = self.measure_s + 2 * self.timeout_s * (2 + MOST_PARTS) + self.late_s
        return _OPENING_S + (self.retries + 1) * (2 * self.timeout_s + len(self.meaning.measurements) * one_s)

    async def run(self) -> Outcome:
        """Ask for all that the map wants; raises LineError with the reason of the last attempt."""
        async with Port(self.line) as port:
            attempt = 0
            while True:
                attempt += 1
                try:
                    return await self._measured(port, attempt)
                except LineError as error:
                    if attempt > self.retries or error.reason in (Reason.SLOW, Reason.DEVICE_ERROR):
                        error.facts |= {"attempts": attempt}
                        raise
                    await _outwait(port, self.late_s)

    async def _measured(self, port: Port, attempt: int) -> Outcome:
        dialogue = Dialogue(port=port, address=self.address, timeout_s=self.timeout_s)
        began = time.monotonic()
        # aI!: address, two digits of version, maker (8), model (6), version (3), then what it likes (4.4.2).
        identity = await dialogue.ask("I", lambda line: len(line) >= 3 and line[1:3].isdigit())
        latency_ms = (time.monotonic() - began) * 1000
        data: dict[str, object] = {}
        raw: dict[str, Fact] = {}
        for measurement in self.meaning.measurements:
            parts, values = await self._values(dialogue, measurement)
            raw[measurement.name] = list(parts)
            data |= {f"{measurement.name}_{at}": value for at, value in enumerate(values, 1)}
        return assess_values(
            self.meaning,
            self.steadiness,
            data,
            monotonic_ms=self.clock.now().monotonic_ms,
            latency_ms=latency_ms,
            facts={"identity": identity[1:], "lines": raw, "attempts": attempt},
        )

    async def _values(self, dialogue: Dialogue, wanted: Measurement) -> tuple[list[str], list[float]]:
        letter, number = wanted.command[0], wanted.command[1:]
        command = f"{letter}{'C' if wanted.crc else ''}{number}"
        said = begun((await dialogue.ask(command, lambda line: len(line) in _BEGIN and line[1:].isdigit()))[1:])
        if said.seconds > self.measure_s:
            raise LineError(
                Reason.SLOW, f"it wants {said.seconds} s, measure_s allows {self.measure_s:.0f}", rung="answer"
            )
        if said.seconds:
            await self._wait(dialogue, letter, said.seconds)
        parts: list[str] = []
        values: list[float] = []
        while len(values) < said.values and len(parts) < MOST_PARTS:
            line = await dialogue.ask(f"D{len(parts)}", lambda _: True)
            found = values_of(line, crc=wanted.crc)
            if not found:
                break
            parts.append(line)
            values += found
        if len(values) != said.values or not values:
            raise LineError(
                Reason.DEVICE_ERROR, f"{len(values)} values where {said.values} were promised", rung="answer"
            )
        return parts, values

    async def _wait(self, dialogue: Dialogue, letter: str, seconds: int) -> None:
        """Wait until it is ready: with M it says so itself, by its address alone (4.4.6), with C nobody does."""
        if letter == "C":
            await _outwait(dialogue.port, seconds)
            return
        try:
            await dialogue.line(lambda line: line == self.address, within_s=seconds + self.timeout_s)
        except LineError as error:
            if error.reason is not Reason.TIMEOUT:
                raise
            # 4.4.6: without a service request the data may be asked for once the time is over.


async def _outwait(port: Port, seconds: float) -> None:
    """Let a time pass and drop what is said in it."""
    until = time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        await port.receive(left_s)
