"""A device's own map: what bytes, texts and channels mean at one place; a bad map names its key."""

from pathlib import Path

import pytest

import device_profiles
from codec.device_map import DeviceMap, read_map
from codec.engine import Engine, Limits
from codec.errors import DecodeError, ProfileError
from codec.profiles import ProfileLibrary
from codec.quantities import read_quantities
from codec.take import NumberType, Order, Take, take_number
from wire.reading import Quality, Quantity, Undecoded

MAPS = Path(device_profiles.__path__[0]) / "maps"
SHIPPED = sorted(MAPS.glob("*/*.toml"))


def decode(profile: str, name: str, frame: str, f_port: int) -> dict[str, Quantity]:
    library = ProfileLibrary()
    mapped = library.profile(library.with_map(profile, read_map(MAPS / f"{name}.toml")))
    data = Engine(mapped.script or "", Limits()).decode(bytes.fromhex(frame), f_port, 0).data
    return {quantity.name: quantity for quantity in read_quantities(data, mapped.overlay)[0]}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_map_can_be_read(path: Path) -> None:
    assert read_map(path).quantity


def test_the_golden_pressures_come_out() -> None:
    assert decode("decentlab/dl-pr26", "decentlab/dl-pr26-1bar", "02016700033e8060170c7f", 1)["water_pressure"] == (
        Quantity("water_pressure", "bar", -0.01171875)
    )
    assert decode("decentlab/dl-pr36", "decentlab/dl-pr36-8192", "02032b0003806797810c2b", 1)["water_pressure"] == (
        Quantity("water_pressure", "bar", 103 / 8192)
    )
    found = decode("decentlab/dl-pr36ctd", "decentlab/dl-pr36ctd-8192-1024", "020a17000380079786978180060c2b", 1)
    assert found["water_pressure"].value == 0.0008544921875
    assert found["electrical_conductivity"].value == 0.005859375
    assert found["water_temperature"].value == 23.50390625
    assert found["salinity"].value == pytest.approx(0.002, abs=0.002)


def test_the_end_of_an_encoding_is_censored() -> None:
    frame = "020a170003" + "a000" + "9e00" + "9e00" + "ffff" + "0c2b"
    found = decode("decentlab/dl-pr36ctd", "decentlab/dl-pr36ctd-8192-1024", frame, 1)
    assert found["electrical_conductivity"].quality is Quality.ABOVE_RANGE
    assert found["salinity"].quality is Quality.ABOVE_RANGE


def test_tips_become_rain() -> None:
    found = decode("decentlab/dl-tbrg", "decentlab/dl-tbrg-0.2", "0202f8000300040258409a00000c54", 1)
    assert found["rainfall"].value == pytest.approx(0.8)
    assert found["rainfall_total"].value == pytest.approx(0x409A * 0.2)


def test_registers_behind_a_modbus_bridge() -> None:
    # 5.25 mg/L as a float, low word first; 28.75 Cel.
    found = decode("dragino/rs485-lb", "dragino/rs485-lb-example", "0ce401" + "0000" + "40a8" + "0b3b", 2)
    assert found["dissolved_oxygen"] == Quantity("dissolved_oxygen", "mg/L", 5.25)
    assert found["water_temperature"] == Quantity("water_temperature", "Cel", 28.75)
    assert found["battery_voltage"].value == 3.3


def test_a_fault_code_is_compared_before_scaling() -> None:
    found = decode("dragino/rs485-lb", "dragino/rs485-lb-example", "0ce401" + "0000" + "40a8" + "7fff", 2)
    assert found["water_temperature"] == Quantity("water_temperature", "Cel", None, Quality.NO_SENSOR)


def test_a_shorter_answer_than_the_map_asks_for_is_refused() -> None:
    with pytest.raises(DecodeError) as caught:
        decode("dragino/rs485-lb", "dragino/rs485-lb-example", "0ce401" + "0000" + "40a8", 2)
    assert caught.value.reason is Undecoded.WRONG_LENGTH


def test_an_sdi_12_answer() -> None:
    text = b"0+1234.5+28.7+25590\r\n".hex()
    found = decode("dragino/sdi-12-lb", "dragino/sdi-12-lb-example", "0ce401" + text, 2)
    assert found["water_depth"].value == 1234.5
    assert found["water_temperature"].value == 28.7
    assert found["salinity"].value == pytest.approx(15.6, abs=0.01)
    failed = decode("dragino/sdi-12-lb", "dragino/sdi-12-lb-example", "0ce401" + b"0-9999+1+2".hex(), 2)
    assert failed["water_depth"].quality is Quality.SENSOR_FAULT


