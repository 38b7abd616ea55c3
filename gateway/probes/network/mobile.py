"""A public operator's network as one modem meets it: `mobile:<name>`. What a modem tells, and what that comes to.

What only says that our own modem or SIM is at fault is unknown: it says nothing about the coverage of the hamlet.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.probes.errors import ProbeError
from gateway.probes.network.layer import DNS, HTTP, TRANSPORT, Figures, Layer, climbed
from gateway.probes.network.reach import Reach
from gateway.probes.network.settings import Modem
from gateway.probes.network.signal import UNKNOWN, Signal
from gateway.probes.network.way import Way
from gateway.probes.outcome import Fact, Outcome, Reason, State
from wire.identity import SourceId
from wire.reading import Quantity

MODEM: Final = "modem"
SIM: Final = "sim"
REGISTERED: Final = "registered"
SIGNAL: Final = "signal"
DATA: Final = "data"
LADDER: Final = (MODEM, SIM, REGISTERED, SIGNAL, DATA)


class Registration(enum.Enum):
    """+CEREG's <stat> (TS 27.007 10.1.22), as far as it decides."""

    HOME = "home"
    ROAMING = "roaming"
    SEARCHING = "searching"
    DENIED = "denied"
    IDLE = "idle"  # not registered, and not looking
    UNKNOWN = "unknown"

    @property
    def stands(self) -> bool:
        """Whether the network has taken us."""
        return self in (Registration.HOME, Registration.ROAMING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a modem told. `modem` and `sim` are layers; what was not asked because of them keeps its default."""

    modem: Layer
    sim: Layer | None = None
    radio_off: bool = False
    registration: Registration = Registration.UNKNOWN
    signal: Signal = UNKNOWN
    plmn: str = ""
    generation: int | None = None
    facts: dict[str, Fact] = field(default_factory=dict)


class Source(Protocol):
    """How a modem is asked: over its AT port, or over ModemManager."""

    @property
    def device(self) -> str:
        """What is talked to."""
        ...

    async def ask(self) -> Told:
        """Ask for everything; raises ProbeError where there is nobody to ask."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileProbe:
    """`way` is the modem's own interface; without one nothing is sent, and the ladder ends at the signal."""

    source: SourceId
    every_s: float
    deadline_s: float
    modem: Source
    settings: Modem
    way: Way | None
    reach: Reach
    rungs: tuple[str, ...] = LADDER

    @property
    def device(self) -> str:
        """The modem."""
        return self.modem.device

    async def run(self) -> Outcome:
        """Ask the modem, then send something through it."""
        told = await self.modem.ask()
        layers = layers_of(told, self.settings)
        figures = Figures()
        if self.way is not None and REGISTERED in layers and layers[REGISTERED].state is State.OK:
            layers[DATA], figures = await self._data(self.way)
        return outcome_of(told, layers, figures)

    async def _data(self, way: Way) -> tuple[Layer, Figures]:
        if way.budget.used_up:
            return Layer.failed(Reason.DATA_BUDGET, "this month's data is spent; the radio alone was asked"), Figures()
        outlet = way.outlet()
        if outlet is None:
            return Layer.failed(Reason.NO_EQUIPMENT, f"there is no interface {way.interface}"), Figures()
        if not outlet.addresses:
            return Layer(State.FAIL, Reason.NO_DATA, f"{way.interface} has no address: no bearer stands"), Figures()
        try:
            far, figures = await self.reach.layers(way)
        except ProbeError as error:
            return Layer.failed(error.reason, str(error)), Figures()
        finally:
            way.budget.save()
        return data_layer(far), figures


def layers_of(told: Told, settings: Modem) -> dict[str, Layer]:
    """Return the rungs that the modem's own word decides."""
    layers = {MODEM: told.modem}
    if told.modem.state is not State.OK or told.sim is None:
        return layers
    layers[SIM] = told.sim
    if told.sim.state is not State.OK:
        return layers
    layers[REGISTERED] = _registered(told)
    if layers[REGISTERED].state is State.OK:
        layers[SIGNAL] = _signal(told.signal, settings)
    return layers


def data_layer(far: dict[str, Layer]) -> Layer:
    """Return whether data passes: DNS, and either target. A portal is how some operators say that nothing is left."""
    if far[HTTP].reason is Reason.PORTAL:
        return Layer(State.FAIL, Reason.NO_DATA, f"a page of somebody else's: {far[HTTP].why}")
    for name in (DNS, TRANSPORT):
        if far[name].state is State.UNKNOWN:
            return far[name]
        if far[name].state is State.FAIL:
            return Layer(State.FAIL, Reason.NO_DATA, f"{name}: {far[name].why}")
    return next((far[name] for name in (DNS, TRANSPORT) if far[name].state is State.DEGRADED), Layer(State.OK))


def outcome_of(told: Told, layers: dict[str, Layer], figures: Figures) -> Outcome:
    """Return what all of it comes to.

    Registered without data is unknown as a whole: a SIM whose data is used up looks the same as an operator's fault,
    and must not read as no coverage (criteria OD-2). The rung and the checks say what is known.
    """
    climb = climbed(LADDER, layers)
    facts: dict[str, Fact] = {**told.facts, "registration": told.registration.value, "plmn": told.plmn}
    facts["technology"] = told.signal.technology
    quantities = [*told.signal.quantities(), *figures.quantities()]
    if told.generation is not None:
        quantities.append(Quantity("mobile_generation", "1", float(told.generation)))
    return Outcome(
        state=State.UNKNOWN if climb.decisive.reason is Reason.NO_DATA else climb.decisive.state,
        rung=climb.rung,
        reason=climb.decisive.reason,
        latency_ms=figures.rtt_ms,
        checks=climb.checks,
        figures=tuple(quantities),
        facts=facts | climb.explanation,
    )


def _registered(told: Told) -> Layer:
    if told.registration.stands:
        return Layer(State.OK)
    if told.radio_off:
        return Layer(State.UNKNOWN, Reason.MISCONFIGURED, "the modem's radio is switched off (AT+CFUN)")
    if told.registration is Registration.DENIED:
        return Layer(State.UNKNOWN, Reason.UNAUTHORISED, "the network is there and refuses this SIM")
    if told.signal.no_service:
        return Layer(State.FAIL, Reason.NO_SERVICE, "the modem finds no network")
    if told.registration is Registration.UNKNOWN:
        return Layer(State.UNKNOWN, Reason.NOT_KNOWN, "the modem does not know whether it is registered")
    return Layer(State.FAIL, Reason.NOT_REGISTERED, f"not registered: {told.registration.value}")


def _signal(signal: Signal, settings: Modem) -> Layer:
    """Compare the best cell's figure with the limits; LTE and NR share theirs, 3G has its own."""
    heard = [value for value in (signal.rsrp_dbm, signal.nr_rsrp_dbm) if value is not None]
    if heard:
        value = max(heard)
        if value < settings.weak_dbm:
            return Layer(State.FAIL, Reason.WEAK_SIGNAL, f"RSRP {value:g} dBm, below {settings.weak_dbm:g}")
        if value < settings.good_dbm:
            return Layer(State.DEGRADED, Reason.WEAK_SIGNAL, f"RSRP {value:g} dBm, below {settings.good_dbm:g}")
        return Layer(State.OK)
    if signal.rscp_dbm is not None:
        if signal.rscp_dbm < settings.weak_rscp_dbm:
            return Layer(State.FAIL, Reason.WEAK_SIGNAL, f"RSCP {signal.rscp_dbm:g} dBm")
        return Layer(State.OK)
    return Layer(State.UNKNOWN, Reason.NOT_KNOWN, "the modem does not know how strong it hears the network")
