"""One search: every family that is wanted, beside each other but for what shares a port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Final

from gateway.discover import cameras, loudspeakers, modems, serial, serial_findings, wifi
from gateway.discover.finding import Family, Finding, Unsearched
from gateway.discover.known import Known
from gateway.discover.names import Names
from gateway.discover.places import Places, places_of
from gateway.discover.serial import Manner, one_port_a_modem
from gateway.discover.serial_ports import Tree, serial_ports
from gateway.discover.sweep import PORT
from gateway.language import Text
from gateway.probes.cameras.discovery import GROUP
from gateway.probes.errors import ProbeError
from gateway.probes.limits import shown_text
from gateway.probes.network.rtnetlink import find_outlet, own_addresses

Progress = Callable[[Family, Text], None]
Result = tuple[list[Finding], list[Unsearched]]

_NETWORKED: Final = frozenset({Family.CAMERA, Family.LOUDSPEAKER})
_AT_PORTS: Final = frozenset({Family.MODEM, Family.SERIAL})
_BEGINNINGS: Final = {
    Family.CAMERA: Text("đang tìm camera (WS-Discovery)…", "looking for cameras (WS-Discovery)…"),
    Family.LOUDSPEAKER: Text("đang hỏi từng máy trong mạng (SIP)…", "asking each host of the network (SIP)…"),
    Family.MODEM: Text("đang hỏi ModemManager…", "asking ModemManager…"),
    Family.SERIAL: Text("đang nghe các cổng nối tiếp…", "listening at the serial ports…"),
    Family.WIFI: Text("đang dò sóng wifi…", "scanning for wifi networks…"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to search for, and where.

    `bus` is an address in place of the system's D-Bus. `deadline_s` is the longest that one family may take.
    """

    known: Known
    families: frozenset[Family] = frozenset(Family)
    interfaces: tuple[str, ...] = ()
    networks: tuple[IPv4Network, ...] = ()
    sip_port: int = PORT
    seconds: float = 4.0
    group: tuple[str, int] = GROUP
    tree: Tree = field(default_factory=Tree)
    manner: Manner = field(default_factory=Manner)
    bus: str | None = None
    iw: str = "iw"
    deadline_s: float = 900.0

    async def run(self, progress: Progress) -> Result:
        """Return what is found and what could not be searched, by family."""
        names = self.known.names()
        parts = await asyncio.gather(
            self._networked(names, progress), self._at_ports(names, progress), self._on_the_air(names, progress)
        )
        order = list(Family)
        found = sorted((one for part in parts for one in part[0]), key=lambda one: order.index(one.family))
        left = sorted((one for part in parts for one in part[1]), key=lambda one: order.index(one.family))
        return found, left

    async def _networked(self, names: dict[str, Names], progress: Progress) -> Result:
        """Cameras and loudspeakers."""
        wanted = self.families & _NETWORKED
        if not wanted:
            return [], []
        try:
            places = places_of(own_addresses(), self.interfaces, self.networks)
        except ProbeError as error:
            return [], [_broken(family, str(error)) for family in wanted]
        parts = await asyncio.gather(
            *(
                self._within(family, search(places, names), progress)
                for family, search in ((Family.CAMERA, self._cameras), (Family.LOUDSPEAKER, self._loudspeakers))
                if family in wanted
            )
        )
        return [one for part in parts for one in part[0]], [one for part in parts for one in part[1]]

    async def _cameras(self, places: Places, names: dict[str, Names]) -> Result:
        found, left = await cameras.search(places.own, seconds=self.seconds, group=self.group)
        return cameras.findings(found, self.known, names["camera"], places.local), left

    async def _loudspeakers(self, places: Places, names: dict[str, Names]) -> Result:
        answered, left = await loudspeakers.search(places, port=self.sip_port)
        return loudspeakers.findings(answered, self.known, names["loudspeaker"]), left

    async def _at_ports(self, names: dict[str, Names], progress: Progress) -> Result:
        """Modems first: the ports that ModemManager holds are not opened."""
        if not self.families & _AT_PORTS:
            return [], []
        managed: set[str] = set()
        found, left = await self._within(Family.MODEM, self._modems(names, managed), progress)
        more_found, more_left = await self._within(Family.SERIAL, self._serial(names, managed), progress)
        wanted = self.families
        return (
            [one for one in [*found, *more_found] if one.family in wanted],
            [one for one in [*left, *more_left] if one.family in wanted],
        )

    async def _modems(self, names: dict[str, Names], managed: set[str]) -> Result:
        found, left = await modems.search(self.bus)
        managed |= {port for one in found for port in one.ports}
        return modems.findings(found, self.known, names["modem"]), left

    async def _serial(self, names: dict[str, Names], managed: set[str]) -> Result:
        ports = await asyncio.to_thread(serial_ports, self.tree)
        looked = await serial.look(ports, self.known.serial_ports, managed, self.manner, self.tree)
        if not ports:
            return [], [_no_ports()]
        return serial_findings.findings(one_port_a_modem(looked), names)

    async def _on_the_air(self, names: dict[str, Names], progress: Progress) -> Result:
        if Family.WIFI not in self.families:
            return [], []
        return await self._within(Family.WIFI, self._wifi(names), progress)

    async def _wifi(self, names: dict[str, Names]) -> Result:
        heard, left = await wifi.search(self.bus, self.iw)
        outlet = find_outlet()
        own_way = outlet.link.name if outlet is not None and outlet.routed else ""
        return wifi.findings(wifi.networks_of(heard), self.known, names["wifi"], own_way), left

    async def _within(self, family: Family, search: Awaitable[Result], progress: Progress) -> Result:
        """Search a family, say when it begins and how it ended; a deadline or a fault ends this one alone."""
        progress(family, _BEGINNINGS[family])
        try:
            async with asyncio.timeout(self.deadline_s):
                found, left = await search
        except TimeoutError:
            found, left = [], [_broken(family, f"not done within {self.deadline_s:g} s")]
        except (ProbeError, OSError) as error:
            found, left = [], [_broken(family, str(error))]
        progress(family, Text(f"tìm thấy {len(found)}", f"{len(found)} found"))
        return found, left


def _broken(family: Family, detail: str) -> Unsearched:
    return Unsearched(
        family=family,
        thing=family.value,
        what=Text("việc tìm kiếm bị dừng giữa chừng", "the search broke off"),
        remedy=Text("chạy lại; nếu vẫn vậy, gửi dòng dưới cho người vận hành", "run it again; else tell the operator"),
        detail=shown_text(detail),
    )


def _no_ports() -> Unsearched:
    return Unsearched(
        family=Family.SERIAL,
        thing="serial",
        what=Text("máy này không có cổng nối tiếp nào", "this machine has no serial port"),
        remedy=Text("cắm bộ chuyển đổi USB rồi chạy lại", "plug in the USB adapter and run it again"),
    )
