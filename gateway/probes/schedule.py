"""Runs probes in their rhythm: spread over it, a few at a time, one at a time for each device, each with a deadline.

Each slot yields exactly one outcome, so that what was due and what came can be told apart: a probe whose turn does not
come within its slot says `unknown`, and the next slot starts on time.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.clock import Clock, Instant
from gateway.probes.errors import ProbeError, sorted_os_error
from gateway.probes.outcome import OURS, Outcome, Reason, State, reading_of, unknown
from gateway.probes.probe import Probe
from wire.identity import SourceId
from wire.reading import Reading

log = structlog.get_logger(__name__)

CONCURRENCY: Final = 32

Keep = Callable[[list[Reading]], Awaitable[None]]


@dataclass(slots=True)
class Tally:
    """How one probe did since the start, for `xom gateway status`."""

    outcome: Outcome | None = None
    at_ms: int = 0
    runs: int = 0
    overruns: int = 0
    worst_lateness_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Schedule:
    """The gateway's probes. `keep` takes each run's reading; it may wait, e.g. for a card that is full."""

    probes: Sequence[Probe]
    clock: Clock
    keep: Keep
    concurrency: int = CONCURRENCY
    tallies: dict[SourceId, Tally] = field(default_factory=dict)
    _running: asyncio.Semaphore = field(init=False)
    _devices: dict[str, asyncio.Lock] = field(default_factory=dict)
    _awake: int = 0

    def __post_init__(self) -> None:
        self._running = asyncio.Semaphore(self.concurrency)
        self.tallies = {probe.source: Tally() for probe in self.probes}

    @property
    def intervals_s(self) -> dict[SourceId, float]:
        """How often each source owes a reading."""
        return {probe.source: probe.every_s for probe in self.probes}

    @property
    def busy(self) -> bool:
        """Whether a probe is at its turn, waits for it, or has its outcome on the way to the card."""
        return self._awake > 0

    async def run(self) -> None:
        """Run all of them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for probe in self.probes:
                tasks.create_task(self._repeat(probe), name=str(probe.source))

    async def _repeat(self, probe: Probe) -> None:
        began, slot = self.clock.now(), 0
        first_s = offset_s(probe)
        while True:
            due_s = first_s + slot * probe.every_s
            await self.clock.sleep(max(0.0, due_s - _since(began, self.clock.now())))
            self._awake += 1
            asked = self.clock.now()
            outcome = await self.once(probe, within_s=due_s + probe.every_s - _since(began, asked))
            now = self.clock.now()
            lateness_s = _since(began, asked) - due_s
            tally = self.tallies[probe.source]
            tally.worst_lateness_s = max(tally.worst_lateness_s, lateness_s)
            self._note(probe, outcome, now)
            await self.keep([reading_of(probe.source, now, outcome, asked.wall_ms - round(lateness_s * 1000))])
            _settle(probe, outcome)
            self._awake -= 1
            slot += 1
            while first_s + (slot + 1) * probe.every_s < _since(began, self.clock.now()):
                slot += 1  # a card that took nothing for so long: those slots are owed, and their absence tells

    async def once(self, probe: Probe, *, within_s: float | None = None) -> Outcome:
        """Run one probe now, behind those of its device; what is not done `within_s` was not its turn."""
        limit_s = probe.deadline_s if within_s is None else max(within_s, 0.0)
        try:
            async with asyncio.timeout(limit_s) as turn:
                async with self._devices.setdefault(probe.device, asyncio.Lock()), self._running:
                    turn.reschedule(None)
                    return await _within_deadline(probe)
        except TimeoutError:
            return unknown(Reason.OVERRUN, f"{probe.device} was busy for the whole slot")

    def _note(self, probe: Probe, outcome: Outcome, now: Instant) -> None:
        tally = self.tallies[probe.source]
        before = tally.outcome
        tally.outcome, tally.at_ms, tally.runs = outcome, now.wall_ms, tally.runs + 1
        tally.overruns += outcome.reason is Reason.OVERRUN
        if before is None or (before.state, before.reason) != (outcome.state, outcome.reason):
            level = log.info if outcome.state is State.OK else log.warning
            explanation = outcome.facts.get("explanation", "")
            level("probe", source=str(probe.source), state=outcome.state, reason=outcome.reason, why=explanation)


def offset_s(probe: Probe) -> float:
    """Return where in its rhythm a probe runs: the same at each start, and spread over all probes."""
    digest = hashlib.blake2b(str(probe.source).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64 * probe.every_s


async def _within_deadline(probe: Probe) -> Outcome:
    """Run one probe; whatever happens, it comes to an outcome."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(probe.deadline_s):
            return await probe.run()
    except ProbeError as error:
        return error.outcome
    except OSError as error:  # TimeoutError is one
        reason = sorted_os_error(error)
        state = State.UNKNOWN if reason in OURS else State.FAIL
        said = str(error) or f"no answer within {time.monotonic() - began:.1f} s"
        return Outcome(state=state, reason=reason, facts={"explanation": said[:300]})
    except Exception as error:
        log.exception("probe failed in a way of ours", source=str(probe.source))
        return unknown(Reason.PROBE_ERROR, f"{type(error).__name__}: {error}")


def _settle(probe: Probe, outcome: Outcome) -> None:
    if outcome.settle is None:
        return
    try:
        outcome.settle()
    except OSError as error:  # a full card: the same is said again next time, which can be told by its time
        log.warning("a probe's memory is not kept", source=str(probe.source), why=str(error))


def _since(began: Instant, now: Instant) -> float:
    """Seconds on the boot clock: a step of the wall clock moves no slot."""
    return (now.monotonic_ms - began.monotonic_ms) / 1000
