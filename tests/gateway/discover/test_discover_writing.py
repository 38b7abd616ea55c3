"""What is written: TOML that says what was meant, whatever a stranger calls himself; a file that is never lost."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import SystemClock
from gateway.config import read
from gateway.discover import cameras, loudspeakers, modems, serial_findings, wifi
from gateway.discover.finding import Finding, Section, Standing
from gateway.discover.known import Known, Sections, known_of
from gateway.discover.modbus_scan import Bus
from gateway.discover.names import Names, slug
from gateway.discover.serial import Looked, Role
from gateway.discover.serial_ports import SerialPort
from gateway.discover.sweep import Answered
from gateway.discover.toml import quoted, text_of
from gateway.discover.wifi import Heard
from gateway.discover.writing import append, sections_of, snippet
from gateway.language import Language, Text
from gateway.probes.build import build
from gateway.probes.cameras.discovery import Found
from gateway.probes.cameras.settings import Camera
from gateway.probes.loudspeakers.settings import Loudspeaker
from gateway.probes.network.modem_manager import Present
from gateway.probes.network.scan import Cell, Security
from gateway.probes.network.settings import Modem, Wifi
from gateway.probes.serial.settings import SerialBus, SerialInstrument
from tests.gateway.discover.discover_bed import HOSTILE, configuration
from wire.configuration import ConfigError

AT = datetime(2026, 5, 1, 7, 0, tzinfo=UTC)
EN = Language.EN
TEXTS = st.text(st.characters(), max_size=40)  # every character, halves of surrogate pairs among them


@given(TEXTS)
def test_any_text_comes_back_from_toml(text: str) -> None:
    whole = "".join("\ufffd" if 0xD800 <= ord(letter) <= 0xDFFF else letter for letter in text)
    assert tomllib.loads(f"a = {quoted(text)}") == {"a": whole}
    assert quoted(text).isprintable()


SETTINGS = (
    ("camera", Camera), ("loudspeaker", Loudspeaker), ("modem", Modem), ("wifi", Wifi), ("serial_bus", SerialBus),
)  # fmt: skip


@pytest.mark.parametrize(("table", "kind"), SETTINGS)
@given(data=st.data())
def test_any_section_comes_back_as_it_was(table: str, kind: type[msgspec.Struct], data: st.DataObject) -> None:
    settings = data.draw(values(kind))
    section = Section(table=table, settings=settings, notes=(Text("a\nb\r[[x]]", "a\nb\r[[x]]"),))
    back = msgspec.convert(tomllib.loads(text_of(section, EN)), Sections, strict=False)
    assert getattr(back, table) == [settings]
    commented = text_of(dataclasses.replace(section, whole=False), EN)
    assert tomllib.loads(commented) == {}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Return any value that a key can have. Numbers of TOML are 64 bits; not-a-number is not even equal to itself."""
    if get_origin(hint) is list:
        return st.lists(values(get_args(hint)[0]), max_size=2)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return st.builds(hint, **{name: values(one) for name, one in get_type_hints(hint).items()})
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=20), float: st.floats(allow_nan=False), int: st.integers(-(2**63), 2**63 - 1),
    }  # fmt: skip
    return plain[hint] if hint in plain else st.from_type(hint)


