"""One cluster: all its adapters asked at once, and four checks kept apart.

Reachable is not linked, linked is not played, played is not heard. A check that nobody can speak about is absent.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from gateway.clock import Clock, Instant
from gateway.probes.errors import ProbeError, sorted_os_error
from gateway.probes.loudspeakers import broadcasts as schedule
from gateway.probes.loudspeakers.finding import FINE, Adapter, Check, Finding
from gateway.probes.loudspeakers.memory import KEPT_MS, Memory, Sample, keep, recall
from gateway.probes.loudspeakers.settings import Loudspeaker
from gateway.probes.outcome import OURS, Fact, Outcome, Reason, State, worst
from wire.identity import SourceId
from wire.reading import ClockState, Quantity

LADDER: Final = ("reach", "link", "play", "sound")
_LOG_PATIENCE_MS: Final = 86_400_000
_ORDER: Final = (State.FAIL, State.UNKNOWN, State.DEGRADED, State.OK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The probe. `device` is the cluster's own name: its adapters are asked by itself, in one run."""

    settings: Loudspeaker
    adapters: tuple[Adapter, ...]
    clock: Clock
    memory: Path

    @property
    def source(self) -> SourceId:
        """`loudspeaker:<name>`."""
        return SourceId(f"loudspeaker:{self.settings.name}")

    @property
    def device(self) -> str:
        """The cluster itself."""
        return str(self.source)

    @property
    def rungs(self) -> tuple[str, ...]:
        """What the configuration wants of the ladder, in the ladder's order."""
        return tuple(rung for rung in LADDER if rung in self.settings.rungs)

    @property
    def every_s(self) -> float:
        """Seconds between runs."""
        return self.settings.every_s

    @property
    def deadline_s(self) -> float:
        """Each adapter has its own end before this one."""
        return self.settings.timeout_s + 10.0

    async def run(self) -> Outcome:
        """Ask all adapters, then make one outcome of what they found."""
        began = self.clock.now()
        memory = recall(self.memory)
        memory.since_ms = memory.since_ms or began.wall_ms
        found = await asyncio.gather(*(self._ask(adapter, began, memory) for adapter in self.adapters))
        took_ms = self.clock.now().monotonic_ms - began.monotonic_ms
        checks = {rung: check for rung in self.rungs if (check := _best(rung, self.adapters, found)) is not None}
        facts: dict[str, Fact] = {"adapters": _told(self.adapters, found)}
        judged = tuple(memory.judged)
        if began.state is not ClockState.NONE:  # an hour that nobody knows is no broadcast's
            self._sample(memory, began, found)
            self._judge(memory, began, found, checks, facts)
        memory.forget(began.wall_ms)
        # A broadcast is judged once, so it counts as judged when the verdict is on the card: neither a crash before
        # that nor a look by the doctor may take it away.
        keep(self.memory, msgspec.structs.replace(memory, judged=[one for one in memory.judged if one in judged]))
        outcome = _outcome(self.rungs, checks, found, facts, float(took_ms))
        return dataclasses.replace(outcome, settle=functools.partial(keep, self.memory, memory))

    async def _ask(self, adapter: Adapter, now: Instant, memory: Memory) -> Finding | Check:
        """Return what one found, or why it found nothing: no adapter keeps another from answering."""
        try:
            async with asyncio.timeout(self.settings.timeout_s + 2.0):
                return await adapter.ask(now, memory)
        except ProbeError as error:
            reason, said = error.reason, str(error)
        except OSError as error:
            reason, said = sorted_os_error(error), str(error) or "no answer in time"
        silent = adapter.is_asked_directly and reason not in OURS
        return Check(State.FAIL if silent else State.UNKNOWN, reason, said)

    def _sample(self, memory: Memory, now: Instant, found: Sequence[Finding | Check]) -> None:
        if not schedule.is_on(self.settings.broadcast, now.wall_ms):
            return
        for one in found:
            if isinstance(one, Finding):
                memory.samples += [Sample(now.wall_ms, kind, playing) for kind, playing in one.signs.items()]

    def _judge(
        self, memory: Memory, now: Instant, found: Sequence[Finding | Check], checks: dict[str, Check],
        facts: dict[str, Fact],
    ) -> None:  # fmt: skip
        """Judge each broadcast that is over, once; wait a day for a log that cannot be read now."""
        logs = [one for adapter, one in zip(self.adapters, found, strict=True) if adapter.keeps_log]
        spans = [span for one in logs if isinstance(one, Finding) and one.played is not None for span in one.played]
        is_readable = any(isinstance(one, Finding) and one.played is not None for one in logs)
        told: list[Fact] = []
        kinds = frozenset(kind for adapter in self.adapters for kind in adapter.signs)
        electrical = frozenset({"current"}) & kinds or frozenset({"level"}) & kinds or kinds
        begin_ms = max(memory.since_ms, now.wall_ms - KEPT_MS)
        for one in schedule.due(self.settings.broadcast, begin_ms, now.wall_ms - schedule.SETTLE_MS):
            if one.start_ms in memory.judged:
                continue
            if logs and not is_readable and now.wall_ms - one.end_ms < _LOG_PATIENCE_MS:
                continue
            share = (
                schedule.share_of_log(one, spans)
                if is_readable
                else schedule.share_of_samples(one, memory.samples, electrical)
            )
            memory.judged.append(one.start_ms)
            verdict = schedule.judge(share)
            told.append({"start_ms": one.start_ms, "end_ms": one.end_ms, "share": share, "state": verdict.state.value})
            if "play" in self.rungs:
                checks["play"] = _worse(checks.get("play", verdict), verdict)
            level = schedule.share_of_samples(one, memory.samples, frozenset({"level"}))
            if level is not None and share is not None and share >= schedule.PLAYED:
                memory.sound, memory.sound_ms = ("OK" if level >= schedule.PLAYED else "Failed"), one.end_ms
        if told:
            facts["broadcasts"] = told
        if "sound" in self.rungs and "sound" not in checks and "level" in kinds:
            checks["sound"] = self._heard(memory, now)

    def _heard(self, memory: Memory, now: Instant) -> Check:
        """Return what the microphone heard of the last broadcast that was played."""
        from gateway.probes.loudspeakers.answer import heard

        if not memory.sound:
            return Check(State.UNKNOWN, Reason.STALE, "no broadcast has been heard or missed yet")
        return heard(
            passed=memory.sound == "OK", tested_ms=memory.sound_ms, now_ms=now.wall_ms,
            within_s=self.settings.sound_within_days * 86_400,
        )  # fmt: skip


