"""docs/devices.md names every device, with its vectors counted. XOM_WRITE_DEVICE_TABLE=1 writes the table anew."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from codec.device_map import read_map
from codec.profiles import DeviceProfile, ProfileLibrary

DOCUMENT = Path(__file__).parent.parent / "docs" / "devices.md"
BEGIN, END = "<!-- devices: written by tests/test_devices_document.py -->\n", "<!-- /devices -->"
LIBRARY = ProfileLibrary()


def test_the_table_of_devices_is_that_of_the_library() -> None:
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    shown, _, after = rest.partition(END)
    if os.environ.get("XOM_WRITE_DEVICE_TABLE") == "1":
        DOCUMENT.write_text(before + BEGIN + table() + END + after, encoding="utf-8")
        shown = table()
    assert shown == table(), "run this test with XOM_WRITE_DEVICE_TABLE=1"


def table() -> str:
    """Devices by name: profile, properties, layouts, vectors, and what else an installer must know."""
    names = sorted({name.partition("@")[0] for name in LIBRARY.names()})
    head = ["| Device | Profile | Measures | Vectors | |", "|---|---|---|---|---|"]
    rows = [row(name) for name in names]
    vectors = sum({layout.codec: count for name in names for layout, count in layouts(name)}.values())
    return "\n".join([*head, *rows, "", f"{len(names)} devices, {vectors} vectors.", ""]) + "\n"


def row(name: str) -> str:
    """One device."""
    profile = LIBRARY.profile(name)
    measures = ", ".join(dict.fromkeys(rule.name for rule in profile.overlay.quantities))
    counted = " + ".join(str(count) for _, count in layouts(name))
    return f"| {profile.title} | `{name}` | {measures} | {counted} | {'; '.join(remarks(name, profile))} |"


def remarks(name: str, profile: DeviceProfile) -> Iterator[str]:
    """What the table says of a device beside its numbers."""
    if profile.device_map != "none":
        yield "map" if profile.device_map == "required" else "map, for other probes"
    if profile.history:
        yield "records"
    if len(layouts(name)) > 1:
        yield f"{len(layouts(name))} firmware layouts"
    if profile.overlay.salinity is not None:
        yield "salinity by PSS-78"


def layouts(name: str) -> list[tuple[DeviceProfile, int]]:
    """A device's layouts, each with the number of vectors of its codec."""
    profiles = [LIBRARY.profile(layout) for layout in LIBRARY.layouts(name)]
    return [(profile, len(json.loads(vectors_of(profile).read_text()))) for profile in profiles]


def vectors_of(profile: DeviceProfile) -> Path:
    """The vector file of a profile's codec."""
    vendor, codec = profile.codec.partition("@")[0].split("/")
    return LIBRARY.root / "vendors" / vendor / "codecs" / f"test_decode_{codec}.json"


def test_the_example_of_a_map_in_the_text_can_be_read(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    [example] = [block.partition("```")[0] for block in text.split("```toml\n")[1:] if block.startswith("title")]
    (tmp_path / "map.toml").write_text(example)
    assert read_map(tmp_path / "map.toml").quantity[0].name == "dissolved_oxygen"
