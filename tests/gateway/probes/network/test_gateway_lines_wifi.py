"""Public wifi: iw's text, and NetworkManager as a stand-in on a private bus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Message, Variant
from hypothesis import given
from hypothesis import strategies as st

from gateway.probes.credentials import Credentials
from gateway.probes.errors import ProbeError
from gateway.probes.network.iw import Iw
from gateway.probes.network.layer import DNS, HTTP, OK, TRANSPORT, Layer
from gateway.probes.network.network_manager import NetworkManager
from gateway.probes.network.scan import Security, read_link, read_scan, read_station, strongest
from gateway.probes.network.settings import Page, Wifi
from gateway.probes.network.wifi import Guest, WifiProbe, reach_layer
from gateway.probes.outcome import Outcome, Reason, State
from simulators.lines import FarEnd, PageFault
from tests.gateway.probes.network.lines_bed import reach, way
from tests.gateway.probes.network.lines_bus import Answer, private_bus, stand_in, variants
from wire.identity import SourceId

__all__ = ["private_bus"]
NAME = "org.freedesktop.NetworkManager"
POINT = "02:00:00:00:01:00"

SCAN = r"""BSS 02:00:00:00:01:00(on wlan1)
    freq: 2437
    capability: ESS ShortSlotTime (0x0401)
    signal: -61.00 dBm
    SSID: Nh\xc3\xa0 v\xc4\x83n h\xc3\xb3a
BSS 02:00:00:00:02:00(on wlan1) -- associated
    capability: ESS Privacy ShortSlotTime (0x0411)
    signal: -48.00 dBm
    SSID: UBND
    RSN:     * Version: 1
         * Group cipher: CCMP
         * Authentication suites: PSK SAE
BSS 02:00:00:00:03:00(on wlan1)
    capability: ESS Privacy (0x0011)
    signal: -70.00 dBm
    SSID: owe
    RSN:     * Authentication suites: OWE
BSS 02:00:00:00:04:00(on wlan1)
    capability: ESS Privacy (0x0011)
    signal: -80.00 dBm
    SSID: big
    RSN:     * Authentication suites: IEEE 802.1X
BSS 02:00:00:00:05:00(on wlan1)
    capability: ESS Privacy (0x0011)
    signal: -90.00 dBm
    SSID: old
BSS 02:00:00:00:06:00(on wlan1)
    capability: ESS (0x0001)
    signal: -85.00 dBm
    SSID: Nh\xc3\xa0 v\xc4\x83n h\xc3\xb3a
