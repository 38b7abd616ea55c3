"""What a simulated hamlet has beside its sensors: a loudspeaker, a camera, a line to the internet, a public wifi.

The probes are those of the product, and what they talk to are real sockets on loopback. Only what no machine has on
request is put in their place: the kernel's word about an interface, and a radio.
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
from simulators.camera_player import CameraPlayer, served
from simulators.commune import Commune, SimGateway
from simulators.lines import DnsFault, FarEnd, PageFault
from simulators.loudspeaker_http import HttpSpeaker
from simulators.loudspeaker_sip import SipSpeaker
from wire.identity import GatewayId, SourceId

KINDS: Final = ("loudspeaker", "camera", "internet", "wifi")
_SSID: Final = "Wifi cong cong"
_LINK: Final = Link(index=1, name="sim0", up=True, carrier=True, loopback=False)
# A line without neighbours, as a modem's is: nothing between us and the far end that could be asked.
_OUTLET: Final = Outlet(_LINK, ("10.64.0.2",), routed=True, gateway="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """Seconds between two runs. A picture takes a decoder's process, so cameras have their own, and may go without."""

    every_s: float = 300.0
    camera_s: float = 900.0
    picture: bool = True


@dataclass(slots=True)
class Infrastructure:
    """What one gateway looks after."""

    loudspeakers: list[Loudspeaker] = field(default_factory=list)
    cameras: list[Camera] = field(default_factory=list)
    lines: list[Probe] = field(default_factory=list)
    hamlets: dict[SourceId, str] = field(default_factory=dict)


class _SimulatedWay(Way):
    """A way out that leads to loopback, with the kernel's word of an interface that there is none of."""

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
    """Have it all while the context is open.

    With `faults`, of the hamlets counted from the mouth the second has a horn that is reached and not heard, the third
    a camera whose picture stands still, the fourth a wifi with a login page, the fifth a line whose resolvers refuse.
    """
    made = {gateway.gateway_id: Infrastructure() for gateway in commune.gateways}
    order = [hamlet for gateway in commune.gateways for hamlet in gateway.hamlets]
    async with AsyncExitStack() as stack:
        for gateway in commune.gateways:
            for hamlet in gateway.hamlets:
                number = order.index(hamlet) + 1 if faults else 0
                place = _Hamlet(hamlet, number, clock, rhythm, stack)
                await place.furnish(made[gateway.gateway_id])
        yield made


@dataclass(frozen=True, slots=True)
class _Hamlet:
    """One hamlet; `number` counts from 1 and chooses the fault, 0 has none."""

    code: str
    number: int
    clock: Clock
    rhythm: Rhythm
    stack: AsyncExitStack

    async def furnish(self, into: Infrastructure) -> None:
        into.loudspeakers.append(await self._loudspeaker())
        into.cameras.append(await self._camera())
        into.lines += [await self._internet(), await self._wifi()]
        into.hamlets |= {self._source(kind): self.code for kind in KINDS}

    def _source(self, kind: str) -> SourceId:
        return SourceId.parse(f"{kind}:{self.code}")

    async def _loudspeaker(self) -> Loudspeaker:
        sip = await self.stack.enter_async_context(SipSpeaker())
        page: dict[str, object] = {"registered": True, "test": "failed" if self.number == 2 else "passed"}
        http = await self.stack.enter_async_context(HttpSpeaker(page=page))
        return Loudspeaker(
            name=self.code,
            every_s=self.rhythm.every_s,
            rungs=["reach", "link", "sound"],
            sip=[Sip(host="127.0.0.1", port=sip.port)],
            http=[Http(url=f"{http.url}/status", registered="registered", sound="test")],
        )

    async def _camera(self) -> Camera:
        player = CameraPlayer("frozen" if self.number == 3 else "moving", lambda: self.clock.now().wall_ms / 1000)
        port = await self.stack.enter_async_context(served(player))
        return Camera(
            name=self.code, host="127.0.0.1", port=port, stream="/main", onvif_port=0, picture=self.rhythm.picture,
            every_s=self.rhythm.camera_s,
        )  # fmt: skip

    async def _internet(self) -> Probe:
        far = FarEnd(dns_fault=DnsFault.REFUSES if self.number == 5 else DnsFault.NONE)
        asked = await self._asked(far)
        return InternetProbe(
            source=self._source("internet"),
            every_s=self.rhythm.every_s,
            deadline_s=asked.deadline_s,
            way=self._way(),
            reach=reach_of(asked, self.clock),
        )

    async def _wifi(self) -> Probe:
        far = FarEnd(page_fault=PageFault.LOGIN if self.number == 4 else PageFault.NONE)
        settings = Wifi(name=self.code, every_s=self.rhythm.every_s, radio=_LINK.name, ssid=_SSID)
        cell = Cell(bssid="02:00:00:00:00:01", ssid=_SSID, security=Security.OPEN, signal_dbm=-58.0)
        return WifiProbe(
            source=self._source("wifi"),
            every_s=self.rhythm.every_s,
            deadline_s=settings.deadline_s,
            guest=_SimulatedRadio(cell),
            settings=settings,
            way=self._way(),
            reach=reach_of(await self._asked(far), self.clock),
        )

    def _way(self) -> Way:
        return _SimulatedWay(Budget(self.clock))

    async def _asked(self, far: FarEnd) -> Internet:
        """Return what is asked of a line whose far end is this one, twice: nobody else is there."""
        resolver = await self.stack.enter_async_context(far.resolver())
        pages = await self.stack.enter_async_context(far.pages())
        targets = [await self.stack.enter_async_context(far.target()) for _ in range(2)]
        return Internet(
            resolvers=(resolver,),
            hostname="known.example",
            absent_below="example",
            targets=tuple(f"tcp://127.0.0.1:{port}" for port in targets),
            connects=2,
            page=[Page(url=f"{pages}/204"), Page(url=f"{pages}/known", body="xom\n")],
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
