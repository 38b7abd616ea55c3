"""Which profile a source has: the operator's word, the registry's, the only device of the codec, or nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from codec.profiles import ProfileLibrary
from hub.redecode.devices import DeviceBook, DevicesError, Given, Unresolved, is_frame, read_devices
from tests.hub.redecoding import LEVEL, STRANGER, TWIN, library_at, uplink
from wire.identity import SourceId
from wire.reading import Kind, Quantity, Reading, Undecoded


@pytest.fixture
def library(tmp_path: Path) -> ProfileLibrary:
    return library_at(tmp_path / "right", right=True)


def decoded(source: SourceId, codec: str) -> Reading:
    return Reading(uplink("05", 0, source), codec=f"{codec}@0011223344556677" if codec else "")


def test_the_operators_word_wins(library: ProfileLibrary) -> None:
    book = DeviceBook(library, {LEVEL: Given(profile="acme/twin-b")}, {("gw-a", LEVEL): "acme/level"})
    assert book.choose("gw-a", decoded(LEVEL, "acme/level")) == "acme/twin-b"


def test_the_registry_decides_between_devices_of_one_codec(library: ProfileLibrary) -> None:
    book = DeviceBook(library, {}, {("gw-a", TWIN): "acme/twin-b"})
    assert book.choose("gw-a", decoded(TWIN, "acme/twin")) == "acme/twin-b"
    assert isinstance(book.choose("gw-b", decoded(TWIN, "acme/twin")), Unresolved)


def test_a_registry_that_contradicts_the_log_is_not_followed(library: ProfileLibrary) -> None:
    book = DeviceBook(library, {}, {("gw-a", LEVEL): "acme/logger"})
    assert book.choose("gw-a", decoded(LEVEL, "acme/level")) == Unresolved(
        "the registry says acme/logger, its frames were decoded with acme/level"
    )


def test_the_only_device_of_a_codec_is_found_and_known_for_frames_that_were_not_decoded(
    library: ProfileLibrary,
) -> None:
    book = DeviceBook(library, {}, {})
    assert book.choose("gw-a", decoded(LEVEL, "")) == Unresolved("its profile is not known")
    assert book.choose("gw-a", decoded(LEVEL, "acme/level")) == "acme/level"
    assert book.choose("gw-a", decoded(LEVEL, "")) == "acme/level"


def test_a_codec_that_the_library_lacks_is_named(library: ProfileLibrary) -> None:
    book = DeviceBook(library, {}, {})
    assert book.choose("gw-a", decoded(STRANGER, "acme/gone")) == Unresolved(
        "codec acme/gone: the library has no codec acme/gone"
    )


def test_a_bridge_without_its_map_is_left() -> None:
    book = DeviceBook(ProfileLibrary(), {}, {})
    found = book.choose("gw-a", decoded(LEVEL, "dragino/rs485-lb+12345678"))
    assert isinstance(found, Unresolved)
    assert "needs the device's map" in found.reason


def test_the_layout_that_the_gateway_had_found_out_is_kept() -> None:
    book = DeviceBook(ProfileLibrary(), {}, {})
    assert book.choose("gw-a", decoded(LEVEL, "dragino/wqs-lb-v1.2")) == "dragino/wqs-lb@1.2"
    assert book.choose("gw-a", decoded(LEVEL, "")) == "dragino/wqs-lb"


@pytest.mark.parametrize(
    ("reading", "is_one"),
    [
        (Reading(uplink("05", 0)), True),
        (Reading(uplink("05", 0), undecoded=Undecoded.UNKNOWN_DEVICE), True),
        (Reading(uplink("05", 0), undecoded=Undecoded.MALFORMED_EVENT), False),
        (Reading(uplink("", 0), undecoded=Undecoded.EMPTY), False),
        (Reading(uplink("05", 0), quantities=(Quantity("rssi", "dBm", -90.0),)), False),
    ],
)
def test_only_uplinks_with_bytes_for_a_codec_are_frames(reading: Reading, is_one: bool) -> None:
    assert is_frame(reading) is is_one
    assert reading.frame.kind is Kind.UPLINK


def test_a_gateways_own_file_names_profiles_and_intervals(library: ProfileLibrary, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    table = f'[[device]]\ndev_eui = "{LEVEL.dev_eui}"\nprofile = "acme/level"\ninterval_s = 600\n'
    file.write_text(f'[gateway]\nid = "gw-a"\n{table}')
    assert read_devices(file, library) == {LEVEL: Given(profile="acme/level", interval_s=600.0)}
    file.write_text(table.replace("acme/level", "acme/none"))
    with pytest.raises(DevicesError, match="the library has no profile 'acme/none'"):
        read_devices(file, library)
