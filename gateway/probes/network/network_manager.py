"""A guest whom NetworkManager drives: scan, join as a volatile connection, leave (org.freedesktop.NetworkManager)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from dbus_fast import Variant

from gateway.probes.credentials import Credentials
from gateway.probes.errors import ProbeError
from gateway.probes.network.bus import Refused, Service, connected
from gateway.probes.network.layer import OK, Layer
from gateway.probes.network.scan import Cell, Security, strongest
from gateway.probes.network.settings import Wifi
from gateway.probes.network.wifi import Visit
from gateway.probes.outcome import Reason

_NAME: Final = "org.freedesktop.NetworkManager"
_ROOT: Final = "/org/freedesktop/NetworkManager"
_DEVICE: Final = f"{_NAME}.Device"
_WIRELESS: Final = f"{_DEVICE}.Wireless"
_POINT: Final = f"{_NAME}.AccessPoint"
_MOST_POINTS: Final = 128
_MOST_DEVICES: Final = 64

# NM80211ApFlags, NM80211ApSecurityFlags, NMDeviceType, NM80211Mode, NMDeviceState,
# NMDeviceStateReason.
_PRIVACY, _PSK, _ENTERPRISE, _SAE, _OWE = 0x1, 0x100, 0x200 | 0x2000, 0x400, 0x800 | 0x1000
_WIFI_DEVICE: Final = 2
_ACCESS_POINT: Final = 3
_UNMANAGED, _UNAVAILABLE, _IP_CONFIG, _ACTIVATED, _FAILED = 10, 20, 70, 100, 120
_NO_SECRETS: Final = 7
# Beside the way out that the machine has: its default route keeps the lower metric.
_METRIC: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkManager:
    """`bus` is an address in place of the system's bus; `scan_s` how long a scan may take."""

    settings: Wifi
    credentials: Credentials
    bus: str | None = None
    scan_s: float = 8.0
    poll_s: float = 0.25

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[Visit]:
        """Join the network, hold it, leave it; raises ProbeError."""
        password = self.credentials.of(self.settings.credentials).password
        async with connected(_NAME, self.bus) as service:
            try:
                device = await self._radio(service)
                point, cell = await self._look(service, device)
            except Refused as refused:
                raise ProbeError(Reason.PROBE_ERROR, str(refused)) from refused
            if cell is None or point is None:
                yield Visit()
                return
            if cell.security in (Security.ENTERPRISE, Security.WEP) or (cell.security is Security.PSK and not password):
                why = f"{cell.security.name.lower()} and no password in the credentials file"
                yield Visit(cell=cell, associated=Layer.failed(Reason.CREDENTIALS_MISSING, why))
                return
            active, associated = await self._join(service, device, point, cell, password)
            try:
                yield Visit(cell=cell, associated=associated)
            finally:
                if active:
                    with suppress(Refused, ProbeError):  # it has ended by itself
                        await service.call(_ROOT, _NAME, "DeactivateConnection", "o", active)

    async def _radio(self, service: Service) -> str:
        radio = self.settings.radio
        try:
            device = str((await service.call(_ROOT, _NAME, "GetDeviceByIpIface", "s", radio))[0])
        except Refused as refused:
            raise ProbeError(Reason.NO_EQUIPMENT, f"there is no radio {radio}: `nmcli device` lists them") from refused
        known = await service.properties(device, _DEVICE)
        if known.get("DeviceType") != _WIFI_DEVICE:
            raise ProbeError(Reason.MISCONFIGURED, f"{radio} is no wifi radio")
        if known.get("State") == _UNMANAGED:
            raise ProbeError(Reason.MISCONFIGURED, f"NetworkManager has been told to leave {radio} alone")
        if known.get("State") == _UNAVAILABLE:
            raise ProbeError(Reason.NO_EQUIPMENT, f"{radio} is switched off: `rfkill list` says by what")
        return device

    async def _look(self, service: Service, device: str) -> tuple[str | None, Cell | None]:
        """Scan, and return the best access point of the network."""
        cells = await _scanned(service, device, scan_s=self.scan_s, poll_s=self.poll_s)
        best = strongest(cells.values(), self.settings.ssid)
        return next((path for path, cell in cells.items() if cell is best), None), best

    async def _join(self, service: Service, device: str, point: str, cell: Cell, password: str) -> tuple[str, Layer]:
        """Return the active connection's path and whether the access point took us; the address is seen elsewhere."""
        options = {"persist": Variant("s", "volatile"), "bind-activation": Variant("s", "dbus-client")}
        try:
            made = await service.call(
                _ROOT, _NAME, "AddAndActivateConnection2", "a{sa{sv}}ooa{sv}",
                connection_of(self.settings, cell, password), device, point, options,
            )  # fmt: skip
        except Refused as refused:
            return "", Layer.failed(Reason.NO_ASSOCIATION, str(refused))
        active, ends_at = str(made[1]), time.monotonic() + self.settings.join_s
        try:
            while time.monotonic() < ends_at:
                known = await service.properties(device, _DEVICE)
                state = known.get("State")
                if isinstance(state, int) and _IP_CONFIG <= state <= _ACTIVATED:
                    return active, OK
                if state == _FAILED:
                    return active, _refusal(known.get("StateReason"))
                await asyncio.sleep(self.poll_s)
        except Refused as refused:
            return active, Layer.failed(Reason.NO_ASSOCIATION, str(refused))
        return active, Layer.failed(Reason.NO_ASSOCIATION, f"not taken within {self.settings.join_s:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What one radio hears. `problem` is why it hears nothing, Reason.NONE where it does."""

    radio: str
    cells: tuple[Cell, ...] = ()
    problem: Reason = Reason.NONE
    explanation: str = ""


async def surroundings(bus: str | None = None, *, scan_s: float = 8.0, poll_s: float = 0.25) -> list[Surroundings]:
    """Return what each wifi radio hears; raises ProbeError. Nothing is joined, nothing is left."""
    async with connected(_NAME, bus) as service:
        try:
            devices = (await service.call(_ROOT, _NAME, "GetDevices"))[0]
            named = [str(one) for one in (devices if isinstance(devices, list) else [])[:_MOST_DEVICES]]
            known = [(one, await service.properties(one, _DEVICE)) for one in named]
            radios = [(one, table) for one, table in known if table.get("DeviceType") == _WIFI_DEVICE]
            return [await _heard_by(service, one, table, scan_s=scan_s, poll_s=poll_s) for one, table in radios]
        except Refused as refused:
            raise ProbeError(Reason.PROBE_ERROR, str(refused)) from refused


async def _heard_by(
    service: Service, device: str, known: Mapping[str, object], *, scan_s: float, poll_s: float
) -> Surroundings:
    radio = str(known.get("Interface", ""))[:15]
    if known.get("State") == _UNMANAGED:
        why = f"NetworkManager has been told to leave {radio} alone"
        return Surroundings(radio=radio, problem=Reason.MISCONFIGURED, explanation=why)
    if known.get("State") == _UNAVAILABLE:
        why = f"{radio} is switched off: `rfkill list` says by what"
        return Surroundings(radio=radio, problem=Reason.NO_EQUIPMENT, explanation=why)
    if (await service.properties(device, _WIRELESS)).get("Mode") == _ACCESS_POINT:
        return Surroundings(radio=radio, problem=Reason.BUSY, explanation=f"{radio} is an access point itself")
    cells = await _scanned(service, device, scan_s=scan_s, poll_s=poll_s)
    return Surroundings(radio=radio, cells=tuple(cells.values()))


async def _scanned(service: Service, device: str, *, scan_s: float, poll_s: float) -> dict[str, Cell]:
    """Scan, and return what is heard by its path."""
    before = (await service.properties(device, _WIRELESS)).get("LastScan")
    with suppress(Refused):  # one has just been made: its list is as good
        await service.call(device, _WIRELESS, "RequestScan", "a{sv}", {})
        ends_at = time.monotonic() + scan_s
        while time.monotonic() < ends_at:
            if (await service.properties(device, _WIRELESS)).get("LastScan") != before:
                break
            await asyncio.sleep(poll_s)
    points = (await service.call(device, _WIRELESS, "GetAllAccessPoints"))[0]
    cells: dict[str, Cell] = {}
    for point in (points if isinstance(points, list) else [])[:_MOST_POINTS]:
        with suppress(Refused):  # it has gone since
            cells[str(point)] = _cell(dict(await service.properties(str(point), _POINT)))
    return cells


def connection_of(settings: Wifi, cell: Cell, password: str) -> dict[str, dict[str, Variant]]:
    """Return the connection as NetworkManager wants it. It takes over neither the machine's way out nor its DNS."""
    connection = {
        "connection": {
            "id": Variant("s", f"xom-{settings.name}"),
            "type": Variant("s", "802-11-wireless"),
            "interface-name": Variant("s", settings.radio),
            "autoconnect": Variant("b", False),
        },
        "802-11-wireless": {
            "ssid": Variant("ay", settings.ssid.encode()),
            "mode": Variant("s", "infrastructure"),
        },
        "ipv4": {
            "method": Variant("s", "auto"),
            "route-metric": Variant("x", _METRIC),
            "ignore-auto-dns": Variant("b", True),
        },
        "ipv6": {"method": Variant("s", "ignore")},
    }
    if cell.security is Security.OWE:
        connection["802-11-wireless-security"] = {"key-mgmt": Variant("s", "owe")}
    elif cell.security is Security.PSK:
        management = "sae" if cell.sae_only else "wpa-psk"
        connection["802-11-wireless-security"] = {
            "key-mgmt": Variant("s", management),
            "psk": Variant("s", password),
        }
    return connection


def _cell(known: dict[str, object]) -> Cell:
    ssid, strength, privacy = known.get("Ssid"), known.get("Strength"), known.get("Flags")
    keys = _bits(known.get("WpaFlags")) | _bits(known.get("RsnFlags"))
    return Cell(
        bssid=str(known.get("HwAddress", "")).lower()[:17],
        ssid=bytes(ssid).decode("utf-8", "replace") if isinstance(ssid, bytes | list) else "",
        security=_security(keys, _bits(privacy)),
        strength_percent=float(strength) if isinstance(strength, int) and 0 <= strength <= 100 else None,
        sae_only=bool(keys & _SAE) and not keys & _PSK,
    )


def _bits(value: object) -> int:
    return value if isinstance(value, int) else 0


def _security(keys: int, flags: int) -> Security:
    if keys & _ENTERPRISE:
        return Security.ENTERPRISE
    if keys & (_PSK | _SAE):
        return Security.PSK
    if keys & _OWE:
        return Security.OWE
    return Security.WEP if flags & _PRIVACY else Security.OPEN


def _refusal(why: object) -> Layer:
    reason = why[1] if isinstance(why, list) and len(why) > 1 else 0
    if reason == _NO_SECRETS:
        return Layer.failed(Reason.UNAUTHORISED, "the password is not accepted")
    return Layer.failed(Reason.NO_ASSOCIATION, f"the access point does not take us (NetworkManager's reason {reason})")
