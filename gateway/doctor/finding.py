"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.doctor.words import REASONS
from gateway.language import Language, Text
from gateway.probes.outcome import Reason, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`word` is for programs: a reason of the closed list, or a check's own. `detail` is the machine's own words.

    `at_ms` is when it was found out, ms UTC; None: now.
    """

    thing: str
    state: State
    word: str
    what: Text
    remedy: Text
    detail: str = ""
    at_ms: int | None = None

    def as_fields(self, language: Language) -> dict[str, object]:
        """Return it for `--json`."""
        return {
            "thing": self.thing,
            "state": self.state.value,
            "reason": self.word,
            "what": self.what.say(language),
            "remedy": self.remedy.say(language),
            "detail": self.detail,
            "at_ms": self.at_ms,
        }


def of_reason(thing: str, state: State, reason: Reason, detail: str = "", at_ms: int | None = None) -> Finding:
    """Return the finding of a probe, in the words that its reason has for people."""
    advice = REASONS[reason]
    return Finding(
        thing=thing, state=state, word=reason.value, what=advice.what, remedy=advice.remedy, detail=detail, at_ms=at_ms
    )
