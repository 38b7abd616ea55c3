"""How long to wait before trying again: doubling, with jitter, so that a province does not reconnect at once."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Delays between `first_s` and `longest_s`, each drawn from the upper half of a doubling range."""

    first_s: float = 1.0
    longest_s: float = 300.0
    chance: random.Random = field(default_factory=random.SystemRandom)
    failures: int = 0

    def next_s(self) -> float:
        """Return the next delay, seconds; each call without `succeed` between doubles the range."""
        ceiling = min(self.longest_s, self.first_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return ceiling * (0.5 + 0.5 * self.chance.random())

    def relent(self, most_s: float) -> None:
        """It worked, though not for long: from now on wait no longer than about `most_s`."""
        self.failures = min(self.failures, max(0, int(math.log2(most_s / self.first_s))))

    def succeed(self) -> None:
        """Start again from `first_s`."""
        self.failures = 0
