"""From the parts of a machine to one outcome: the worst part decides, what is not there is not named. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.probes.outcome import Fact, Outcome, Reason, State, unknown, worst
from wire.reading import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part that was found: its state, why, and what was measured."""

    name: str
    state: State = State.OK
    reason: Reason = Reason.NONE
    why: str = ""
    figures: Sequence[Quantity] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


def assess_parts(parts: Sequence[Part], missing: str) -> Outcome:
    """Return the outcome; `unknown` with NO_EQUIPMENT where no part is there at all."""
    if not parts:
        return unknown(Reason.NO_EQUIPMENT, missing)
    state = worst({part.name: part.state for part in parts})
    guilty = next((part for part in parts if part.state is state and state is not State.OK), None)
    facts: dict[str, Fact] = {key: value for part in parts for key, value in part.facts.items()}
    why = "; ".join(part.why for part in parts if part.why)
    if why:
        facts["explanation"] = why[:300]
    return Outcome(
        state=state,
        rung="measured",
        reason=guilty.reason if guilty else Reason.NONE,
        checks={part.name: part.state for part in parts},
        figures=tuple(figure for part in parts for figure in part.figures),
        facts=facts,
    )
