"""How a probe gives up: with a word of the closed list."""

from __future__ import annotations

import errno

from gateway.probes.outcome import OURS, Fact, Outcome, Reason, State


class ProbeError(Exception):
    """A rung was not reached. `reason` says why, `rung` the last one that was."""

    def __init__(self, reason: Reason, explanation: str = "", *, rung: str = "") -> None:
        super().__init__(explanation or reason.value)
        self.reason = reason
        self.rung = rung

    @property
    def outcome(self) -> Outcome:
        """What the run came to: unknown where the fault is ours, else a failure."""
        facts: dict[str, Fact] = {"explanation": str(self)[:300]}
        state = State.UNKNOWN if self.reason in OURS else State.FAIL
        return Outcome(state=state, rung=self.rung, reason=self.reason, facts=facts)


def sorted_os_error(error: OSError) -> Reason:
    """Return what an error of the operating system means for who was asked."""
    if isinstance(error, TimeoutError):
        return Reason.TIMEOUT
    if isinstance(error, ConnectionRefusedError):
        return Reason.REFUSED
    if isinstance(error, ConnectionError):
        return Reason.CLOSED
    if isinstance(error, PermissionError):
        return Reason.NO_PERMISSION
    if isinstance(error, FileNotFoundError):
        return Reason.NO_EQUIPMENT
    if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
        return Reason.PROBE_ERROR  # our own card does not take what the probe remembers
    if error.errno in (errno.ENETUNREACH, errno.ENETDOWN):
        return Reason.NETWORK_DOWN  # our own machine has no way there: nothing was asked
    return Reason.UNREACHABLE
