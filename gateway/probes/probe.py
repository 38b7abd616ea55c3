"""What every probe is: something that is asked at its turn, answers in time, and never keeps the others waiting."""

from __future__ import annotations

from typing import Protocol

from gateway.probes.outcome import Outcome
from wire.identity import SourceId


class Probe(Protocol):
    """One thing that is looked at in a rhythm. An adapter is a frozen dataclass with these fields and `run`.

    `device` names what it talks to (an address, a bus): probes of one device run one after the other, in their order.
    `rungs` is its ladder, from the first to the last. `every_s` is its rhythm, `deadline_s` the longest that one run
    may take, all its retries included.
    """

    @property
    def source(self) -> SourceId:
        """The source of its readings, e.g. `camera:cong-ubnd`."""
        ...

    @property
    def device(self) -> str:
        """What it talks to."""
        ...

    @property
    def rungs(self) -> tuple[str, ...]:
        """Its ladder of evidence."""
        ...

    @property
    def every_s(self) -> float:
        """Seconds from one slot to the next."""
        ...

    @property
    def deadline_s(self) -> float:
        """Seconds that a run may take."""
        ...

    async def run(self) -> Outcome:
        """Find out; raises ProbeError, OSError or TimeoutError where it could not, which `Schedule` sorts."""
        ...