def everything(text: str, known: Known | None = None) -> list[Finding]:
    """What is found where every stranger is called by one text."""
    known = known or Known()
    names = known.names()
    usb = SerialPort(node=Path("/dev/ttyUSB0"), path=Path("/dev/serial/by-path/a"), driver="ftdi_sio", usb="1-1")
    hand = SerialPort(node=Path("/dev/ttyUSB1"), path=Path("/dev/serial/by-path/b"), driver="ftdi_sio", usb="1-2")
    looked = [
        Looked(port=usb, role=Role.GNSS, baud=9600, kinds=("GPRMC",)),
        Looked(port=hand, role=Role.MODBUS, bus=Bus(baud=9600, parity="N", addresses=(1, 7))),
    ]
    cells = (Cell(bssid="02:00:00:00:00:01", ssid=text, security=Security.OPEN, signal_dbm=-60.0),)
    return [
        *cameras.findings(
            [Found(host="10.0.0.9", port=8000, path="/onvif", name=text, hardware=text)], known, names["camera"]
        ),
        *loudspeakers.findings(
            [Answered(host="10.0.0.8", port=5060, status=404, software=text)], known, names["loudspeaker"]
        ),
        *modems.findings(
            [Present(port="cdc-wdm0", maker=text, model=text, operator=text, ports=frozenset({"cdc-wdm0"}))],
            known, names["modem"],
        ),
        *serial_findings.findings(looked, names)[0],
        *wifi.findings(
            wifi.networks_of([Heard(radio="wlan1", via="iw", cells=cells)]), known, names["wifi"], own_way="eth0"
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_the_gateway_starts_with_what_was_found_of_strangers_with_any_name(text: str, tmp_path: Path) -> None:
    path = configuration(tmp_path)
    wanted = sections_of(everything(text))
    done = append(path, wanted, EN, AT)
    assert done.sections == tuple(wanted)
    config = read(path)
    assert [one.host for one in config.camera] == ["10.0.0.9"]
    assert [one.sip[0].host for one in config.loudspeaker] == ["10.0.0.8"]
    assert [(one.via, one.device) for one in config.modem] == [("modemmanager", "cdc-wdm0")]
    assert [one.ssid for one in config.wifi] == ([text] if 0 < len(text.strip("\0").encode()) <= 32 else [])
    assert [(one.protocol, one.baud) for one in config.serial_bus] == [("gnss", 9600)]
    assert len(build(config, SystemClock())) == 4 + len(config.wifi)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_second_run_adds_nothing(text: str, tmp_path: Path) -> None:
    path = configuration(tmp_path)
    append(path, sections_of(everything(text)), EN, AT)
    before = path.read_bytes()
    done = append(path, sections_of(everything(text)), EN, AT)
    assert (done.sections, done.backup) == ((), None)
    assert path.read_bytes() == before
    again = everything(text, known_of([path]))
    assert {one.standing for one in again if one.family.value != "serial"} <= {Standing.KNOWN, Standing.SEEN}


@given(st.lists(TEXTS.map(slug), max_size=20))
def test_names_fit_every_family_and_nobody_shares_one(wanted: Sequence[str]) -> None:
    names = Names({"camera"})
    given_out = [names.give(one or "camera", "10.0.0.64") for one in wanted]
    assert len({*given_out, "camera"}) == len(wanted) + 1
    for name in given_out:
        assert len(name) <= 40
        assert name.strip("-") == name
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_vietnamese_names_lose_their_signs_and_nothing_else() -> None:
    assert slug("Cổng UBND xã Đông Hải (số 2)") == "cong-ubnd-xa-dong-hai-so-2"


def test_the_file_that_was_there_stays_beside_it_with_owner_and_mode(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 0, 12_345)
    before, state = path.read_bytes(), path.stat()
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    done = append(link, sections_of(everything("a")), EN, AT)
    assert done.backup is not None
    assert done.backup.read_bytes() == before
    assert link.is_symlink()
    assert path.read_bytes().startswith(before)
    for one in (path, done.backup):
        assert (one.stat().st_mode, one.stat().st_uid, one.stat().st_gid) == (
            state.st_mode, state.st_uid, state.st_gid,
        )  # fmt: skip
    more = [Section(table="camera", settings=Camera(name="c2", host="10.0.0.77"))]
    assert append(path, more, EN, AT).backup not in (None, done.backup)


def test_without_a_file_one_is_made_and_a_piece_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "found.toml"
    wanted = sections_of(everything("a"))
    assert append(path, wanted[:1], EN, AT).backup is None
    assert append(path, wanted, EN, AT).sections == tuple(wanted[1:])
    assert len(tomllib.loads(path.read_text())["camera"]) == 1


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("[internet]\nenabled = false\ncamera = 1", "camera"),
        ('[[wifi]]\nname = "b"\nssid = "b"\n[[wifi]]\nname = "a"\nssid = "c"\nradio = "wlan0"', "wifi"),
    ],
)
def test_a_configuration_that_was_broken_before_is_added_to_and_not_worse(more: str, word: str, tmp_path: Path) -> None:
    path = configuration(tmp_path, more)
    append(path, sections_of(everything("a")), EN, AT)
    assert "10.0.0.9" in path.read_text()
    with pytest.raises(ConfigError, match=word):
        build(read(path), SystemClock())


