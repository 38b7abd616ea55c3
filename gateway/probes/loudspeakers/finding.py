"""What one adapter has found out about a cluster, before the cluster's verdict is made of all of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.clock import Instant
from gateway.probes.loudspeakers.memory import Memory
from gateway.probes.outcome import Fact, Reason, State
from wire.reading import Quantity


@dataclass(frozen=True, slots=True)
class Check:
    """One of `reach`, `link`, `play`, `sound`: its state and, where not ok, why."""

    state: State
    reason: Reason = Reason.NONE
    said: str = ""


FINE = Check(State.OK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`signs` are what shows now whether it plays, by kind (playing, current, level).

    `played` are spans of the device's own log, ms UTC; None where it keeps none.
    """

    checks: Mapping[str, Check] = field(default_factory=dict)
    figures: tuple[Quantity, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    signs: Mapping[str, bool] = field(default_factory=dict)
    played: tuple[tuple[int, int], ...] | None = None


class Adapter(Protocol):
    """One way to a cluster."""

    @property
    def name(self) -> str:
        """Its word in the facts, e.g. `sip`."""
        ...

    @property
    def gives(self) -> frozenset[str]:
        """The checks that it can speak about."""
        ...

    @property
    def is_asked_directly(self) -> bool:
        """Whether its silence is the cluster's: a platform's or a broker's says nothing about it."""
        ...

    @property
    def keeps_log(self) -> bool:
        """Whether it can say what was played."""
        ...

    @property
    def signs(self) -> frozenset[str]:
        """The signs of playing that it can give."""
        ...

    async def ask(self, now: Instant, memory: Memory) -> Finding:
        """Find out; raises ProbeError, OSError, TimeoutError."""
        ...
