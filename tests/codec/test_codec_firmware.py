"""Which layout a frame is read by: the firmware that was told, else the one layout that accepts it, else none."""

from pathlib import Path

import pytest

from codec.client import CodecWorker
from codec.firmware import layout_for
from codec.profiles import ProfileLibrary
from tests.codec.test_codec_worker import frame
from wire.identity import SourceId
from wire.reading import Undecoded

WQS = ("dragino/wqs-lb@1.0", "dragino/wqs-lb@1.2", "dragino/wqs-lb@1.3.1")
SOURCE = SourceId("lorawan:a840410000000001")
INFO_131, INFO_12, INFO_10 = "3c013109ff0ce4", "3c012009ff0ce4", "3c010009ff0ce4"


@pytest.mark.parametrize(
    ("firmware", "layout"),
    [
        ("1.0.0", WQS[0]),
        ("1.1.9", WQS[0]),
        ("1.2", WQS[1]),
        ("1.2.0", WQS[1]),
        ("1.3.0", WQS[1]),
        ("1.3.1", WQS[2]),
        ("1.10", WQS[2]),
        ("2.0.0", WQS[2]),
        ("0.9", None),
        ("", None),
        ("one", None),
    ],
)
def test_a_firmware_speaks_the_layout_of_the_last_change_before_it(firmware: str, layout: str | None) -> None:
    assert layout_for(firmware, WQS) == layout


def test_a_library_knows_the_layouts_of_a_model() -> None:
    library = ProfileLibrary()
    assert library.layouts("dragino/wqs-lb") == WQS
    assert library.layouts("dragino/wqs-lb@1.2") == ("dragino/wqs-lb@1.2",)
    assert library.layouts("dragino/ldds75") == ("dragino/ldds75",)


@pytest.mark.parametrize(
    ("raw", "layout"),
    [  # the table of domain.md 4.4
        ("0ce4010e11021202da", "1.0"),
        ("0ce4010e1102120a9602da010f", "1.2"),
        ("0ce4010e001102120a9602da010f", "1.3.1"),
        ("0ce4010e01000063ff009c010f", "1.3.1"),
    ],
)
async def test_length_and_flags_tell_the_layout_of_a_device_that_was_never_introduced(raw: str, layout: str) -> None:
    async with CodecWorker(ProfileLibrary()) as worker:
        (reading,) = await worker.decode([("dragino/wqs-lb", frame(raw))])
    assert reading.undecoded is None
    assert reading.codec.startswith(f"dragino/wqs-lb-v{layout}@")


async def test_a_frame_that_fits_no_layout_keeps_the_reason() -> None:
    async with CodecWorker(ProfileLibrary()) as worker:
        (reading,) = await worker.decode([("dragino/wqs-lb", frame("0ce4010e11"))])
    assert reading.undecoded is Undecoded.WRONG_LENGTH
    assert reading.quantities == ()


async def test_the_info_frame_decides_from_then_on_and_after_a_restart() -> None:
    memory: dict[SourceId, str] = {}
    async with CodecWorker(ProfileLibrary(), firmware=memory) as worker:
        (info,) = await worker.decode([("dragino/wqs-lb", frame(INFO_131, f_port=5))])
    assert info.undecoded is None
    assert info.codec.startswith("dragino/wqs-lb-v1.3.1@"), "the layout that does not warn"
    assert memory == {SOURCE: "1.3.1"}
    async with CodecWorker(ProfileLibrary(), firmware=memory) as worker:
        old, new = await worker.decode(
            [("dragino/wqs-lb", frame(raw)) for raw in ("0ce4010e11021202da", "0ce4010e0000")]
        )
    assert old.undecoded is Undecoded.CODEC_ERROR, "a frame of another layout is not guessed at"
    assert new.codec.startswith("dragino/wqs-lb-v1.3.1@")


async def test_an_update_of_the_firmware_is_noticed_by_its_info_frame() -> None:
    memory = {SOURCE: "1.3.1"}
    async with CodecWorker(ProfileLibrary(), firmware=memory) as worker:
        await worker.decode([("dragino/wqs-lb", frame(INFO_12, f_port=5))])
        (reading,) = await worker.decode([("dragino/wqs-lb", frame("0ce4010e1102120a9602da010f"))])
    assert memory == {SOURCE: "1.2.0"}
    assert reading.codec.startswith("dragino/wqs-lb-v1.2@")


async def test_a_firmware_named_in_the_configuration_is_not_overruled() -> None:
    memory: dict[SourceId, str] = {}
    async with CodecWorker(ProfileLibrary(), firmware=memory) as worker:
        await worker.decode([("dragino/wqs-lb@1.2", frame(INFO_10, f_port=5))])
        (reading,) = await worker.decode([("dragino/wqs-lb@1.2", frame("0ce4010e1102120a9602da010f"))])
    assert memory == {}
    assert reading.undecoded is None


DEVICE = """
[device]
name = "Two"
[[device.firmware]]
version = "1"
codec = "one.js"
[[device.firmware]]
version = "2"
codec = "two.js"
"""
QUANTITIES = """
interval_s = 60
firmware_fields = ["version"]
[payload."one.js"]
2 = [1]
5 = [1]
[payload."two.js"]
2 = [1, 2]
5 = [1]
[[quantity]]
field = "x"
name = "depth"
unit = "mm"
min = 0
max = 9999
"""
CODEC = """
function decodeUplink(input) {
  if (input.fPort === 5) return { data: { version: input.bytes[0] } };
  return { data: { x: input.bytes[0] * FACTOR } };
}
"""


@pytest.fixture
def two_layouts(tmp_path: Path) -> ProfileLibrary:
    """`test/two`: two layouts that both accept one byte, and contradict each other."""
    for folder in ("vendors/test/devices", "vendors/test/codecs", "quantities/test"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "vendors/test/devices/two.toml").write_text(DEVICE)
    (tmp_path / "quantities/test/two.toml").write_text(QUANTITIES)
    for name, factor in (("one", "1"), ("two", "10")):
        (tmp_path / f"vendors/test/codecs/{name}.js").write_text(CODEC.replace("FACTOR", factor))
    return ProfileLibrary(tmp_path)


async def test_a_frame_that_two_layouts_read_differently_stays_raw(two_layouts: ProfileLibrary) -> None:
    async with CodecWorker(two_layouts) as worker:
        ambiguous, agreed, unique = await worker.decode([("test/two", frame(raw)) for raw in ("07", "00", "0700")])
        await worker.decode([("test/two", frame("01", f_port=5))])
        (told,) = await worker.decode([("test/two", frame("07"))])
    assert (ambiguous.undecoded, ambiguous.quantities) == (Undecoded.AMBIGUOUS_FIRMWARE, ())
    assert "test/one and test/two" in ambiguous.warnings[0]
    assert agreed.quantities[0].value == 0, "both say 0: it does not matter who"
    assert unique.quantities[0].value == 70
    assert told.quantities[0].value == 7
