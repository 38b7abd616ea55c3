"""`xom gateway status`, `spool`, `key`: what an installer sees, and what is said when there is nothing to see."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.assembly import assemble, key_path
from gateway.cli import gateway_app
from gateway.clock import SystemClock
from gateway.config import read
from gateway.sources.chirpstack_events import MALFORMED
from gateway.status import running
from tests.gateway.gateway_readings import reading
from tests.real_mosquitto import free_port
from wire.identity import DevEui
from wire.keys import SigningKey
from wire.reading import Undecoded

STRANGER = DevEui("a8404100000000ff").source


def config_of(tmp_path: Path, *lines: str) -> Path:
    """A gateway's file; its brokers are not there."""
    config = tmp_path / "gateway.toml"
    hub = SigningKey.generate().public.encoded.hex()
    text = [
        f'[gateway]\nid = "thon-1"\ndata = "{tmp_path / "data"}"',
        f'[hub]\nport = {free_port()}\npublic_key = "{hub}"',
        f"[chirpstack]\nport = {free_port()}",
        "[machine]\nenabled = false",
        *lines,
    ]
    config.write_text("\n".join(text) + "\n")
    return config


def xom_gateway(*arguments: str | Path) -> Result:
    return CliRunner().invoke(gateway_app, [str(one) for one in arguments])


