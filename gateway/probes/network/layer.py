"""The layers of a line out, and what they come to together. Pure.

A later layer that works disproves an earlier one that seems not to: packets pass a gateway that answers no ping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.probes.outcome import OURS, Fact, Outcome, Reason, State
from wire.reading import Quantity

LINK: Final = "link"
ADDRESS: Final = "address"
GATEWAY: Final = "gateway"
DNS: Final = "dns"
TRANSPORT: Final = "transport"
HTTP: Final = "http"
LADDER: Final = (LINK, ADDRESS, GATEWAY, DNS, TRANSPORT, HTTP)

_PASSES: Final = (State.OK, State.DEGRADED)


@dataclass(frozen=True, slots=True)
class Layer:
    """How one layer is; `why` is for people."""

    state: State
    reason: Reason = Reason.NONE
    why: str = ""

    @classmethod
    def failed(cls, reason: Reason, why: str = "") -> Layer:
        """Return a layer that failed; unknown where the reason is one of ours."""
        return cls(State.UNKNOWN if reason in OURS else State.FAIL, reason, why)


OK: Final = Layer(State.OK)


@dataclass(frozen=True, slots=True)
class Figures:
    """Connects to the targets: round trip (ms), attempts, and how many of them were lost or had to be repeated."""

    rtt_ms: float | None = None
    attempts: int = 0
    lost: int = 0

    @property
    def loss_percent(self) -> float | None:
        """Share of attempts lost, %; None without any."""
        return 100 * self.lost / self.attempts if self.attempts else None

    def quantities(self) -> tuple[Quantity, ...]:
        """Return what was measured."""
        found = []
        if self.rtt_ms is not None:
            found.append(Quantity("line_rtt", "ms", round(self.rtt_ms, 2)))
        if self.loss_percent is not None:
            found.append(Quantity("line_loss", "%", round(self.loss_percent, 1)))
        return tuple(found)


def quality(layer: Layer, figures: Figures, *, lossy_percent: float, slow_ms: float) -> Layer:
    """Return the transport layer as its figures leave it: one that works is degraded by loss or by slowness."""
    if layer.state is not State.OK:
        return layer
    if figures.loss_percent is not None and figures.loss_percent >= lossy_percent:
        return Layer(State.DEGRADED, Reason.LOSSY, f"{figures.lost} of {figures.attempts} connects lost")
    if figures.rtt_ms is not None and figures.rtt_ms >= slow_ms:
        return Layer(State.DEGRADED, Reason.SLOW, f"round trip {figures.rtt_ms:.0f} ms")
    return layer


def several(parts: Mapping[str, Layer]) -> Layer:
    """Return the layer that several equals make: all failing is failing, one failing is degraded; raises ValueError."""
    if not parts:
        raise ValueError("a layer without parts")
    bad = [(name, part) for name, part in parts.items() if part.state is not State.OK]
    if not bad:
        return OK
    why = "; ".join(f"{name}: {part.why or part.reason.value}" for name, part in bad)[:300]
    weightiest = next((part for _, part in bad if part.reason in _WEIGHTY), bad[0][1])
    passing = any(part.state in _PASSES for part in parts.values())
    if passing and weightiest.reason in OURS:
        return Layer(State.OK, why=why)
    return Layer(State.DEGRADED if passing else weightiest.state, weightiest.reason, why)


_WEIGHTY: Final = (Reason.PORTAL, Reason.DNS_LIES)  # they say most about what stands in the way


def corrected(layers: Mapping[str, Layer]) -> dict[str, Layer]:
    """Return the layers, a gateway that does not answer being passable where packets passed it."""
    passed = any(layers[name].state in _PASSES for name in (TRANSPORT, HTTP) if name in layers)
    out = dict(layers)
    if GATEWAY in out and out[GATEWAY].state is not State.OK and passed:
        out[GATEWAY] = Layer(State.OK, why="seen by what passes it")
    return out


def verdict(
    layers: Mapping[str, Layer],
    figures: Figures = Figures(),  # frozen
    facts: Mapping[str, Fact] | None = None,
    more: tuple[Quantity, ...] = (),
) -> Outcome:
    """Return what the layers that were asked come to. The first that fails decides; a portal explains all others."""
    layers = corrected(layers)
    climb = climbed(LADDER, layers)
    told: dict[str, Fact] = dict(facts or {})
    notes: dict[str, Fact] = {name: layers[name].why for name in climb.checks if layers[name].why}
    if notes:
        told["layers"] = notes
    return Outcome(
        state=climb.decisive.state,
        rung=climb.rung,
        reason=climb.decisive.reason,
        latency_ms=figures.rtt_ms,
        checks=climb.checks,
        figures=(*figures.quantities(), *more),
        facts=told | climb.explanation,
    )


@dataclass(frozen=True, slots=True)
class Climb:
    """How far a ladder was climbed: the last rung that holds, what decides, and the state of each rung asked."""

    rung: str
    decisive: Layer
    checks: dict[str, State]

    @property
    def explanation(self) -> dict[str, Fact]:
        """What people are told where something is not well."""
        return {} if self.decisive.state is State.OK else {"explanation": self.decisive.why[:300]}


def climbed(ladder: Sequence[str], layers: Mapping[str, Layer]) -> Climb:
    """Return how far a ladder was climbed; rungs that nobody asked about are passed over."""
    asked = [name for name in ladder if name in layers]
    rung = ""
    for name in asked:
        if layers[name].state not in _PASSES:
            break
        rung = name
    return Climb(rung, _decisive(layers, asked), {name: layers[name].state for name in asked})


def _decisive(layers: Mapping[str, Layer], asked: list[str]) -> Layer:
    failing = [layers[name] for name in asked if layers[name].state is State.FAIL]
    if failing:
        return next((one for one in failing if one.reason is Reason.PORTAL), failing[0])
    for state in (State.UNKNOWN, State.DEGRADED):
        for name in asked:
            if layers[name].state is state:
                return layers[name]
    return OK