def _best(rung: str, adapters: Sequence[Adapter], found: Sequence[Finding | Check]) -> Check | None:
    """Return one check of all who can speak about it.

    One way that answers is reach, and a second one that does not makes it degraded; elsewhere the worst word counts.
    """
    said: list[Check] = []
    for adapter, one in zip(adapters, found, strict=True):
        if rung not in adapter.gives:
            continue
        if isinstance(one, Check):
            is_reach = rung == "reach"
            said.append(one if is_reach else Check(State.UNKNOWN, one.reason, one.said))
        elif rung in one.checks:
            said.append(one.checks[rung])
    if not said:
        return None
    bad = min(said, key=lambda check: _ORDER.index(check.state))
    if rung == "reach" and bad.state is not State.OK and any(c.state in (State.OK, State.DEGRADED) for c in said):
        reason = Reason.DEVICE_ERROR if bad.reason in OURS else bad.reason
        return FINE if bad.reason in OURS else Check(State.DEGRADED, reason, bad.said)
    return bad


def _worse(one: Check, other: Check) -> Check:
    return min((one, other), key=lambda check: _ORDER.index(check.state))


def _told(adapters: Sequence[Adapter], found: Sequence[Finding | Check]) -> list[Fact]:
    told: list[Fact] = []
    for adapter, one in zip(adapters, found, strict=True):
        if isinstance(one, Check):
            told.append({"name": adapter.name, "reason": one.reason.value, "said": one.said[:200]})
        else:
            told.append({"name": adapter.name, **one.facts})
    return told


def _outcome(
    rungs: Sequence[str], checks: dict[str, Check], found: Sequence[Finding | Check], facts: dict[str, Fact],
    took_ms: float,
) -> Outcome:  # fmt: skip
    states = {name: checks[name].state for name in rungs if name in checks}
    reached, reason, bad = "", Reason.NONE, worst(states)
    climbing = True
    for name, state in states.items():
        climbing = climbing and state in (State.OK, State.DEGRADED)
        reached = name if climbing else reached
    if bad is not State.OK:
        first = next((check for name in states if (check := checks[name]).state is bad), None)
        reason = first.reason if first is not None else Reason.STALE
        facts["explanation"] = first.said[:300] if first is not None else "nothing could be said"
    figures: dict[str, Quantity] = {}
    for one in found:
        if isinstance(one, Finding):
            figures |= {figure.name: figure for figure in one.figures}
    return Outcome(
        state=bad, rung=reached, reason=reason, latency_ms=took_ms, checks=states, figures=tuple(figures.values()),
        facts=facts,
    )  # fmt: skip