def test_channels_of_a_controller() -> None:
    found = decode("milesight/uc300", "milesight/uc300-example", "0b02e8030000 ff190002 02cd02 ff19010202f6ff", 85)
    assert found["water_depth"] == Quantity("water_depth", "cm", 187.5)
    assert found["ph"] == Quantity("ph", "[pH]", 7.17)
    assert found["orp"] == Quantity("orp", "mV", -10.0)


def test_a_broken_loop_and_a_silent_channel_are_faults() -> None:
    found = decode("milesight/uc300", "milesight/uc300-example", "0b0200000000 ff1500", 85)
    assert found["water_depth"] == Quantity("water_depth", "cm", None, Quality.SENSOR_FAULT)
    assert found["ph"] == Quantity("ph", "[pH]", None, Quality.SENSOR_FAULT)


@pytest.mark.parametrize(
    ("kind", "byte_order", "word_order", "raw", "value"),
    [
        ("u8", "big", "big", [255], 255),
        ("s8", "big", "big", [255], -1),
        ("u16", "big", "big", [1, 2], 258),
        ("u16", "little", "big", [1, 2], 513),
        ("s16", "big", "big", [255, 254], -2),
        ("u32", "big", "big", [0, 1, 0, 2], 65538),
        ("u32", "big", "little", [0, 2, 0, 1], 65538),
        ("u32", "little", "big", [1, 0, 2, 0], 65538),
        ("u32", "little", "little", [2, 0, 1, 0], 65538),
        ("s32", "big", "big", [255, 255, 255, 254], -2),
        ("f32", "big", "big", [0x41, 0xC8, 0, 0], 25),
        ("f32", "big", "little", [0, 0, 0x41, 0xC8], 25),
    ],
)
def test_every_order_of_bytes_and_words(
    kind: NumberType, byte_order: Order, word_order: Order, raw: list[int], value: float
) -> None:
    take = Take(at=1, type=kind, byte_order=byte_order, word_order=word_order)
    assert take_number([0, *raw], "payload", take) == value


BASE = """title = "t"
[[quantity]]
field = "payload"
name = "depth"
unit = "mm"
min = 0
max = 10
take = { at = 0, type = "u16" }
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("title", "titel", "titel"),
        ('type = "u16"', 'type = "u24"', "type"),
        ('type = "u16"', 'kind = "u16"', "kind"),
        ('at = 0, type = "u16"', "at = 0", "take: `type` is missing"),
        ("at = 0", "at = 300", "take: `at`"),
        ('at = 0, type = "u16"', "value = 0", "take: `value` counts from 1"),
        ("at = 0", "value = 1, at = 0", "take: `value`"),
        ("min = 0", "min = 11", "min: is above max"),
        ("max = 10", "max = 10\ndivisor = 0", "divisor: must not be 0"),
        ('unit = "mm"', 'unit = ""', "name and unit"),
        ("max = 10", "maximum = 10", "max"),
        ("[[quantity]]", "[[quantity", "map"),
    ],
)
def test_a_bad_map_names_file_and_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "probe.toml"
    assert old in BASE
    path.write_text(BASE.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        read_map(path)
    assert "probe.toml" in str(caught.value)
    assert says in str(caught.value)


def test_a_map_without_quantities_or_without_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "probe.toml"
    with pytest.raises(ProfileError, match=r"probe\.toml"):
        read_map(path)
    path.write_text('title = "t"\nquantity = []\n')
    with pytest.raises(ProfileError, match="quantity"):
        read_map(path)


def mapped(tmp_path: Path) -> DeviceMap:
    path = tmp_path / "probe.toml"
    path.write_text(BASE)
    return read_map(path)


def test_a_device_whose_frames_say_what_they_hold_takes_no_map(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="takes no map"):
        ProfileLibrary().with_map("dragino/ldds75", mapped(tmp_path))


def test_the_codec_of_a_mapped_device_names_its_map(tmp_path: Path) -> None:
    library = ProfileLibrary()
    device_map = mapped(tmp_path)
    name = library.with_map("dragino/rs485-lb", device_map)
    assert name in library
    assert library.profile(name).codec.startswith(f"dragino/rs485-lb+{device_map.digest[:8]}@")
    assert "dragino/rs485-lb+00000000" not in library