"""
LINK = "Connected to 02:00:00:00:02:00 (on wlan1)\n\tSSID: UBND\n\tfreq: 2437\n\tsignal: -50 dBm\n"
STATION = "Station 02:00:00:00:02:00 (on wlan1)\n\ttx packets:\t120\n\ttx retries:\t7\n\ttx failed:\t3\n"


def test_a_scan_tells_names_signals_and_what_a_guest_needs() -> None:
    cells = read_scan(SCAN)
    assert [cell.security for cell in cells] == [
        Security.OPEN, Security.PSK, Security.OWE, Security.ENTERPRISE, Security.WEP, Security.OPEN,
    ]  # fmt: skip
    best = strongest(cells, "Nhà văn hóa")
    assert best is not None
    assert (best.bssid, best.signal_dbm) == (POINT, -61.0)
    assert strongest(cells, "elsewhere") is None


def test_link_and_station_tell_where_we_are() -> None:
    link = read_link(LINK)
    assert link is not None
    assert (link.bssid, link.ssid, link.signal_dbm) == ("02:00:00:00:02:00", "UBND", -50.0)
    assert read_link("Not connected.\n") is None
    assert read_station(STATION) == (120, 3)
    assert read_station("") is None


@given(st.text(max_size=300))
def test_any_text_is_read_without_a_fault(text: str) -> None:
    read_scan(f"BSS 02:00:00:00:01:00{text}")
    read_link(f"Connected to 02:00:00:00:01:00{text}")
    read_station(text)


class StandIn:
    """NetworkManager with one radio and one access point."""

    def __init__(self, *, rsn: int = 0, flags: int = 0, after: int = 100, why: int = 0, radio: int = 30) -> None:
        self.rsn, self.flags, self.after, self.why, self.radio = rsn, flags, after, why, radio
        self.ssid, self.scanned = b"free", 1
        self.joined: list[Any] = []
        self.left = 0

    def __call__(self, message: Message) -> Answer | str:
        match message.member:
            case "GetDeviceByIpIface":
                known = message.body[0] == "lo"
                return ("o", [f"/{NAME.replace('.', '/')}/Devices/1"]) if known else f"{NAME}.UnknownDevice"
            case "RequestScan":
                self.scanned += 1
                return "", []
            case "GetAllAccessPoints":
                return "ao", [["/point/1"]]
            case "AddAndActivateConnection2":
                self.joined = message.body
                return "ooa{sv}", ["/settings/1", "/active/1", {}]
            case "DeactivateConnection":
                self.left += 1
                return "", []
            case "GetAll":
                return variants(self.properties(message.body[0]))
        return "org.freedesktop.DBus.Error.UnknownMethod"

    def properties(self, interface: str) -> dict[str, tuple[str, Any]]:
        if interface.endswith(".Wireless"):
            return {"LastScan": ("x", self.scanned)}
        if interface.endswith(".AccessPoint"):
            return {
                "Ssid": ("ay", self.ssid), "Strength": ("y", 70), "HwAddress": ("s", POINT), "Flags": ("u", self.flags),
                "WpaFlags": ("u", 0), "RsnFlags": ("u", self.rsn),
            }  # fmt: skip
        state = self.after if self.joined else self.radio
        return {"DeviceType": ("u", 2), "State": ("u", state), "StateReason": ("(uu)", [state, self.why])}


def credentials(folder: Path) -> Credentials:
    path = folder / "credentials.toml"
    path.write_text('[guest]\npassword = "hunter22"\n')
    path.chmod(0o600)
    return Credentials(path)


async def visited(guest: Guest, settings: Wifi, resolver: str, target: int, page: str) -> Outcome:
    probe = WifiProbe(
        source=SourceId("wifi:nha-van-hoa"), every_s=600, deadline_s=60, guest=guest, settings=settings,
        way=way("lo"), reach=reach((resolver,), (f"tcp://127.0.0.1:{target}",), (Page(url=f"{page}/204"),)),
    )  # fmt: skip
    return await probe.run()


async def met(address: str, folder: Path, made: StandIn, end: FarEnd | None = None, **changes: object) -> Outcome:
    """Visit the stand-in's network; the radio is `lo`, which has an address and a far end."""
    settings = Wifi(**{"name": "a", "radio": "lo", "ssid": "free", "join_s": 1.0} | changes)  # type: ignore[arg-type]
    end = end or FarEnd()
    guest = NetworkManager(settings=settings, credentials=credentials(folder), bus=address, poll_s=0.01)
    async with (
        stand_in(address, NAME, made), end.resolver() as resolver, end.target() as target, end.pages() as page,
    ):  # fmt: skip
        return await visited(guest, settings, resolver, target, page)


async def test_an_open_wifi_is_joined_measured_and_left(private_bus: str, tmp_path: Path) -> None:
    made = StandIn()
    outcome = await met(private_bus, tmp_path, made, bssids=(POINT.upper(),))
    assert (outcome.state, outcome.rung) == (State.OK, "reach"), outcome
    values = {one.name: one.value for one in outcome.figures}
    assert (values["wifi_security"], values["wifi_strength"]) == (0.0, 70.0)
    assert made.left == 1
    assert made.joined[0]["ipv4"]["ignore-auto-dns"] == Variant("b", True)


async def test_a_password_goes_to_networkmanager_alone(private_bus: str, tmp_path: Path) -> None:
    made = StandIn(rsn=0x100, flags=1)
    outcome = await met(private_bus, tmp_path, made, credentials="guest")
    assert outcome.state is State.OK
    assert made.joined[0]["802-11-wireless-security"]["psk"].value == "hunter22"
    assert "hunter22" not in repr(outcome)


