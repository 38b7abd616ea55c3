"""A GNSS receiver as a witness of time: has it a fix, and how far is the gateway's clock from it. Report only.

What sets the clock is chrony. The offset is that of the sentence's arrival: a receiver says what time it is some tenths
of a second after it was so (without its pulse nobody knows how many), so an offset below a second means nothing.
The position is not kept: the gateway's place is known to those who need it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gateway.clock import Clock
from gateway.probes.outcome import Fact, Outcome, Reason, State
from gateway.probes.serial.ear import Ear
from gateway.probes.serial.nmea import Sentence, number, time_of
from gateway.probes.serial.port import Line, Port
from wire.identity import SourceId
from wire.reading import Quantity

_OPENING_S: Final = 2.0
_NEEDED: Final = ("RMC", "GGA")


@dataclass(frozen=True, kw_only=True)
class GnssReceiver:
    """A receiver that says RMC and GGA by itself. `skew_s`: the offset from which the clock is off."""

    source: SourceId
    device: str
    every_s: float
    line: Line
    listen_s: float
    skew_s: float
    clock: Clock
    rungs: tuple[str, ...] = field(default=("port", "heard", "answer", "fix", "time"))

    @property
    def deadline_s(self) -> float:
        """The time of listening."""
        return _OPENING_S + self.listen_s

    async def run(self) -> Outcome:
        """Listen until both sentences have come; raises LineError when neither does."""
        found: dict[str, Sentence] = {}
        offset_s: float | None = None
        async with Port(self.line) as port:
            ear = Ear(port=port, clock=self.clock, listen_s=self.listen_s)
            async for sentence, came_at_ms in ear.sentences():
                if sentence.formatter not in _NEEDED:
                    continue
                found[sentence.formatter] = sentence
                if sentence.formatter == "RMC":
                    at = time_of(sentence)
                    offset_s = None if at is None else came_at_ms / 1000 - at.timestamp()
                if len(found) == len(_NEEDED):
                    break
        if "RMC" not in found:
            raise ear.failure("RMC")
        return self._judged(found["RMC"], found.get("GGA"), offset_s, ear.bad_sums)

    def _judged(self, rmc: Sentence, gga: Sentence | None, offset_s: float | None, bad_sums: int) -> Outcome:
        satellites = number(gga.field(7)) if gga else None
        dilution = number(gga.field(8)) if gga else None
        facts: dict[str, Fact] = {"talker": rmc.talker, "status": rmc.field(2), "bad_sums": bad_sums}
        figures = []
        if satellites is not None:
            figures.append(Quantity("satellites", "1", satellites))
        if dilution is not None:
            figures.append(Quantity("dilution_of_precision", "1", dilution))
        # RMC field 2: A is a fix, V a warning; GGA field 6: 0 is none.
        if rmc.field(2) != "A" or (gga is not None and gga.field(6) in ("", "0")):
            return Outcome(state=State.FAIL, rung="answer", reason=Reason.NO_FIX, figures=tuple(figures), facts=facts)
        if offset_s is None:
            facts["explanation"] = "a fix, and no time that can be read"
            return Outcome(
                state=State.FAIL, rung="fix", reason=Reason.NOT_THE_PROTOCOL, figures=tuple(figures), facts=facts
            )
        figures.append(Quantity("gnss_clock_offset", "ms", round(offset_s * 1000, 1)))
        if abs(offset_s) > self.skew_s:
            facts["explanation"] = f"the gateway's clock is {offset_s:+.1f} s from the receiver's time"
            return Outcome(
                state=State.DEGRADED, rung="fix", reason=Reason.CLOCK_SKEW, figures=tuple(figures), facts=facts
            )
        return Outcome(state=State.OK, rung="time", figures=tuple(figures), facts=facts)
