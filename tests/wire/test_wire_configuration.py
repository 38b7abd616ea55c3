"""Configuration: a file, then the environment; whatever nobody knows is refused by name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from wire.configuration import ConfigError, load
from wire.identity import GatewayId


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: GatewayId
    data: Path = Path("var")
    secret: Path | None = None
    tags: list[str] = []


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: int = 1883
    resend_s: float = 30.0
    enabled: bool = True


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    interval_s: float = 60.0


class Whole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: Names
    line: Line = Line()
    item: list[Item] = []


def read(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Whole:
    path = tmp_path / "xom.toml"
    path.write_text(text)
    return load(Whole, path, "XOM_TEST", environment or {})


MINIMAL = '[names]\nid = "thon-1"\n'


def test_a_file_becomes_frozen_sections_with_defaults_for_what_it_leaves_out(tmp_path: Path) -> None:
    whole = read(tmp_path, MINIMAL + 'data = "/var/lib/xom"\n[line]\nport = 8883\n[[item]]\nname = "a"\n')
    assert whole == Whole(Names(GatewayId("thon-1"), Path("/var/lib/xom")), Line(8883), [Item("a")])
    with pytest.raises(AttributeError):
        whole.line.port = 1  # type: ignore[misc]


def test_without_a_file_the_environment_is_enough() -> None:
    whole = load(Whole, None, "XOM_TEST", {"XOM_TEST_NAMES_ID": "thon-1", "HOME": "/root"})
    assert whole == Whole(Names(GatewayId("thon-1")))


def test_the_environment_overrides_the_file_in_every_kind_of_key(tmp_path: Path) -> None:
    environment = {
        "XOM_TEST_NAMES_ID": "thon-2",
        "XOM_TEST_NAMES_SECRET": "/run/secret",
        "XOM_TEST_NAMES_TAGS": '["a", "b"]',
        "XOM_TEST_LINE_PORT": "8883",
        "XOM_TEST_LINE_RESEND_S": "2.5",
        "XOM_TEST_LINE_ENABLED": "false",
    }
    whole = read(tmp_path, MINIMAL + "[line]\nport = 1\n", environment)
    assert whole.names == Names(GatewayId("thon-2"), Path("var"), Path("/run/secret"), ["a", "b"])
    assert whole.line == Line(8883, 2.5, enabled=False)


@pytest.mark.parametrize(
    ("text", "named", "hint"),
    [
        (MINIMAL + "[line]\nprot = 1\n", "'line.prot'", "did you mean 'port'"),
        (MINIMAL + "[lines]\nport = 1\n", "'lines'", "did you mean 'line'"),
        (MINIMAL + "datta = 'x'\n", "'names.datta'", "did you mean 'data'"),
        (MINIMAL + "[zzz]\n", "'zzz'", "known here: item, line, names"),
        (MINIMAL + "[[item]]\nname = 'a'\nintervall_s = 3\n", "intervall_s", "item[0]"),
    ],
)
def test_an_unknown_key_is_named_with_what_was_probably_meant(tmp_path: Path, text: str, named: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=r"xom\.toml") as caught:
        read(tmp_path, text)
    assert named in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", ["XOM_TEST_LINE_PROT", "XOM_TEST_PORT", "XOM_TEST_ITEM_NAME", "XOM_TEST_"])
def test_an_unknown_variable_is_named_with_the_form(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown variable {name}; the form is XOM_TEST_<SECTION>_<KEY>"):
        read(tmp_path, MINIMAL, {name: "1"})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (MINIMAL + "[line]\nport = 'many'\n", "line.port"),
        (MINIMAL + "[line]\nport = 1.5\n", "line.port"),
        (MINIMAL + "[line]\nenabled = 'perhaps'\n", "line.enabled"),
        (MINIMAL + "data = 3\n", "names.data"),
        ("[names]\nid = 'Thôn Một'\n", "names.id"),
        ("[names]\nid = 7\n", "names.id"),
        ("[names]\n", "`id`"),
        ("", "`names`"),
        (MINIMAL + "[[item]]\ninterval_s = 3\n", "item[0]"),
        ("names = 3\n", "names"),
        (MINIMAL + "[item]\nname = 'a'\n", "item"),
    ],
)
def test_a_value_of_the_wrong_kind_names_its_key(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigError, match=r"xom\.toml") as caught:
        read(tmp_path, text)
    assert place in str(caught.value)


def test_a_wrong_value_in_the_environment_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line\.port"):
        read(tmp_path, MINIMAL, {"XOM_TEST_LINE_PORT": "many"})
    with pytest.raises(ConfigError, match="XOM_TEST_NAMES_TAGS: not a JSON list"):
        read(tmp_path, MINIMAL, {"XOM_TEST_NAMES_TAGS": "[a, b"})


def test_a_section_that_is_no_table_is_a_config_error_even_when_the_environment_adds_to_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names"):
        read(tmp_path, "names = 3\n", {"XOM_TEST_NAMES_ID": "thon-1"})


@pytest.mark.parametrize("text", ["[names\n", "id = = 3", "\x00", "a = 1\na = 2\n"])
def test_bad_toml_names_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"xom\.toml"):
        read(tmp_path, text)


def test_a_file_that_is_not_text_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "xom.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"xom\.toml"):
        load(Whole, path, "XOM_TEST", {})


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: there is no such file; samples/"):
        load(Whole, tmp_path / "no.toml", "XOM_TEST", {})
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load(Whole, tmp_path, "XOM_TEST", {})
