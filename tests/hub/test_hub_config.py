"""The annotated sample says every key, with its default."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from hub.config import Config, load_config
from wire.configuration import ConfigError

SAMPLE = Path(__file__).parents[2] / "samples/hub.toml"


def test_the_sample_is_the_default() -> None:
    assert load_config(SAMPLE, {}) == Config()


def test_the_sample_names_every_key() -> None:
    sections = dict(zip(*[iter(re.split(r"^\[(\w+)\]$", SAMPLE.read_text(), flags=re.MULTILINE)[1:])] * 2, strict=True))
    named = {name: set(re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE)) for name, text in sections.items()}
    assert named == {
        section.name: {field.name for field in msgspec.structs.fields(section.type)}
        for section in msgspec.structs.fields(Config)
        for section.type in [type(section.default)]
    }


def test_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text("[ingest]\ngruop = 5\n")
    with pytest.raises(ConfigError, match=r"'ingest\.gruop'; did you mean 'group'"):
        load_config(path, {})


def test_the_environment_wins() -> None:
    config = load_config(SAMPLE, {"XOM_HUB_HTTP_PORT": "9090", "XOM_HUB_HUB_DATA": "/srv/xom"})
    assert (config.http.port, config.hub.key_path) == (9090, Path("/srv/xom/signing-key.pem"))