@pytest.mark.parametrize(
    ("made", "changes", "state", "rung", "reason"),
    [
        (StandIn(), {"ssid": "elsewhere"}, State.FAIL, "radio", Reason.NOT_FOUND),
        (StandIn(rsn=0x100, flags=1), {}, State.UNKNOWN, "seen", Reason.CREDENTIALS_MISSING),
        (StandIn(after=120, why=7), {}, State.FAIL, "seen", Reason.UNAUTHORISED),
        (StandIn(after=120, why=11), {}, State.FAIL, "seen", Reason.NO_ASSOCIATION),
        (StandIn(after=50), {}, State.FAIL, "seen", Reason.NO_ASSOCIATION),
        (StandIn(), {"bssids": ("02:00:00:00:0f:0f",)}, State.DEGRADED, "reach", Reason.WRONG_DEVICE),
        (StandIn(rsn=0x800), {}, State.OK, "reach", Reason.NONE),
    ],
)
async def test_each_fault_of_a_wifi_has_its_rung(
    private_bus: str, tmp_path: Path, made: StandIn, changes: dict[str, Any], state: State, rung: str, reason: Reason
) -> None:
    outcome = await met(private_bus, tmp_path, made, None, **changes)
    assert (outcome.state, outcome.rung, outcome.reason) == (state, rung, reason), outcome


async def test_a_portal_is_told_from_no_reach(private_bus: str, tmp_path: Path) -> None:
    outcome = await met(private_bus, tmp_path, StandIn(), FarEnd(page_fault=PageFault.LOGIN))
    assert (outcome.state, outcome.rung, outcome.reason) == (State.FAIL, "address", Reason.PORTAL)
    lost = {DNS: OK, TRANSPORT: Layer.failed(Reason.TIMEOUT), HTTP: Layer.failed(Reason.TIMEOUT)}
    assert reach_layer(lost).reason is Reason.TIMEOUT


@pytest.mark.parametrize("made", [StandIn(radio=20), StandIn(radio=10), None])
async def test_without_a_radio_nothing_is_said_of_the_wifi(
    private_bus: str, tmp_path: Path, made: StandIn | None
) -> None:
    with pytest.raises(ProbeError) as caught:
        await met(private_bus, tmp_path, made or StandIn(), radio="lo" if made else "wlan9")
    assert caught.value.outcome.state is State.UNKNOWN


async def said(folder: Path, *, ssid: str = "UBND", scan: str = SCAN, link: str = LINK, code: int = 0) -> Outcome:
    """Visit through a stand-in for iw: a script that prints text of our own."""
    for name, text in (("scan", scan), ("link", link), ("dump", STATION)):
        (folder / name).write_text(text)
    program = folder / "iw"
    program.write_text(f'#!/bin/sh\nfor word; do last=$word; done\ncat "{folder}/$last"\nexit {code}\n')
    program.chmod(0o700)
    settings, end = Wifi(name="a", radio="lo", ssid=ssid, via="iw"), FarEnd()
    async with end.resolver() as resolver, end.target() as target, end.pages() as page:
        return await visited(Iw(settings=settings, program=str(program)), settings, resolver, target, page)


async def test_iw_shows_a_guest_that_the_installer_has_set_up(tmp_path: Path) -> None:
    outcome = await said(tmp_path)
    assert (outcome.state, outcome.rung) == (State.OK, "reach"), outcome
    assert {one.name: one.value for one in outcome.figures}["wifi_rssi"] == -50.0
    assert (await said(tmp_path, link="Not connected.\n")).reason is Reason.NO_ASSOCIATION
    weak = await said(tmp_path, ssid="big", link="Not connected.\n")
    assert (weak.state, weak.rung, weak.reason) == (State.FAIL, "radio", Reason.WEAK_SIGNAL)
    assert (await said(tmp_path, ssid="owe")).reason is Reason.MISCONFIGURED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("command failed: Operation not permitted (-1)\n", Reason.NO_PERMISSION),
        ("command failed: No such device (-19)\n", Reason.NO_EQUIPMENT),
        ("command failed: Device or resource busy (-16)\n", Reason.PROBE_ERROR),
    ],
)
async def test_what_iw_cannot_do_is_unknown(tmp_path: Path, text: str, reason: Reason) -> None:
    with pytest.raises(ProbeError) as caught:
        await said(tmp_path, scan=text, code=1)
    assert caught.value.reason is reason


async def test_no_radio_and_no_iw_are_equipment_of_ours() -> None:
    for radio, program in (("wlan9", "iw"), ("lo", "no-such-iw")):
        with pytest.raises(ProbeError) as caught:
            async with Iw(settings=Wifi(name="a", radio=radio, ssid="x"), program=program).visit():
                pass
        assert caught.value.reason is Reason.NO_EQUIPMENT
