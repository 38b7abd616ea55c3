"""`xom hub` and what it says when it cannot: one line, cause and remedy, exit code 2."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from hub.store.batches import BatchStore
from hub.store.database import open_database
from hub.store.embedded import embedded_postgres
from hub.store.migrate import behind
from tests.hub.unset_clock import Boot, BootLog
from tests.hub.written import Log
from tests.hub_database import enrol
from tests.real_mosquitto import free_port
from tests.xom.commands import refused, xom


def config_of(tmp_path: Path, *lines: str) -> Path:
    config = tmp_path / "hub.toml"
    config.write_text("\n".join([f'[hub]\ndata = "{tmp_path / "hub"}"', *lines]) + "\n")
    return config


def test_a_busy_port_is_one_line_that_names_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = config_of(tmp_path, f"[http]\nport = {port}", "[mqtt]\nembedded = true\nport = 0")
        line = refused(xom("hub", "serve", "-c", config))
    assert line.startswith(f"xom hub: the API cannot listen on 127.0.0.1 port {port}: ")
    assert "Choose another [http] host or port" in line


@pytest.mark.parametrize("command", [["serve"], ["migrate"], ["registry", "load", "samples/registry.toml"]])
def test_an_unreachable_database_is_one_line_with_a_remedy(tmp_path: Path, command: list[str]) -> None:
    away = f"host=127.0.0.1 port={free_port()} dbname=xom password=hunter2"
    config = config_of(tmp_path, f'[database]\ndsn = "{away}"', "[http]\nport = 0")
    line = refused(xom("hub", *command, "-c", config))
    assert line.startswith("xom hub: the database is not available: ")
    assert "[database] dsn" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[gateway]]\nid = 'gw-a'\nalgoritm = 'ed25519'", ["gateway 'gw-a'", "'algoritm'", "'algorithm'"]),
        ("[[gateway]]\nid = 'gw-a'\nalgorithm = 'ed25519'\nenrolled_at = 2026-01-01T00:00:00Z", ["public_key"]),
        ("[[source]]\ngateway = 'gw-a'\nid = 'lorawan:a840410000000001'", ["source", "gateway", "'gw-a'"]),
        ("[[unit]]\ncode = '1'", ["'unit'", "known here"]),
        ("[[gateway]\n", ["line 1"]),
    ],
)
def test_a_bad_registry_names_file_and_key(tmp_path: Path, text: str, named: list[str]) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(text + "\n")
    line = refused(xom("hub", "registry", "load", file, "-c", config_of(tmp_path)))
    for word in (str(file), *named):
        assert word in line
    assert not (tmp_path / "hub" / "postgres").exists(), "a bad file is refused before a database is started"


def test_a_registry_that_is_not_there_is_named(tmp_path: Path) -> None:
    line = refused(xom("hub", "registry", "load", tmp_path / "none.toml", "-c", config_of(tmp_path)))
    assert str(tmp_path / "none.toml") in line
    assert "samples/registry.toml" in line


def test_a_bad_configuration_key_is_named(tmp_path: Path) -> None:
    line = refused(xom("hub", "key", "-c", config_of(tmp_path, "[http]\nprot = 80")))
    assert "http.prot" in line
    assert "'port'" in line


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file stands in the way")
    assert str(tmp_path / "hub") in refused(xom("hub", "key", "-c", config_of(tmp_path)))


def test_the_key_is_made_once_and_printed_for_gateways(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    first, again = (json.loads(xom("hub", "key", "--json", "-c", config).stdout) for _ in range(2))
    assert first == again
    assert len(bytes.fromhex(first["public_key"])) == 32
    shown = xom("hub", "key", "-c", config).stdout
    assert f'public_key = "{first["public_key"]}"' in shown


@pytest.mark.postgres
async def test_clocks_shows_times_as_written_and_as_corrected(tmp_path: Path, dsn: str) -> None:
    log, boot = BootLog(), Boot(0)
    async with open_database(dsn) as database:
        await enrol(database, Log(log.gateway, log.key))
        store = BatchStore(database)
        await store.commit([log.seal([boot.reading(60_000)], [boot.set_right(90_000)])])
    config = config_of(tmp_path, f'[database]\ndsn = "{dsn}"')
    shown = xom("hub", "clocks", "-c", config).stdout
    assert "written    1970-01-01 00:00:59Z" in shown
    assert "now        2026-01-15 00:00:59Z" in shown
    assert "clock set  2026-01-15 00:01:30Z, 90 s after the start, told by batch 1" in shown
    [one] = json.loads(xom("hub", "clocks", "--json", "-c", config).stdout)["boots"]
    assert (one["boot"], one["undated"]) == (boot.name, 0)


@pytest.mark.postgres
async def test_migrate_uses_the_embedded_server_of_a_running_hub() -> None:
    # Not under pytest's own folder: PostgreSQL's account may not enter it when we are root.
    home = Path(tempfile.mkdtemp(prefix="xom-test-"))
    home.chmod(0o755)  # noqa: ASYNC240 - one system call, before anything runs beside it
    try:
        async with embedded_postgres(home / "hub" / "postgres") as running, open_database(running) as database:
            assert len(await behind(database)) > 0
            done = await asyncio.to_thread(xom, "hub", "migrate", "-c", config_of(home))
            assert (done.returncode, done.stdout) == (0, "the database has this version's schema\n"), done.stderr
            assert await behind(database) == []
    finally:
        shutil.rmtree(home)
