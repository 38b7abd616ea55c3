"""A public wifi as a guest meets it: `wifi:<name>`. A radio of our own joins it, gets an address, reaches out."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.probes.errors import ProbeError
from gateway.probes.network.layer import DNS, HTTP, OK, TRANSPORT, Figures, Layer, climbed
from gateway.probes.network.reach import Reach
from gateway.probes.network.scan import Cell
from gateway.probes.network.settings import Wifi
from gateway.probes.network.way import Way
from gateway.probes.outcome import Fact, Outcome, Reason, State
from wire.identity import SourceId
from wire.reading import Quantity

RADIO: Final = "radio"
SEEN: Final = "seen"
ASSOCIATED: Final = "associated"
ADDRESS: Final = "address"
REACH: Final = "reach"
LADDER: Final = (RADIO, SEEN, ASSOCIATED, ADDRESS, REACH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a guest met: the cell, if any was heard, and whether it took him. Held while the visit lasts."""

    cell: Cell | None = None
    associated: Layer | None = None
    facts: dict[str, Fact] = field(default_factory=dict)


class Guest(Protocol):
    """How the radio is driven: over NetworkManager, or over what the installer has set up and `iw` shows."""

    def visit(self) -> AbstractAsyncContextManager[Visit]:
        """Look, join, and leave at the end; raises ProbeError where there is no radio to do it with."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WifiProbe:
    """`way` is the radio's interface."""

    source: SourceId
    every_s: float
    deadline_s: float
    guest: Guest
    settings: Wifi
    way: Way
    reach: Reach
    rungs: tuple[str, ...] = LADDER

    @property
    def device(self) -> str:
        """The radio: it can be a guest in one place at a time."""
        return f"radio:{self.settings.radio}"

    async def run(self) -> Outcome:
        """Join, and reach out through it."""
        async with self.guest.visit() as visit:
            layers = {RADIO: OK, SEEN: seen(visit.cell, self.settings)}
            figures = Figures()
            if visit.cell is not None and visit.associated is not None:
                layers[ASSOCIATED] = visit.associated
                if visit.associated.state is State.OK:
                    layers[ADDRESS] = await self._address()
                    if layers[ADDRESS].state is State.OK:
                        layers[REACH], figures = await self._reached()
            return outcome_of(visit, layers, figures)

    async def _address(self) -> Layer:
        """Wait for DHCP."""
        ends_at = time.monotonic() + self.settings.join_s
        while True:
            outlet = self.way.outlet()
            if outlet is None:
                return Layer.failed(Reason.NO_EQUIPMENT, f"there is no {self.settings.radio}")
            if outlet.addresses:
                return OK
            if time.monotonic() >= ends_at:
                return Layer.failed(Reason.NO_ADDRESS, f"no address within {self.settings.join_s:g} s")
            await asyncio.sleep(0.2)

    async def _reached(self) -> tuple[Layer, Figures]:
        try:
            far, figures = await self.reach.layers(self.way)
        except ProbeError as error:
            return Layer.failed(error.reason, str(error)), Figures()
        return reach_layer(far), figures


def seen(cell: Cell | None, settings: Wifi) -> Layer:
    """Return whether the network of the register is heard, and well enough. Pure."""
    if cell is None:
        return Layer.failed(Reason.NOT_FOUND, f"{settings.ssid} is not heard by {settings.radio}")
    if cell.signal_dbm is not None and cell.signal_dbm < settings.weak_dbm:
        return Layer.failed(Reason.WEAK_SIGNAL, f"{cell.signal_dbm:g} dBm, below {settings.weak_dbm:g}")
    known = {one.lower() for one in settings.bssids}
    if known and cell.bssid.lower() not in known:
        return Layer(State.DEGRADED, Reason.WRONG_DEVICE, f"{cell.bssid} has the name, and is not in the register")
    return OK


def reach_layer(far: dict[str, Layer]) -> Layer:
    """Return the far layers as one; a portal explains whatever else does not work. Pure."""
    if far[HTTP].reason is Reason.PORTAL:
        return far[HTTP]
    for state in (State.FAIL, State.UNKNOWN, State.DEGRADED):
        for name in (DNS, TRANSPORT, HTTP):
            if far[name].state is state:
                return far[name]
    return OK


def outcome_of(visit: Visit, layers: dict[str, Layer], figures: Figures) -> Outcome:
    """Return what a visit comes to. Pure."""
    climb = climbed(LADDER, layers)
    facts, quantities = dict(visit.facts), list(figures.quantities())
    if visit.cell is not None:
        cell = visit.cell
        facts |= {"bssid": cell.bssid, "security": cell.security.name.lower()}
        quantities.append(Quantity("wifi_security", "1", float(cell.security.value)))
        if cell.signal_dbm is not None:
            quantities.append(Quantity("wifi_rssi", "dB[mW]", cell.signal_dbm))
        if cell.strength_percent is not None:
            quantities.append(Quantity("wifi_strength", "%", cell.strength_percent))
    return Outcome(
        state=climb.decisive.state,
        rung=climb.rung,
        reason=climb.decisive.reason,
        latency_ms=figures.rtt_ms,
        checks=climb.checks,
        figures=tuple(quantities),
        facts=facts | climb.explanation,
    )
