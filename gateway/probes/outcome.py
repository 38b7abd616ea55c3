"""What one run of a probe came to, and how that becomes a reading. Pure.

Unknown means that the probe could not find out. It counts as neither up nor down, so it is never a default for either.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.clock import Instant
from gateway.health.readings import own_reading
from wire.identity import SourceId
from wire.reading import Quantity, Reading

Fact = str | int | float | bool | None | list["Fact"] | dict[str, "Fact"]

STATE: Final = "probe_state"
LATENCY: Final = "probe_latency"
_LONGEST_TEXT: Final = 300


class State(enum.StrEnum):
    """How it is with what was probed."""

    OK = "ok"
    DEGRADED = "degraded"  # it works, and something is wrong that will have to be seen to
    FAIL = "fail"
    UNKNOWN = "unknown"

    @property
    def code(self) -> int:
        """The number under which it is stored, unit 1. Numbers travel: never reuse one."""
        return _CODES[self]


_CODES: Final = {State.OK: 0, State.DEGRADED: 1, State.FAIL: 2, State.UNKNOWN: 3}
_WORST_FIRST: Final = (State.FAIL, State.UNKNOWN, State.DEGRADED, State.OK)


class Reason(enum.StrEnum):
    """Why it is not ok. A closed list on which indicators and texts for people hang: it travels, never rename one."""

    NONE = ""

    # The probe could not find out: always with State.UNKNOWN.
    OVERRUN = "overrun"  # its turn never came: what it shares a device with took too long
    MISCONFIGURED = "misconfigured"
    NO_PERMISSION = "no_permission"  # this machine does not let us: a capability, a group, a file's mode
    NO_EQUIPMENT = "no_equipment"  # our own: no modem, no client radio, no serial port, no library
    CREDENTIALS_MISSING = "credentials_missing"
    DATA_BUDGET = "data_budget"  # the month's data is used up; we do not spend more
    NETWORK_DOWN = "network_down"  # our own line to it is down, so this says nothing about it
    PROBE_ERROR = "probe_error"  # ours to mend: the log has the rest

    # Nobody answered, in the order of what was reached.
    NO_LINK = "no_link"
    NO_ADDRESS = "no_address"
    NO_GATEWAY = "no_gateway"
    NO_DNS = "no_dns"
    DNS_LIES = "dns_lies"  # an answer that cannot be right: a portal's or a blocker's
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    CLOSED = "closed"  # it ended the connection before it had answered

    # Somebody answered, and not what was asked.
    NOT_THE_PROTOCOL = "not_the_protocol"
    TOO_LARGE = "too_large"  # past our byte cap
    REDIRECTED = "redirected"  # to where we do not follow
    PORTAL = "portal"  # a page that wants a login or a click
    TLS = "tls"
    UNAUTHORISED = "unauthorised"
    NOT_FOUND = "not_found"
    BUSY = "busy"
    DEVICE_ERROR = "device_error"  # it says itself that something is wrong
    NOT_KNOWN = "not_known"  # it answers that it does not know it itself: a modem's 99, 255, "-"
    WRONG_DEVICE = "wrong_device"  # another serial number or address than expected

    # It answers, and what it is there for does not happen.
    NOT_LINKED = "not_linked"  # the station does not have it
    NOT_PLAYED = "not_played"
    NOT_HEARD = "not_heard"
    NO_PICTURE = "no_picture"
    BLACK = "black"
    FROZEN = "frozen"
    BLURRED = "blurred"  # or covered
    MOVED = "moved"  # looks elsewhere than the reference view
    NO_SERVICE = "no_service"  # the modem finds no network
    NOT_REGISTERED = "not_registered"
    NO_SIM = "no_sim"
    WEAK_SIGNAL = "weak_signal"
    NO_DATA = "no_data"  # registered, and nothing passes: the SIM's data is used up
    NO_ASSOCIATION = "no_association"
    LOSSY = "lossy"
    SLOW = "slow"
    BAD_CHECKSUM = "bad_checksum"
    STUCK = "stuck"  # the same value for too long
    OUT_OF_RANGE = "out_of_range"
    CLOCK_SKEW = "clock_skew"
    UNDER_VOLTAGE = "under_voltage"
    HOT = "hot"
    DISK_FULL = "disk_full"
    DISK_WORN = "disk_worn"
    NO_MAINS = "no_mains"
    LOW_BATTERY = "low_battery"
    LOW_MEMORY = "low_memory"
    READ_ONLY = "read_only"  # nothing can be kept there any more
    RESTARTED = "restarted"  # it came back too often without anybody having ordered it
    UNSYNCHRONISED = "unsynchronised"  # no time service keeps the clock
    NO_FIX = "no_fix"
    STALE = "stale"  # the last word of it is too old


OURS: Final = frozenset(
    {
        Reason.OVERRUN, Reason.MISCONFIGURED, Reason.NO_PERMISSION, Reason.NO_EQUIPMENT, Reason.CREDENTIALS_MISSING,
        Reason.DATA_BUDGET, Reason.NETWORK_DOWN, Reason.PROBE_ERROR,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run: the state, the last rung reached, the reason why it was not the next one.

    `rung` is a word of the probe's own ladder, "" when not even the first was reached. `checks` are parts of it with a
    state of their own (a loudspeaker's `reach`, `link`, `play`, `sound`): each becomes the quantity `<name>_state`.
    `figures` are the numbers measured; `facts` go into the raw frame beside them: small, and never a credential.
    `settle` is called when the reading is on the card: what is said once only is to be forgotten then, and not before.
    """

    state: State
    rung: str = ""
    reason: Reason = Reason.NONE
    latency_ms: float | None = None
    checks: Mapping[str, State] = field(default_factory=dict)
    figures: tuple[Quantity, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    settle: Callable[[], None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if (self.state is State.OK) != (self.reason is Reason.NONE):
            raise ValueError(f"state {self.state} with reason {self.reason!r}: ok has no reason, every other has one")
        if self.reason in OURS and self.state is not State.UNKNOWN:
            raise ValueError(
                f"{self.reason} says nothing about what was probed: the state is unknown, not {self.state}"
            )


def unknown(reason: Reason, explanation: str = "") -> Outcome:
    """Return what a probe says that could not find out; `explanation` is for the log and the doctor."""
    facts: dict[str, Fact] = {"explanation": explanation[:_LONGEST_TEXT]} if explanation else {}
    return Outcome(state=State.UNKNOWN, reason=reason, facts=facts)


def worst(states: Mapping[str, State]) -> State:
    """Return the state of a whole from its parts: one that fails decides, then one that nobody knows."""
    return next((state for state in _WORST_FIRST if state in states.values()), State.UNKNOWN)


def reading_of(source: SourceId, now: Instant, outcome: Outcome, due_ms: int) -> Reading:
    """Return the reading of one run that was due at `due_ms`, by the wall clock, ms UTC."""
    facts: dict[str, Fact] = {
        "state": outcome.state.value,
        "rung": outcome.rung,
        "reason": outcome.reason.value,
        "due_at_ms": due_ms,
        "latency_ms": outcome.latency_ms,
    }
    if outcome.checks:
        facts["checks"] = {name: state.value for name, state in outcome.checks.items()}
    figures = [Quantity(STATE, "1", float(outcome.state.code))]
    figures += [Quantity(f"{name}_state", "1", float(state.code)) for name, state in outcome.checks.items()]
    if outcome.latency_ms is not None:
        figures.append(Quantity(LATENCY, "ms", round(outcome.latency_ms, 1)))
    return own_reading(source, now, facts | dict(outcome.facts), [*figures, *outcome.figures])