def refused(*arguments: str | Path) -> str:
    """The one line that a refused command says."""
    ended = xom_gateway(*arguments)
    assert (ended.exit_code, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("xom gateway: ")
    return line


def parsed(*arguments: str | Path) -> Any:
    ended = xom_gateway(*arguments, "--json")
    assert ended.exit_code == 0, ended.stderr
    return json.loads(ended.stdout)


async def short_run(config: Path) -> None:
    """A gateway's short life: three readings, of them two of a device that nobody has named, sealed; one more after."""
    async with assemble(read(config), SystemClock()) as gateway:
        unknown = [reading(number, source=STRANGER, undecoded=Undecoded.UNKNOWN_DEVICE) for number in (2, 3)]
        await gateway.spool.append([reading(1), *unknown])
        await gateway.sealer.seal_all(gateway.clock.now())
        await gateway.spool.append([reading(4, source=MALFORMED, undecoded=Undecoded.MALFORMED_EVENT)])
        gateway.status.write(running(gateway))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a gateway that has run for a moment."""
    made = config_of(tmp_path)
    asyncio.run(short_run(made))
    return made


# ---- status


def test_status_shows_what_is_heard_kept_and_confirmed(config: Path) -> None:
    shown = parsed("status", "-c", config)
    assert (shown["gateway"], shown["sealed"], shown["through"]) == ("thon-1", 1, 0)
    assert shown["spool"]["unsealed"] == 1
    assert (shown["spool"]["unconfirmed"], shown["spool"]["unconfirmed_readings"]) == (1, 3)
    heard = {one["source"]: (one["frames"], one["undecoded"], one["last_reason"]) for one in shown["sources"]}
    assert heard[STRANGER] == (2, 2, "unknown_device")
    assert heard[MALFORMED] == (1, 1, "malformed_event")
    assert heard[reading(1).frame.source] == (1, 0, "")


def test_status_lists_devices_that_nobody_has_named_and_says_what_to_do(config: Path) -> None:
    assert [one["source"] for one in parsed("status", "-c", config)["unknown_devices"]] == [STRANGER]
    text = xom_gateway("status", "-c", config).stdout
    assert f"unknown device {STRANGER}: 2 frames kept raw; name it in a [[device]] table" in text
    assert text.count("unknown device") == 1


def test_status_repeats_the_running_gateways_word(config: Path) -> None:
    shown = parsed("status", "-c", config)
    assert shown["alive"]
    assert shown["running"]["hub_problem"]
    assert "gateway thon-1: running; sealed 1, hub confirmed 0" in xom_gateway("status", "-c", config).stdout


def test_a_gateway_that_stopped_long_ago_is_not_called_running(config: Path) -> None:
    file = read(config).gateway.data / "status.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"at_ms": 1_755_000_000_000}))
    assert not parsed("status", "-c", config)["alive"]
    assert "not running since 2025-08-12 12:00:00Z" in xom_gateway("status", "-c", config).stdout


@pytest.mark.parametrize("damage", ["", "{", '{"at_ms": "soon"}'])
def test_a_damaged_status_file_hides_nothing_else(config: Path, damage: str) -> None:
    (read(config).gateway.data / "status.json").write_text(damage)
    shown = parsed("status", "-c", config)
    assert (shown["running"], shown["alive"], shown["sealed"]) == (None, False, 1)
    assert "gateway thon-1: not running;" in xom_gateway("status", "-c", config).stdout


# ---- spool


def test_spool_shows_how_full_it_is(config: Path) -> None:
    shown = parsed("spool", "-c", config)
    assert (shown["gateway"], shown["position"]["last_seq"], shown["position"]["through"]) == ("thon-1", 1, 0)
    assert shown["depth"]["bytes_on_disk"] > 0
    text = xom_gateway("spool", "-c", config).stdout
    assert "unsealed readings      1\n" in text
    assert "unconfirmed batches    1 (3 readings), oldest sealed 20" in text
    assert "sealed / confirmed     1 / 0\n" in text


def test_looking_changes_nothing_and_needs_no_stop(config: Path) -> None:
    async def look_beside() -> None:
        async with assemble(read(config), SystemClock()) as gateway:
            before = await gateway.spool.depth()
            assert (await asyncio.to_thread(xom_gateway, "status", "-c", config)).exit_code == 0
            assert (await asyncio.to_thread(xom_gateway, "spool", "-c", config)).exit_code == 0
            assert (await gateway.spool.depth()).unsealed == before.unsealed

    asyncio.run(look_beside())


# ---- key


def test_the_key_is_made_once_and_printed_for_the_registry(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    first = parsed("key", "-c", config)
    assert first == parsed("key", "-c", config)
    key = SigningKey.read(key_path(read(config))).public
    assert (first["public_key"], first["keyid"]) == (key.encoded.hex(), key.keyid)
    shown = xom_gateway("key", "-c", config).stdout
    assert '[[gateway]]\nid = "thon-1"\nalgorithm = "ed25519"\n' in shown
    assert key_path(read(config)).stat().st_mode & 0o077 == 0


# ---- refusals


@pytest.mark.parametrize("command", ["status", "spool", "key"])
def test_a_configuration_that_is_not_there_is_named(tmp_path: Path, command: str) -> None:
    line = refused(command, "-c", tmp_path / "none.toml")
    assert str(tmp_path / "none.toml") in line
    assert "samples/" in line


@pytest.mark.parametrize("command", ["status", "spool", "key"])
def test_an_unknown_key_is_named_with_its_nearest(tmp_path: Path, command: str) -> None:
    config = config_of(tmp_path, "[seal]\nevery = 60")
    line = refused(command, "-c", config)
    assert "'seal.every'" in line
    assert "'every_s'" in line
    assert str(config) in line


@pytest.mark.parametrize("command", ["status", "spool"])
def test_a_gateway_that_has_never_run_is_told_so(tmp_path: Path, command: str) -> None:
    line = refused(command, "-c", config_of(tmp_path))
    assert str(tmp_path / "data") in line
    assert not (tmp_path / "data").exists(), "looking makes nothing"


@pytest.mark.parametrize("command", ["status", "spool"])
def test_a_key_without_a_spool_asks_whether_the_gateway_has_run(tmp_path: Path, command: str) -> None:
    config = config_of(tmp_path)
    parsed("key", "-c", config)
    line = refused(command, "-c", config)
    assert "there is no spool at" in line
    assert "has this gateway run yet?" in line


@pytest.mark.parametrize("command", ["status", "spool"])
def test_a_spool_that_is_no_database_is_refused_in_one_line(config: Path, command: str) -> None:
    spool = read(config).gateway.data / "spool.db"
    for file in spool.parent.glob("spool.db*"):
        file.unlink()
    spool.write_bytes(b"no database" * 1000)
    assert str(spool) in refused(command, "-c", config)


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands in the way")
    assert str(tmp_path / "data") in refused("key", "-c", config_of(tmp_path))
