"""One Modbus instrument: its blocks are read one after the other, kept as they came, and read by its map."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.clock import Clock
from gateway.probes.outcome import Fact, Outcome
from gateway.probes.serial.bus import Bus
from gateway.probes.serial.instrument_map import InstrumentMap, fields_of_block
from gateway.probes.serial.port import Port
from gateway.probes.serial.rtu import Request
from gateway.probes.serial.steadiness import Steadiness
from gateway.probes.serial.verdict import RUNGS, assess_values
from wire.identity import SourceId

_OPENING_S = 0.5


@dataclass(frozen=True, kw_only=True)
class ModbusInstrument:
    """An instrument at an address of a bus. `timeout_s` is for one answer."""

    source: SourceId
    device: str
    every_s: float
    bus: Bus
    address: int
    meaning: InstrumentMap
    timeout_s: float
    clock: Clock
    steadiness: Steadiness
    rungs: tuple[str, ...] = field(default=RUNGS)

    @property
    def deadline_s(self) -> float:
        """All blocks with all their attempts: what is dead ends at its first block, so this is more than it takes."""
        return _OPENING_S + len(self.meaning.blocks) * self.bus.longest_s(self.timeout_s)

    async def run(self) -> Outcome:
        """Read every block; raises LineError at the first that does not come."""
        data: dict[str, object] = {}
        raw: dict[str, Fact] = {}
        attempts = noise = late = 0
        latency_ms = 0.0
        async with Port(self.bus.line) as port:
            for block in self.meaning.blocks:
                request = Request(
                    address=self.address, function=block.function, register=block.register, count=block.count
                )
                answer = await self.bus.ask(port, request, self.timeout_s)
                data |= fields_of_block(block, answer.data)
                raw[block.name] = answer.data.hex()
                attempts, noise, late = attempts + answer.attempts, noise + answer.noise, late + answer.late
                latency_ms += answer.latency_ms
        counts: dict[str, Fact] = {"attempts": attempts, "noise": noise, "late": late}
        return assess_values(
            self.meaning,
            self.steadiness,
            data,
            monotonic_ms=self.clock.now().monotonic_ms,
            latency_ms=latency_ms,
            facts={"blocks": raw, **counts},
        )
