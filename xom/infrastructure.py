"""What a simulated hamlet has beside its sensors, as its gateway sees it.

The probes are those of the product, and what they talk to are real sockets (simulators/hamlet.py). Only what no machine
has on request is put in their place: the kernel's word about an interface, and a radio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.clock import Clock
from gateway.probes.cameras.settings import Camera
from gateway.probes.loudspeakers.settings import Http, Loudspeaker, Sip
from gateway.probes.network.budget import Budget
from gateway.probes.network.build import reach_of
from gateway.probes.network.internet import InternetProbe
from gateway.probes.network.layer import OK
from gateway.probes.network.rtnetlink import Link, Outlet
from gateway.probes.network.scan import Cell, Security
from gateway.probes.network.settings import Internet, Page, Wifi
from gateway.probes.network.way import Way
from gateway.probes.network.wifi import Visit, WifiProbe
from gateway.probes.outcome import State
from gateway.probes.probe import Probe
from simulators.commune import Commune, SimGateway
from simulators.hamlet import FarPlaces, Fault, Place, stand
from wire.identity import GatewayId, SourceId

KINDS: Final = ("loudspeaker", "camera", "internet", "wifi")
_SSID: Final = "Wifi cong cong"
_LINK: Final = Link(index=1, name="sim0", up=True, carrier=True, loopback=False)
# A line without neighbours, as a modem's is: nothing between us and the far end that could be asked.
_OUTLET: Final = Outlet(_LINK, ("10.64.0.2",), routed=True, gateway="")
_FAULTS: Final = (Fault.NONE, Fault.MUTE_HORN, Fault.FROZEN_PICTURE, Fault.LOGIN_PAGE, Fault.NO_DNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """Seconds between two runs. A picture takes a decoder's process, so cameras have their own, and may go without."""

    every_s: float = 300.0
    camera_s: float = 900.0
    picture: bool = True


@dataclass(slots=True)
class Infrastructure:
    """What one gateway looks after, and in which hamlet each thing is."""

    loudspeakers: list[Loudspeaker] = field(default_factory=list)
    cameras: list[Camera] = field(default_factory=list)
    lines: list[Probe] = field(default_factory=list)
    hamlets: dict[SourceId, str] = field(default_factory=dict)

    def furnish(self, code: str, place: Place, rhythm: Rhythm, clock: Clock) -> None:
        """Add one hamlet, by its code."""
        self.loudspeakers.append(_loudspeaker(code, place, rhythm))
        self.cameras.append(_camera(code, place, rhythm))
        self.lines += [_internet(code, place, rhythm, clock), _wifi(code, place, rhythm, clock)]
        self.hamlets |= {_source(kind, code): code for kind in KINDS}


@dataclass(frozen=True, slots=True)
class _SimulatedWay(Way):
    """A hamlet's own way out. It leads to loopback, with the kernel's word of an interface that there is none of."""

    hamlet: str = ""

    @property
    def name(self) -> str:
        return self.hamlet

    def outlet(self) -> Outlet | None:
        return _OUTLET


@dataclass(frozen=True, slots=True)
class _SimulatedRadio:
    """A guest's radio that hears one open network, and is taken."""

    cell: Cell

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[Visit]:
        yield Visit(cell=self.cell, associated=OK)


@asynccontextmanager
async def stand_up(
    commune: Commune, clock: Clock, rhythm: Rhythm, *, faults: bool
) -> AsyncIterator[Mapping[GatewayId, Infrastructure]]:
    """Have all of a commune's while the context is open.

    With `faults`, of the hamlets counted from the mouth the second has a horn that is reached and not heard, the third
    a camera whose picture stands still, the fourth a wifi with a login page, the fifth a line whose resolvers refuse.
    """
    made: dict[GatewayId, Infrastructure] = {}
    number = 0
    async with AsyncExitStack() as stack:
        for gateway in commune.gateways:
            around = made[gateway.gateway_id] = Infrastructure()
            for code in gateway.hamlets:
                fault = _FAULTS[number] if faults and number < len(_FAULTS) else Fault.NONE
                place = await stand(stack, fault, lambda: clock.now().wall_ms / 1000)
                around.furnish(code, place, rhythm, clock)
                number += 1
        yield made


def _source(kind: str, code: str) -> SourceId:
    return SourceId.parse(f"{kind}:{code}")


def _loudspeaker(code: str, place: Place, rhythm: Rhythm) -> Loudspeaker:
    return Loudspeaker(
        name=code,
        every_s=rhythm.every_s,
        timeout_s=min(15.0, rhythm.every_s - 10),
        rungs=["reach", "link", "sound"],
        sip=[Sip(host="127.0.0.1", port=place.sip)],
        http=[Http(url=place.page, registered="registered", sound="test")],
    )


def _camera(code: str, place: Place, rhythm: Rhythm) -> Camera:
    return Camera(
        name=code,
        host=place.host,
        port=place.camera,
        stream="/main",
        onvif_port=0,
        picture=rhythm.picture,
        every_s=rhythm.camera_s,
        deadline_s=min(60.0, rhythm.camera_s),
        stream_s=min(15.0, rhythm.camera_s - 15),
    )


def _internet(code: str, place: Place, rhythm: Rhythm, clock: Clock) -> Probe:
    asked = _asked(place.line)
    return InternetProbe(
        source=_source("internet", code),
        every_s=rhythm.every_s,
        deadline_s=min(asked.deadline_s, rhythm.every_s),
        way=_SimulatedWay(Budget(clock), hamlet=code),
        reach=reach_of(asked, clock),
    )


def _wifi(code: str, place: Place, rhythm: Rhythm, clock: Clock) -> Probe:
    settings = Wifi(name=code, every_s=rhythm.every_s, radio=f"{_LINK.name}-{code}", ssid=_SSID)
    cell = Cell(bssid="02:00:00:00:00:01", ssid=_SSID, security=Security.OPEN, signal_dbm=-58.0)
    return WifiProbe(
        source=_source("wifi", code),
        every_s=rhythm.every_s,
        deadline_s=min(settings.deadline_s, rhythm.every_s),
        guest=_SimulatedRadio(cell),
        settings=settings,
        way=_SimulatedWay(Budget(clock), hamlet=code),
        reach=reach_of(_asked(place.wifi), clock),
    )


def _asked(far: FarPlaces) -> Internet:
    """Return what is asked of a line whose far end is this one: nobody else is there."""
    return Internet(
        resolvers=(far.resolver,),
        hostname="known.example",
        absent_below="example",
        targets=tuple(f"tcp://127.0.0.1:{port}" for port in far.targets),
        connects=2,
        page=[Page(url=f"{far.pages}/204"), Page(url=f"{far.pages}/known", body="xom\n")],
    )


def name_of(code: int) -> str:
    """Return a probe's state by its number."""
    return next((state.value for state in State if state.code == code), str(code))


def sources_of(village: SimGateway, infrastructure: Infrastructure) -> list[str]:
    """Return the registry's lines about them."""
    lines = []
    for source, hamlet in infrastructure.hamlets.items():
        lines += ["[[source]]", f'gateway = "{village.gateway_id}"', f'id = "{source}"', f'unit = "{hamlet}"', ""]
    return lines
