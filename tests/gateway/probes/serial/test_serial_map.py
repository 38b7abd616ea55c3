"""Instrument maps: those that come along can be read, a bad one names its key, fields become quantities."""

from __future__ import annotations

from pathlib import Path

import pytest

from codec.errors import ProfileError
from gateway.probes.serial.build import LIBRARY
from gateway.probes.serial.instrument_map import fields_of_block, read_instrument_map
from gateway.probes.serial.steadiness import Steadiness
from wire.reading import Quality, Quantity

SHIPPED = sorted(LIBRARY.glob("*.toml"))
BLOCK = '[[block]]\nname = "b"\nregister = 0\ncount = 2\n'
QUANTITY = '[[quantity]]\nfield = "b_1"\nname = "ph"\nunit = "[pH]"\nmin = 0\nmax = 14\n'


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_map_that_comes_along_can_be_read_and_says_that_it_is_an_example(path: Path) -> None:
    found = read_instrument_map(path)
    assert "EXAMPLE" in path.read_text() or "example" in path.read_text()
    assert found.title.startswith("example")
    assert all(rule.source for rule in found.quantities)


def test_the_probes_that_the_issue_names_have_maps() -> None:
    names = {path.stem for path in SHIPPED}
    assert names >= {"ph", "dissolved-oxygen", "electrical-conductivity", "turbidity", "orp", "water-level"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BLOCK, "quantity"),
        (QUANTITY, "belongs to no block"),
        (BLOCK.replace("count = 2", "count = 126") + QUANTITY, "1 to 125"),
        (BLOCK.replace("register = 0", "register = 65535") + QUANTITY, "0 to 65535"),
        (BLOCK + QUANTITY.replace("b_1", "b_3"), "there is no b_3"),
        (BLOCK + QUANTITY.replace('"b_1"', '"b"\ntake = { at = 2, type = "f32" }'), "bytes 2 to 5"),
        (BLOCK + BLOCK + QUANTITY, "one name"),
        (BLOCK + QUANTITY + "[steady]\nnames = ['orp']\n", "steady.names"),
        (BLOCK + QUANTITY + "colour = 1\n", "colour"),
        (BLOCK.replace("count", "functoin = 3\ncount") + QUANTITY, "functoin"),
        ('[[measurement]]\nname = "b"\ncommand = "R0"\n' + QUANTITY, "command is M, C"),
        ('[[sentence]]\nname = "b"\nformatter = "mtw"\n' + QUANTITY, "formatter"),
    ],
)
def test_a_bad_map_names_its_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text('title = "t"\n' + text)
    with pytest.raises(ProfileError, match=message):
        read_instrument_map(path)


def test_conductivity_and_temperature_give_salinity() -> None:
    found = read_instrument_map(LIBRARY / "electrical-conductivity.toml")
    data = (20_000).to_bytes(4) + (250).to_bytes(2)
    figures = {one.name: one for one in found.figures(fields_of_block(found.blocks[0], data))}
    assert figures["electrical_conductivity"].value == 20_000
    assert figures["water_temperature"].value == 25.0
    assert figures["salinity"].value == pytest.approx(11.9, abs=0.1)  # PSS-78 at 20 mS/cm, 25 Cel


def test_only_a_good_value_that_stands_still_for_both_times_and_seconds_is_stuck(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text('title = "t"\n' + BLOCK + QUANTITY + "[steady]\ntimes = 3\ns = 100\n")
    steadiness = Steadiness(read_instrument_map(path).steady)
    good, end = (Quantity("ph", "[pH]", 7.0, quality) for quality in (Quality.GOOD, Quality.ABOVE_RANGE))
    assert [steadiness.stuck([good], at) for at in (0, 1_000, 2_000, 99_000)] == [[]] * 4  # often, not for long
    assert steadiness.stuck([good], 100_000) == ["ph"]
    assert steadiness.stuck([end], 200_000) == []
    assert steadiness.stuck([good], 900_000) == []  # for long, not often: it begins anew
