"""One NMEA instrument, such as a tide gauge or a weather station: its sentences are waited for, and read by its map."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from gateway.clock import Clock
from gateway.probes.outcome import Fact, Outcome, Reason, State
from gateway.probes.serial.ear import Ear
from gateway.probes.serial.instrument_map import InstrumentMap
from gateway.probes.serial.line_error import LineError
from gateway.probes.serial.nmea import Sentence, number
from gateway.probes.serial.port import Line, Port
from gateway.probes.serial.steadiness import Steadiness
from gateway.probes.serial.verdict import RUNGS, assess_values
from wire.identity import SourceId

_OPENING_S: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class NmeaGauge:
    """What one talker says. `listen_s`: how long we wait for all of its sentences; `talker` "" takes any."""

    source: SourceId
    device: str
    every_s: float
    line: Line
    talker: str
    meaning: InstrumentMap
    listen_s: float
    clock: Clock
    steadiness: Steadiness
    rungs: tuple[str, ...] = field(default=RUNGS)

    @property
    def deadline_s(self) -> float:
        """The time of listening."""
        return _OPENING_S + self.listen_s

    async def run(self) -> Outcome:
        """Listen until every sentence of the map has come once; raises LineError."""
        wanted = {one.formatter: one.name for one in self.meaning.sentences}
        found: dict[str, Sentence] = {}
        strangers: set[str] = set()
        began = time.monotonic()
        async with Port(self.line) as port:
            ear = Ear(port=port, clock=self.clock, listen_s=self.listen_s)
            async for sentence, _ in ear.sentences():
                if sentence.formatter not in wanted:
                    continue
                if self.talker and sentence.talker != self.talker:
                    strangers.add(sentence.talker)
                    continue
                found[sentence.formatter] = sentence
                if len(found) == len(wanted):
                    break
        if not found:
            if strangers:
                text = f"talker {', '.join(sorted(strangers))} says it, and not {self.talker}"
                raise LineError(Reason.WRONG_DEVICE, text, rung="heard")
            raise ear.failure(", ".join(wanted))
        outcome = self._assessed(found, wanted, ear, (time.monotonic() - began) * 1000)
        missing = sorted(wanted.keys() - found.keys())
        if missing and outcome.state is State.OK:
            return Outcome(
                state=State.DEGRADED,
                rung="answer",
                reason=Reason.NOT_FOUND,
                latency_ms=outcome.latency_ms,
                figures=outcome.figures,
                facts=dict(outcome.facts) | {"explanation": f"never said: {', '.join(missing)}"},
            )
        return outcome

    def _assessed(self, found: dict[str, Sentence], wanted: dict[str, str], ear: Ear, latency_ms: float) -> Outcome:
        data: dict[str, object] = {}
        said: dict[str, Fact] = {}
        for formatter, sentence in found.items():
            name = wanted[formatter]
            said[name] = ",".join((sentence.talker + formatter, *sentence.fields))[:120]
            for at, text in enumerate(sentence.fields, 1):
                value = number(text)
                data |= {f"{name}_{at}_error": 1} if value is None else {f"{name}_{at}": value}
        return assess_values(
            self.meaning,
            self.steadiness,
            data,
            monotonic_ms=self.clock.now().monotonic_ms,
            latency_ms=latency_ms,
            facts={"sentences": said, "bad_sums": ear.bad_sums},
        )
