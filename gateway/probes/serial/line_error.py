"""How a conversation on a line fails: a reason of the closed list, and what was heard, for whoever has to find it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Fact, Outcome, Reason

_MOST_SHOWN = 64


class LineError(ProbeError):
    """A rung was not reached; `facts` go into the raw frame beside the explanation."""

    def __init__(
        self, reason: Reason, explanation: str, *, rung: str = "", facts: Mapping[str, Fact] | None = None
    ) -> None:
        super().__init__(reason, explanation, rung=rung)
        self.facts = dict(facts or {})

    @property
    def outcome(self) -> Outcome:
        """What the run came to."""
        plain = super().outcome
        return Outcome(state=plain.state, rung=plain.rung, reason=plain.reason, facts=self.facts | dict(plain.facts))


def shown(heard: bytes) -> str:
    """Return what was heard, in hex, as much of it as helps."""
    return heard[:_MOST_SHOWN].hex()
