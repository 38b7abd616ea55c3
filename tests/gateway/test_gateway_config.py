"""The gateway's configuration and its annotated sample."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from codec.profiles import ProfileLibrary
from gateway.assembly import assemble
from gateway.clock import SystemClock
from gateway.config import Config, read
from wire.configuration import ConfigError
from wire.keys import Algorithm, SigningKey
from wire.mqtt import Broker

SAMPLE = Path(__file__).parents[2] / "samples" / "gateway.toml"
HUB_KEY = SigningKey.generate().public.encoded.hex()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("XOM_GATEWAY_")]:
        monkeypatch.delenv(name)


def written(tmp_path: Path, *more: str, key: str = HUB_KEY) -> Path:
    path = tmp_path / "gateway.toml"
    lines = ["[gateway]", 'id = "thon-1"', f'data = "{tmp_path / "state"}"', "[chirpstack]", "enabled = false"]
    path.write_text("\n".join([*lines, "[hub]", f'public_key = "{key}"', *more]) + "\n")
    return path


def keys_of(kind: Any) -> dict[str, Any]:
    """Every key that a struct knows, as the nested tables of a file."""
    hints = get_type_hints(kind)
    known: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        hint = hints[field.name]
        inner = get_args(hint)[0] if get_origin(hint) is list else hint
        is_section = isinstance(inner, type) and issubclass(inner, msgspec.Struct)
        known[field.encode_name] = keys_of(inner) if is_section else None
    return known


def keys_in(table: Any) -> Any:
    if isinstance(table, list) and table and isinstance(table[0], dict):
        return keys_in({key: value for one in table for key, value in one.items()})
    return {key: keys_in(value) for key, value in table.items()} if isinstance(table, dict) else None


def test_the_sample_loads() -> None:
    config = read(SAMPLE)
    assert config.gateway.id == "thon-dong-1"
    assert config.hub.verifier_key().algorithm is Algorithm.ED25519
    assert [device.dev_eui for device in config.device] == ["a840410000000001", "a840410000000002"]


def test_the_sample_names_every_key_that_there_is() -> None:
    assert keys_in(tomllib.loads(SAMPLE.read_text())) == keys_of(Config)


def test_the_sample_explains_every_key() -> None:
    lines = SAMPLE.read_text().splitlines()
    brokers = {
        "host",
        "port",
        "username",
        "password_file",
        "tls_ca",
        "tls_certificate",
        "tls_key",
    }  # explained at [hub]
    unexplained = {
        line.split(" =")[0] for line in lines if " = " in line and not line.startswith("#") and "#" not in line
    }
    assert unexplained <= brokers


def test_the_samples_defaults_are_the_defaults() -> None:
    config = read(SAMPLE)
    plain = msgspec.convert({"gateway": {"id": "x1"}, "hub": {}}, Config, dec_hook=lambda kind, value: kind(value))
    assert (config.seal, config.retention, config.codecs.cpu_ms) == (plain.seal, plain.retention, plain.codecs.cpu_ms)
    for name in ("window", "resend_s", "keep_alive_s", "algorithm", "host"):
        assert getattr(config.hub, name) == getattr(plain.hub, name)
    for name in ("enabled", "host", "port", "username", "application", "largest_event_bytes"):
        assert getattr(config.chirpstack, name) == getattr(plain.chirpstack, name)


def test_the_samples_profile_exists() -> None:
    assert ProfileLibrary(None).profile(read(SAMPLE).device[0].profile).interval_s > 0


def test_a_section_becomes_the_transports_broker(tmp_path: Path) -> None:
    config = read(written(tmp_path, 'host = "hub.example"', "port = 8883", 'tls_ca = "/etc/ca.pem"'))
    assert config.hub.broker() == Broker(host="hub.example", port=8883, tls_ca=Path("/etc/ca.pem"))


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOM_GATEWAY_HUB_PORT", "8884")
    assert read(written(tmp_path)).hub.port == 8884
    monkeypatch.setenv("XOM_GATEWAY_HUB_PROT", "1")
    with pytest.raises(ConfigError, match="unknown variable XOM_GATEWAY_HUB_PROT"):
        read(written(tmp_path))


def test_a_device_that_stands_there_twice_is_named_whatever_its_case(tmp_path: Path) -> None:
    device = '[[device]]\nprofile = "dragino/ldds75"\ndev_eui = "{}"'
    with pytest.raises(ConfigError, match="device a840410000000001 stands there twice"):
        read(written(tmp_path, device.format("A840410000000001"), device.format("a840410000000001")))


def test_a_bad_dev_eui_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'a84041' is not a DevEUI.*device\[0\]\.dev_eui"):
        read(written(tmp_path, '[[device]]\nprofile = "dragino/ldds75"\ndev_eui = "A84041"'))


@pytest.mark.parametrize("key", ["", "zz", "00" * 31, HUB_KEY + "00"], ids=["none", "not hex", "short", "long"])
def test_a_hub_key_that_is_no_key_stops_the_start_and_says_where_to_get_one(tmp_path: Path, key: str) -> None:
    config = read(written(tmp_path, key=key))
    with pytest.raises(ConfigError, match=r"hub\.public_key is not a key in hex.*`xom hub key`"):
        config.hub.verifier_key()


async def test_a_profile_that_does_not_exist_stops_the_start_before_anything_is_made(tmp_path: Path) -> None:
    path = written(tmp_path, '[[device]]\ndev_eui = "a840410000000001"\nprofile = "dragino/nothing"')
    with pytest.raises(ConfigError, match=r"device a840410000000001: .*`xom profile list`"):
        async with assemble(read(path), SystemClock()):
            pass
    assert not (tmp_path / "state").exists()


async def test_a_whole_gateway_opens_and_closes_from_a_file(tmp_path: Path) -> None:
    async with assemble(read(written(tmp_path)), SystemClock()) as gateway:
        assert gateway.source is None
        assert gateway.spool.unsealed == 0
    assert (tmp_path / "state" / "signing-key.pem").exists()


def test_any_change_gives_another_fingerprint(tmp_path: Path) -> None:
    first = read(written(tmp_path)).fingerprint
    assert read(written(tmp_path)).fingerprint == first
    assert read(written(tmp_path, "window = 17")).fingerprint != first