def test_nothing_is_written_where_the_gateway_would_not_start_with_it(tmp_path: Path) -> None:
    path = configuration(tmp_path, '[[camera]]\nname = "cong"\nhost = "10.0.0.1"')
    before = path.read_bytes()
    twice = Section(table="camera", settings=Camera(name="cong", host="10.0.0.2"))
    with pytest.raises(ConfigError, match=r"nothing was written.*camera:cong"):
        append(path, [twice], EN, AT)
    inline = tmp_path / "inline.toml"
    inline.write_text("camera = []\n")
    with pytest.raises(ConfigError, match="nothing was written"):
        append(inline, [twice], EN, AT)
    assert (path.read_bytes(), inline.read_text()) == (before, "camera = []\n")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["gateway.toml", "inline.toml"]


def test_a_login_is_named_and_the_gateway_starts_without_it(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    append(path, sections_of(everything("Cong")), EN, AT)
    assert '# credentials = "camera-cong"' in path.read_text()
    assert read(path).camera[0].credentials == ""


def test_a_login_that_is_there_is_used_at_once(tmp_path: Path) -> None:
    logins = tmp_path / "credentials.toml"
    logins.write_text('[camera-cong]\nusername = "xom"\npassword = "secret"\n')
    logins.chmod(0o600)
    path = configuration(tmp_path, f'[probes]\ncredentials = "{logins}"')
    found = everything("Cong", known_of([path]))
    append(path, sections_of(found), EN, AT)
    assert read(path).camera[0].credentials == "camera-cong"
    assert "secret" not in path.read_text()


def test_what_lacks_a_map_is_a_comment_that_works_once_it_has_one(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    append(path, sections_of(everything("a")), EN, AT)
    lines = path.read_text().splitlines()
    begin = lines.index("# [[serial_bus]]")
    end = next(at for at, line in enumerate(lines) if at > begin and not line)
    completed = [line.removeprefix("# ").removeprefix("#") for line in lines[begin:end]]
    lines[begin:end] = [line.replace('map = ""', 'map = "ph"') for line in completed]
    path.write_text("\n".join(lines) + "\n")
    bus = read(path).serial_bus[-1]
    assert [(one.address, one.map) for one in bus.instrument] == [("1", "ph"), ("7", "ph")]
    build(read(path), SystemClock())
    assert append(path, sections_of(everything("a")), EN, AT).sections == ()


def test_a_map_of_the_library_whose_sentences_are_said_is_proposed() -> None:
    port = SerialPort(node=Path("/dev/ttyUSB0"), path=Path("/dev/serial/by-path/a"), usb="1-1")
    kinds = ("SDDBT", "SDDPT", "SDMTW", "YXMTW")
    found, _ = serial_findings.findings([Looked(port=port, role=Role.NMEA, baud=4800, kinds=kinds)], Known().names())
    section = found[0].section
    assert section is not None
    assert isinstance(section.settings, SerialBus)
    assert section.settings.instrument == [
        SerialInstrument(name="nmea-water-temperature-depth", map="nmea-water-temperature-depth")
    ]
    assert section.whole


def test_nothing_found_is_nothing_written() -> None:
    assert snippet([], EN, AT) == ""
