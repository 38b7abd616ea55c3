"""Modems and wifi: stand-ins for ModemManager and NetworkManager on a private bus, and iw's text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Message, Variant

from gateway.discover import modems, wifi
from gateway.discover.finding import Finding, Standing
from gateway.discover.known import Known, Sections
from gateway.discover.names import Names
from gateway.discover.wifi import Heard, networks_of
from gateway.probes.network.scan import Cell, Security, read_radios
from gateway.probes.network.settings import Modem, Wifi
from tests.gateway.probes.network.lines_bus import Answer, private_bus, stand_in, variants
from tests.gateway.probes.network.test_gateway_lines_wifi import SCAN

__all__ = ["private_bus"]
MODEM_MANAGER, NETWORK_MANAGER = "org.freedesktop.ModemManager1", "org.freedesktop.NetworkManager"
IMEI = "866758042319055"


def modem_manager(message: Message) -> Answer | str:
    """One modem with a SIM, and something that is none."""
    if message.member != "GetManagedObjects":
        return "org.freedesktop.DBus.Error.UnknownMethod"
    modem = {
        "PrimaryPort": Variant("s", "cdc-wdm0"), "Manufacturer": Variant("s", "QUALCOMM\x1b[31m"),
        "Model": Variant("s", "EC25"), "EquipmentIdentifier": Variant("s", IMEI),
        "OwnNumbers": Variant("as", ["+84900000000"]),
        "Ports": Variant("a(su)", [["cdc-wdm0", 6], ["ttyUSB2", 3], ["wwan0", 2]]),
    }  # fmt: skip
    network = {"OperatorName": Variant("s", "Viettel"), "Imei": Variant("s", IMEI)}
    interfaces = {f"{MODEM_MANAGER}.Modem": modem, f"{MODEM_MANAGER}.Modem.Modem3gpp": network}
    return "a{oa{sa{sv}}}", [{"/m/0": interfaces, "/m/1": {"other": {"a": Variant("s", "b")}}}]


async def found_modems(bus: str, *known: Modem) -> list[Finding]:
    async with stand_in(bus, MODEM_MANAGER, modem_manager):
        found, left = await modems.search(bus)
    assert left == []
    had = Known(sections=Sections(modem=list(known)))
    return modems.findings(found, had, had.names()["modem"])


async def test_a_modem_of_modemmanager_is_named_by_its_operator_and_without_its_imei(private_bus: str) -> None:
    [found] = await found_modems(private_bus)
    assert found.section is not None
    assert found.section.settings == Modem(name="viettel", via="modemmanager", device="cdc-wdm0")
    assert found.facts["ports"] == ["cdc-wdm0", "ttyUSB2", "wwan0"]
    assert IMEI not in repr(found)
    assert "\x1b" not in repr(found)


@pytest.mark.parametrize(
    ("known", "standing"),
    [
        (Modem(name="viettel", via="modemmanager", device="cdc-wdm0"), Standing.KNOWN),
        (Modem(name="viettel", via="modemmanager"), Standing.KNOWN),
        (Modem(name="viettel", via="at", device="/dev/ttyUSB2"), Standing.KNOWN),
        (Modem(name="viettel", via="at", device="/dev/ttyUSB9"), Standing.NEW),
    ],
)
async def test_a_modem_that_is_configured_is_not_proposed_again(
    private_bus: str, known: Modem, standing: Standing
) -> None:
    [found] = await found_modems(private_bus, known)
    assert found.standing is standing
    if found.section is not None:
        assert isinstance(found.section.settings, Modem)
        assert found.section.settings.name == "viettel-cdc-wd"


async def test_without_modemmanager_that_is_said_with_what_is_done_instead(private_bus: str, tmp_path: Path) -> None:
    for bus in (private_bus, f"unix:path={tmp_path / 'none'}"):
        found, [left] = await modems.search(bus)
        assert found == []
        assert "ModemManager" in left.remedy.vi


class Air:
    """NetworkManager with two radios and a cable; one radio is an access point, or switched off, or not managed."""

    def __init__(self, *, mode: int = 2, state: int = 30, kind: int = 2) -> None:
        self.mode, self.state, self.kind = mode, state, kind
        self.asked: list[str] = []

    def __call__(self, message: Message) -> Answer | str:
        self.asked.append(message.member or "")
        match message.member:
            case "GetDevices":
                return "ao", [["/d/cable", "/d/radio"]]
            case "RequestScan":
                return f"{NETWORK_MANAGER}.Device.NotAllowed"
            case "GetAllAccessPoints":
                return "ao", [["/p/free", "/p/hidden", "/p/psk", "/p/gone"]]
            case "GetAll":
                return self.properties(str(message.path), message.body[0])
        return "org.freedesktop.DBus.Error.UnknownMethod"

    def properties(self, path: str, interface: str) -> Answer | str:
        if interface.endswith(".Wireless"):
            return variants({"LastScan": ("x", 1), "Mode": ("u", self.mode)})
        if path == "/p/gone":
            return "org.freedesktop.DBus.Error.UnknownObject"
        if path.startswith("/p/"):
            ssid = {"/p/free": "Nhà văn hóa".encode(), "/p/hidden": b"", "/p/psk": b"UBND"}[path]
            rsn = 0x400 if path == "/p/psk" else 0
            known: dict[str, tuple[str, Any]] = {
                "Ssid": ("ay", ssid), "Strength": ("y", 70), "HwAddress": ("s", f"02:00:00:00:00:0{len(path) % 10}"),
                "Flags": ("u", 0), "WpaFlags": ("u", 0), "RsnFlags": ("u", rsn),
            }  # fmt: skip
            return variants(known)
        kind, name = (1, "eth0") if path == "/d/cable" else (self.kind, "wlan1")
        return variants({"DeviceType": ("u", kind), "State": ("u", self.state), "Interface": ("s", name)})


async def test_networkmanagers_radio_tells_what_is_open_and_nothing_is_joined(private_bus: str) -> None:
    air = Air()
    async with stand_in(private_bus, NETWORK_MANAGER, air):
        heard, left = await wifi.search(private_bus, "no-such-iw")
    assert left == []
    found = wifi.findings(networks_of(heard), Known(), Names(), own_way="eth0")
    assert [(one.thing, one.standing, one.facts["security"]) for one in found] == [
        ("Nhà văn hóa", Standing.NEW, ["open"]), ("UBND", Standing.SEEN, ["sae"]),
    ]  # fmt: skip
    assert found[0].section is not None
    assert found[0].section.settings == Wifi(name="nha-van-hoa", radio="wlan1", ssid="Nhà văn hóa")
    assert set(air.asked) == {"GetDevices", "GetAll", "RequestScan", "GetAllAccessPoints"}


@pytest.mark.parametrize(
    ("air", "word"),
    [
        (Air(mode=3), "plug in a radio"),
        (Air(state=10), "nmcli device set wlan1"),
        (Air(state=20), "rfkill"),
        (Air(kind=1), "a radio"),
    ],
)
async def test_a_radio_that_cannot_scan_is_said(private_bus: str, air: Air, word: str) -> None:
    async with stand_in(private_bus, NETWORK_MANAGER, air):
        heard, [left] = await wifi.search(private_bus, "no-such-iw")
    assert heard == []
    assert word in left.remedy.en
    assert "RequestScan" not in air.asked


def stand_in_for_iw(folder: Path, radios: str, scan: str = SCAN, code: int = 0) -> str:
    """A script that prints text of our own."""
    (folder / "dev").write_text(radios)
    (folder / "scan").write_text(scan)
    program = folder / "iw"
    program.write_text(
        f'#!/bin/sh\nfor word; do last=$word; done\ncat "{folder}/$last"\n[ $last = dev ] && exit 0\nexit {code}\n'
    )
    program.chmod(0o700)
    return str(program)


RADIOS = "phy#0\n\tInterface wlan0\n\t\tifindex 3\n\t\ttype AP\nphy#1\n\tInterface wlan1\n\t\ttype managed\n"


async def test_without_networkmanager_iw_is_asked(private_bus: str, tmp_path: Path) -> None:
    heard, [left] = await wifi.search(private_bus, stand_in_for_iw(tmp_path, RADIOS))
    assert (left.thing, [one.radio for one in heard]) == ("wlan0", ["wlan1"])
    networks = networks_of(heard)
    assert [(one.ssid, one.securities, one.points, one.signal_dbm) for one in networks] == [
        ("UBND", ("psk",), 1, -48.0), ("Nhà văn hóa", ("open",), 2, -61.0), ("owe", ("owe",), 1, -70.0),
        ("big", ("enterprise",), 1, -80.0), ("old", ("wep",), 1, -90.0),
    ]  # fmt: skip
    proposed = [one.section for one in wifi.findings(networks, Known(), Names(), own_way="eth0")]
    assert [one.settings for one in proposed if one is not None] == [
        Wifi(name="nha-van-hoa", via="iw", radio="wlan1", ssid="Nhà văn hóa"),
        Wifi(name="owe", via="iw", radio="wlan1", ssid="owe"),
    ]


@pytest.mark.parametrize(
    ("radios", "code", "scan", "word"),
    [
        (RADIOS.replace("AP", "managed"), 1, "command failed: Operation not permitted (-1)", "sudo"),
        ("", 0, "", "a radio"),
    ],
)
async def test_what_iw_refuses_is_said_with_its_remedy(
    private_bus: str, tmp_path: Path, radios: str, code: int, scan: str, word: str
) -> None:
    heard, left = await wifi.search(private_bus, stand_in_for_iw(tmp_path, radios, scan, code))
    assert heard == []
    assert left
    assert all(word in one.remedy.en for one in left)


async def test_without_networkmanager_and_iw_that_is_said(private_bus: str) -> None:
    heard, [left] = await wifi.search(private_bus, "no-such-iw")
    assert heard == []
    assert "NetworkManager" in left.detail
    assert "iw is not installed" in left.detail


def test_the_radio_that_is_the_way_out_is_not_taken_from_the_gateway() -> None:
    cells = (Cell(bssid="02:00:00:00:00:01", ssid="free", security=Security.OPEN, signal_dbm=-60.0),)
    networks = networks_of([Heard(radio="wlan0", via="networkmanager", cells=cells)])
    [found] = wifi.findings(networks, Known(), Names(), own_way="wlan0")
    assert found.section is not None
    assert (found.standing, found.section.whole) == (Standing.HAND, False)
    assert "wlan0" in found.advice.vi


def test_a_network_that_is_configured_or_cannot_be_is_not_proposed() -> None:
    names = ("free", "x" * 33, "a\ufffd")
    cells = [
        Cell(bssid=f"02:00:00:00:00:0{number}", ssid=ssid, security=Security.OPEN, strength_percent=50.0)
        for number, ssid in enumerate(names)
    ]
    known = Known(sections=Sections(wifi=[Wifi(name="a", ssid="free")]))
    networks = networks_of([Heard(radio="wlan1", via="iw", cells=tuple(cells))])
    found = wifi.findings(networks, known, Names(), own_way="")
    assert sorted((one.standing.value, one.section is None) for one in found) == [
        ("known", True), ("seen", True), ("seen", True),
    ]  # fmt: skip


def test_a_flood_of_networks_is_bounded() -> None:
    cells = tuple(Cell(bssid="02:00:00:00:00:01", ssid=f"n{one}", security=Security.OPEN) for one in range(5_000))
    assert len(networks_of([Heard(radio="wlan1", via="iw", cells=cells)])) == 128


def test_radios_are_read_from_any_text() -> None:
    assert read_radios(RADIOS) == [("wlan0", "AP"), ("wlan1", "managed")]
    assert read_radios("") == []
    assert read_radios("Interface " + "x" * 99) == []
