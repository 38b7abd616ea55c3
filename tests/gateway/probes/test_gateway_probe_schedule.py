"""The schedule: one outcome a slot, devices apart, deadlines kept, nobody's fault silences the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import pytest

from gateway.clock import SteppedClock, SystemClock
from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Outcome, Reason, State, reading_of, unknown, worst
from gateway.probes.schedule import Schedule, offset_s
from wire.identity import SourceId
from wire.reading import Kind, Reading

ONE = SourceId("test:one")
OK = Outcome(state=State.OK, rung="answered", latency_ms=1.0)


@dataclass(frozen=True)
class Scripted:
    """A probe that does what the test says."""

    work: Callable[[], Awaitable[Outcome]]
    source: SourceId = ONE
    device: str = "device"
    rungs: tuple[str, ...] = ("answered",)
    every_s: float = 0.2
    deadline_s: float = 0.1

    async def run(self) -> Outcome:
        return await self.work()


async def ok() -> Outcome:
    return OK


async def hang() -> Outcome:
    await asyncio.sleep(3600)
    return OK


async def fault() -> Outcome:
    raise KeyError("a fault of ours")


async def refused() -> Outcome:
    raise ConnectionRefusedError(111, "Connection refused")


async def forbidden() -> Outcome:
    raise PermissionError(1, "Operation not permitted")


async def portal() -> Outcome:
    raise ProbeError(Reason.PORTAL, "a login page", rung="tcp")


async def discard(_: list[Reading]) -> None:
    """Keep nothing."""


def schedule(*probes: Scripted, concurrency: int = 8) -> Schedule:
    return Schedule(probes=probes, clock=SystemClock(), keep=discard, concurrency=concurrency)


@pytest.mark.parametrize(
    ("work", "state", "reason"),
    [
        (ok, State.OK, Reason.NONE),
        (hang, State.FAIL, Reason.TIMEOUT),
        (fault, State.UNKNOWN, Reason.PROBE_ERROR),
        (refused, State.FAIL, Reason.REFUSED),
        (forbidden, State.UNKNOWN, Reason.NO_PERMISSION),
        (portal, State.FAIL, Reason.PORTAL),
    ],
)
async def test_whatever_happens_a_run_comes_to_an_outcome(
    work: Callable[[], Awaitable[Outcome]], state: State, reason: Reason
) -> None:
    outcome = await schedule(Scripted(work)).once(Scripted(work))
    assert (outcome.state, outcome.reason) == (state, reason)


async def test_a_device_is_asked_by_one_probe_at_a_time() -> None:
    inside, most = 0, 0

    async def work() -> Outcome:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        inside -= 1
        return OK

    probes = [Scripted(work, SourceId(f"test:{at}"), deadline_s=5) for at in range(8)]
    asked = schedule(*probes)
    assert {(await one).state for one in asyncio.as_completed([asked.once(probe) for probe in probes])} == {State.OK}
    assert most == 1


async def test_a_turn_that_never_comes_is_unknown_and_the_neighbour_waits_no_longer_than_the_deadline() -> None:
    dead, neighbour = Scripted(hang, deadline_s=0.2), Scripted(ok, SourceId("test:two"))
    asked = schedule(dead, neighbour)
    first = asyncio.create_task(asked.once(dead))
    await asyncio.sleep(0)
    behind = await asked.once(neighbour, within_s=0.05)
    assert (behind.state, behind.reason) == (State.UNKNOWN, Reason.OVERRUN)
    assert (await asked.once(neighbour, within_s=5)).state is State.OK
    assert (await first).reason is Reason.TIMEOUT


async def test_every_slot_yields_one_reading_that_says_when_it_was_due() -> None:
    clock, kept = SteppedClock(1_768_435_200_000), list[Reading]()

    async def keep(readings: list[Reading]) -> None:
        kept.extend(readings)

    probe = Scripted(ok, every_s=60, deadline_s=10)
    plan = Schedule(probes=[probe], clock=clock, keep=keep)
    running = asyncio.create_task(plan.run())
    for minute in range(1, 11):
        for _ in range(20):
            await asyncio.sleep(0)
        clock.advance(1_768_435_200_000 + minute * 60_000)
    for _ in range(20):
        await asyncio.sleep(0)
    running.cancel()
    assert len(kept) == 10
    due = [msgspec.json.decode(one.frame.raw)["due_at_ms"] for one in kept]
    first = 1_768_435_200_000 + offset_s(probe) * 1000
    assert due == pytest.approx([first + slot * 60_000 for slot in range(10)], abs=1)
    assert {one.frame.kind for one in kept} == {Kind.PROBE}
    assert plan.tallies[probe.source].runs == 10


@pytest.mark.parametrize("error", [None, OSError(28, "No space left on device")])
async def test_an_outcome_is_settled_once_its_reading_is_kept_and_a_full_card_stops_no_probe(
    error: OSError | None,
) -> None:
    clock, told = SteppedClock(1_768_435_200_000), list[str]()

    async def keep(_: list[Reading]) -> None:
        told.append("kept")

    def settle() -> None:
        told.append("settled")
        if error is not None:
            raise error

    async def work() -> Outcome:
        return Outcome(state=State.OK, settle=settle)

    running = asyncio.create_task(Schedule(probes=[Scripted(work, every_s=60)], clock=clock, keep=keep).run())
    for minute in (0, 1, 2):
        for _ in range(20):
            await asyncio.sleep(0)
        clock.advance(1_768_435_200_000 + minute * 60_000)
    for _ in range(20):
        await asyncio.sleep(0)
    running.cancel()
    assert told == ["kept", "settled", "kept", "settled"]


def test_offsets_spread_over_the_interval_and_stay() -> None:
    probes = [Scripted(ok, SourceId(f"test:{at}"), every_s=100.0) for at in range(200)]
    offsets = sorted(offset_s(probe) for probe in probes)
    assert offsets == sorted(offset_s(probe) for probe in probes)
    for begin in range(0, 100, 25):
        assert 25 < sum(begin <= one < begin + 25 for one in offsets) < 75


def test_a_reading_has_the_states_as_numbers_and_the_reason_in_its_frame() -> None:
    checks = {"reach": State.OK, "link": State.FAIL}
    outcome = Outcome(state=State.FAIL, rung="reach", reason=Reason.NOT_LINKED, checks=checks, latency_ms=12.34)
    reading = reading_of(SourceId("loudspeaker:cum-1"), SystemClock().now(), outcome, 5)
    values = {one.name: one.value for one in reading.quantities}
    assert values == {"probe_state": 2.0, "reach_state": 0.0, "link_state": 2.0, "probe_latency": 12.3}
    facts = msgspec.json.decode(reading.frame.raw)
    assert (facts["reason"], facts["rung"], facts["checks"]) == ("not_linked", "reach", {"reach": "ok", "link": "fail"})


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.OK, Reason.TIMEOUT),
        (State.FAIL, Reason.NONE),
        (State.FAIL, Reason.OVERRUN),
        (State.DEGRADED, Reason.NONE),
    ],
)
def test_an_outcome_that_contradicts_itself_cannot_be_made(state: State, reason: Reason) -> None:
    with pytest.raises(ValueError, match=r"ok has no reason|says nothing"):
        Outcome(state=state, reason=reason)


def test_a_whole_is_as_its_worst_part_and_unknown_is_never_good() -> None:
    assert worst({"a": State.OK, "b": State.UNKNOWN}) is State.UNKNOWN
    assert worst({"a": State.FAIL, "b": State.UNKNOWN}) is State.FAIL
    assert worst({"a": State.OK, "b": State.DEGRADED}) is State.DEGRADED
    assert worst({}) is State.UNKNOWN
    assert unknown(Reason.NO_EQUIPMENT).state is State.UNKNOWN
