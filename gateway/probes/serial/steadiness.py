"""Stuck values: a probe in water always shows a little noise. Pure but for what it remembers; a restart forgets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.probes.serial.instrument_map import Steady
from wire.reading import Quality, Quantity


@dataclass(slots=True)
class _Run:
    value: float
    since_ms: int
    times: int = 1


@dataclass(slots=True)
class Steadiness:
    """Remembers one instrument's last values. `rule.times` is reached only over `rule.s` seconds: both must hold."""

    rule: Steady
    _runs: dict[str, _Run] = field(default_factory=dict)

    def stuck(self, figures: Sequence[Quantity], monotonic_ms: int) -> list[str]:
        """Take a sample into account; return the names that have stood still for too long.

        Only good values count: at the end of its range a probe may well show the same number for hours.
        """
        if self.rule.times < 2:
            return []
        found = []
        for figure in figures:
            if self.rule.names and figure.name not in self.rule.names:
                continue
            if figure.value is None or figure.quality is not Quality.GOOD:
                self._runs.pop(figure.name, None)
                continue
            run = self._runs.get(figure.name)
            if run is None or run.value != figure.value:
                self._runs[figure.name] = _Run(figure.value, monotonic_ms)
                continue
            run.times += 1
            if run.times >= self.rule.times and monotonic_ms - run.since_ms >= self.rule.s * 1000:
                found.append(figure.name)
        return found
