"""From settings to probes. What cannot be probed is named here, at the start, not in the middle of the night."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.clock import Clock
from gateway.probes.network.budget import Budget
from gateway.probes.network.dns import encode_question
from gateway.probes.network.internet import InternetProbe
from gateway.probes.network.mobile import MobileProbe, Source
from gateway.probes.network.page import page_place
from gateway.probes.network.reach import Reach, Target, Trust
from gateway.probes.network.settings import Internet, Line, Modem, Wifi
from gateway.probes.network.way import Way
from gateway.probes.network.wifi import Guest, WifiProbe
from gateway.probes.probe import Probe
from gateway.probes.setup import Setup
from wire.configuration import ConfigError
from wire.identity import IdentityError, SourceId

_LONGEST_INTERFACE = 15  # IFNAMSIZ less the end
_DEFAULT_LINE = Line(name="main")


@dataclass(slots=True)
class _Ways:
    """One way for each interface, so that all that is spent on one SIM is counted once and together."""

    setup: Setup
    ways: dict[str, Way] = field(default_factory=dict)

    def way(self, name: str, interface: str, megabytes: float) -> Way:
        if len(interface) > _LONGEST_INTERFACE or not interface.isascii() or "/" in interface:
            raise ConfigError(f"{interface!r} is no name of an interface: `ip link` lists them")
        if megabytes < 0:
            raise ConfigError(f"data_mb_per_month of {name} is below 0; 0 is no limit")
        limit = round(megabytes * 1_000_000)
        made = self.ways.get(interface)
        if made is None:
            path = self.setup.data / f"probe-data-{interface or 'default'}.json"
            made = self.ways[interface] = Way(Budget(self.setup.clock, limit, path), interface)
        elif limit:
            made.budget.limit_bytes = min(limit, made.budget.limit_bytes or limit)
        return made


def build(internet: Internet, modems: Sequence[Modem], wifis: Sequence[Wifi], setup: Setup) -> list[Probe]:
    """Return the probes; raises ConfigError."""
    reach, ways = reach_of(internet, setup.clock), _Ways(setup)
    probes: list[Probe] = []
    if internet.enabled:
        probes += [_line(one, internet, ways, reach) for one in internet.line or [_DEFAULT_LINE]]
    probes += [_modem(one, ways, reach) for one in modems]
    probes += [_wifi(one, ways, reach, setup) for one in wifis]
    return probes


def reach_of(settings: Internet, clock: Clock) -> Reach:
    """Return what is asked of every line; raises ConfigError."""
    try:
        for resolver in settings.resolvers:
            host, _, port = resolver.partition(":")
            ipaddress.IPv4Address(host)
            if port and not (port.isdigit() and 0 < int(port) < 65_536):
                raise ConfigError(f"[internet]: {resolver!r} is not address:port")  # as any other
        for page in settings.page:
            page_place(page.url)
        for name in (settings.hostname, settings.absent_below):
            encode_question(0, name)
        targets = tuple(Target.parse(text) for text in settings.targets)
    except ValueError as error:
        raise ConfigError(f"[internet]: {error}") from error
    for count, key in ((len(settings.resolvers), "resolvers"), (len(targets), "targets"), (len(settings.page), "page")):
        if not count:
            raise ConfigError(f"[internet]: {key} is empty; two that do not depend on each other are wanted")
    if not 1 <= settings.connects <= 10:
        raise ConfigError("[internet]: connects must lie between 1 and 10")
    return Reach(
        clock=clock,
        trust=Trust(),
        resolvers=settings.resolvers,
        hostname=settings.hostname,
        absent_below=settings.absent_below,
        targets=targets,
        pages=tuple(settings.page),
        connects=settings.connects,
        lossy_percent=settings.lossy_percent,
        slow_ms=settings.slow_ms,
    )


def _line(line: Line, settings: Internet, ways: _Ways, reach: Reach) -> Probe:
    return InternetProbe(
        source=_source("internet", line.name),
        every_s=settings.every_s,
        deadline_s=settings.deadline_s,
        way=ways.way(line.name, line.interface, line.data_mb_per_month),
        reach=reach,
    )


def _modem(modem: Modem, ways: _Ways, reach: Reach) -> Probe:
    if modem.via == "at" and not modem.device:
        raise ConfigError(f"modem {modem.name}: device is missing: the AT port, by its name in /dev/serial/by-id")
    if modem.weak_dbm >= modem.good_dbm:
        raise ConfigError(f"modem {modem.name}: weak_dbm must lie below good_dbm")
    way = ways.way(modem.name, modem.interface, modem.data_mb_per_month) if modem.interface else None
    return MobileProbe(
        source=_source("mobile", modem.name),
        every_s=modem.every_s,
        deadline_s=modem.deadline_s,
        modem=_modem_source(modem),
        settings=modem,
        way=way,
        reach=reach,
    )


def _modem_source(modem: Modem) -> Source:
    if modem.via == "modemmanager":
        from gateway.probes.network.modem_manager import ModemManager  # D-Bus: only where it is used

        return ModemManager(port=modem.device)
    from gateway.probes.network.at_modem import AtModem

    return AtModem(device=modem.device, baud=modem.baud, sinr=modem.sinr)


def _wifi(wifi: Wifi, ways: _Ways, reach: Reach, setup: Setup) -> Probe:
    for key in ("radio", "ssid"):
        if not getattr(wifi, key):
            raise ConfigError(f"wifi {wifi.name}: {key} is missing")
    if len(wifi.ssid.encode()) > 32:
        raise ConfigError(f"wifi {wifi.name}: an ssid has 32 bytes at most")
    return WifiProbe(
        source=_source("wifi", wifi.name),
        every_s=wifi.every_s,
        deadline_s=wifi.deadline_s,
        guest=_guest(wifi, setup),
        settings=wifi,
        way=ways.way(wifi.name, wifi.radio, 0),
        reach=reach,
    )


def _guest(wifi: Wifi, setup: Setup) -> Guest:
    if wifi.via == "networkmanager":
        from gateway.probes.network.network_manager import NetworkManager  # D-Bus: only where it is used

        return NetworkManager(settings=wifi, credentials=setup.credentials)
    from gateway.probes.network.iw import Iw

    return Iw(settings=wifi)


def _source(kind: str, name: str) -> SourceId:
    try:
        return SourceId.parse(f"{kind}:{name}")
    except IdentityError as error:
        raise ConfigError(f"{kind} {name!r}: {error}") from error
