"""From an instrument's fields to an outcome: what its values say about itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codec.errors import DecodeError
from gateway.probes.outcome import Fact, Outcome, Reason, State
from gateway.probes.serial.instrument_map import InstrumentMap
from gateway.probes.serial.line_error import LineError
from gateway.probes.serial.steadiness import Steadiness
from wire.reading import Quality, Quantity

RUNGS = ("port", "heard", "answer", "values", "plausible")

_END_OF_RANGE = (Quality.IMPLAUSIBLE, Quality.BELOW_RANGE, Quality.ABOVE_RANGE)


def assess_values(
    meaning: InstrumentMap,
    steadiness: Steadiness,
    data: Mapping[str, object],
    *,
    monotonic_ms: int,
    latency_ms: float | None,
    facts: Mapping[str, Fact],
) -> Outcome:
    """Return the outcome of an instrument that has answered; raises LineError where its answer does not fit the map."""
    try:
        figures = meaning.figures(data)
    except DecodeError as error:
        raise LineError(
            Reason.NOT_THE_PROTOCOL, f"does not fit the map: {error}", rung="answer", facts=facts
        ) from error
    stuck = steadiness.stuck(figures, monotonic_ms)
    state, rung, reason, why = _judged(figures, stuck)
    told: dict[str, Fact] = {"explanation": why} if why else {}
    return Outcome(
        state=state,
        rung=rung,
        reason=reason,
        latency_ms=latency_ms,
        figures=figures,
        facts={"map": meaning.digest, **facts, **told},
    )


def _judged(figures: Sequence[Quantity], stuck: Sequence[str]) -> tuple[State, str, Reason, str]:
    faulty = [figure.name for figure in figures if figure.value is None]
    if not figures or len(faulty) == len(figures):
        return State.FAIL, "answer", Reason.DEVICE_ERROR, "it answers, and has no value to give"
    if faulty:
        return State.DEGRADED, "values", Reason.DEVICE_ERROR, f"no value for {', '.join(faulty)}"
    outside = [figure.name for figure in figures if figure.quality in _END_OF_RANGE]
    if outside:
        return State.DEGRADED, "values", Reason.OUT_OF_RANGE, f"out of range: {', '.join(outside)}"
    if stuck:
        return State.DEGRADED, "values", Reason.STUCK, f"the same value for too long: {', '.join(stuck)}"
    return State.OK, "plausible", Reason.NONE, ""
