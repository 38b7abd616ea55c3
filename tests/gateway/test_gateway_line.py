"""The daemon as systemd starts it: with no broker, beside another one, with a real one; and how it stops."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config import read
from gateway.spool.store import SpoolFile
from simulators import publisher
from simulators.commune import build_commune
from simulators.faults import Faults
from simulators.simulation import simulate
from tests.gateway.test_gateway_cli import config_of, parsed
from tests.real_mosquitto import Mosquitto
from wire.identity import GatewayId
from wire.keys import SigningKey
from wire.reading import Undecoded

DEADLINE_S = 30.0
START_MS = 1_791_072_000_000


@asynccontextmanager
async def daemon(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m gateway`, ended at the end of the block if it is still there."""
    command = [sys.executable, "-m", "gateway", "--config", str(config)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def status_of(config: Path, holds: Callable[[Any], bool], what: str) -> Any:
    """`xom gateway status --json`, as soon as it says what is waited for."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    running = read(config).gateway.data / "status.json"
    while True:
        if running.exists():
            shown = await asyncio.to_thread(parsed, "status", "-c", config)
            if holds(shown):
                return shown
        assert asyncio.get_running_loop().time() < end, f"status never said: {what}"
        await asyncio.sleep(0.05)


async def stopped(process: asyncio.subprocess.Process, by: signal.Signals) -> str:
    """End the daemon in order; returns what it wrote on standard error."""
    process.send_signal(by)
    _, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 0, errors.decode()
    return errors.decode()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
async def test_it_starts_without_any_broker_says_so_and_stops_in_order(tmp_path: Path, by: signal.Signals) -> None:
    config = config_of(tmp_path)
    async with daemon(config) as process:
        shown = await status_of(
            config,
            lambda shown: all("cannot reach" in shown["running"][f"{side}_problem"] for side in ("hub", "chirpstack")),
            "both brokers are away",
        )
        assert shown["alive"]
        settings = read(config)
        assert shown["running"]["hub"] == str(settings.hub.broker())
        assert str(settings.hub.port) in shown["running"]["hub_problem"]
        assert str(settings.chirpstack.port) in shown["running"]["chirpstack_problem"]
        assert (shown["running"]["events"], shown["sources"], shown["spool"]["unsealed"]) == (0, [], 0)
        assert "Traceback" not in await stopped(process, by)


async def test_a_second_gateway_on_the_same_spool_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with daemon(config) as first:
        await status_of(config, lambda shown: shown["alive"], "it runs")
        async with daemon(config) as second:
            output, errors = await asyncio.wait_for(second.communicate(), DEADLINE_S)
        assert (second.returncode, output) == (2, b"")
        [line] = errors.decode().splitlines()
        assert line.startswith("xom gateway: ")
        assert "in use by another gateway process" in line
        assert first.returncode is None
        await stopped(first, signal.SIGTERM)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[seal]\nevery = 60", "'seal.every'"),
        ("[[device]]\ndev_eui = 'A840410000000001'\nprofile = 'no/such'", "device a840410000000001"),
        ("[[device]]\ndev_eui = 'A840410000000001'\nprofile = 'dragino/rs485-lb'", "map is missing"),
        (
            "[[device]]\ndev_eui = 'A840410000000001'\nprofile = 'dragino/rs485-lb'\nmap = '/no/map.toml'",
            "device a840410000000001: map /no/map.toml",
        ),
        (
            "[[device]]\ndev_eui = 'A840410000000001'\nprofile = 'dragino/ldds75'\nmap = 'decentlab/dl-tbrg-0.2'",
            "takes no map",
        ),
        (
            "[codecs]\nlibrary = '/no/library'\n[[device]]\ndev_eui = 'A840410000000001'\nprofile = 'dragino/ldds75'",
            "/no/library",
        ),
    ],
)
async def test_a_configuration_that_cannot_be_used_ends_it_before_it_starts(
    tmp_path: Path, text: str, named: str
) -> None:
    async with daemon(config_of(tmp_path, text)) as process:
        _, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 2
    [line] = errors.decode().splitlines()
    assert named in line


def test_a_hub_key_that_is_none_tells_where_to_get_one(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.write_text(config.read_text().replace("public_key = ", "username = "))

    async def start() -> tuple[int | None, str]:
        async with daemon(config) as process:
            _, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
            return process.returncode, errors.decode()

    code, errors = asyncio.run(start())
    assert code == 2
    assert "xom hub key" in errors


@pytest.mark.mosquitto
async def test_what_is_heard_is_in_the_spool_before_the_broker_may_forget_it(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Events go in while the hub has never been there; SIGTERM, and all of them are on the card."""
    config = config_of(tmp_path)
    village = build_commune(5, 1, hamlets=1).gateways[0]
    text = config.read_text().replace(
        f"[chirpstack]\nport = {read(config).chirpstack.port}", f"[chirpstack]\nport = {mosquitto.port}"
    )
    devices = [f'[[device]]\ndev_eui = "{one.dev_eui}"\nprofile = "{one.model}"' for one in village.devices[1:]]
    config.write_text("\n".join([text, *devices]))
    published, oracle = simulate(build_commune(5, 1, hamlets=1), Faults(), START_MS, START_MS + 3_600_000)
    async with daemon(config) as process:
        await status_of(
            config, lambda shown: not shown["running"]["chirpstack_problem"], "ChirpStack's broker is there"
        )
        async with publisher.connect("127.0.0.1", mosquitto.port, client_id="chirpstack") as client:
            await publisher.publish(client, published)

        def all_kept(shown: Any) -> bool:
            return bool(sum(one["frames"] for one in shown["sources"]) == len(published))

        shown = await status_of(config, all_kept, "everything is kept")
        unknown = village.devices[0].dev_eui.source
        assert [one["source"] for one in shown["unknown_devices"]] == [unknown]
        await stopped(process, signal.SIGTERM)
    log = mosquitto.log
    assert log.count("Received PUBACK from xom-thon-1") == len(published)
    readings = unsealed(config)
    assert len(readings) == len(published)
    raw = {one.frame.raw for one in readings if one.undecoded is Undecoded.UNKNOWN_DEVICE}
    first = [one for one in oracle.gateways[village.gateway_id].published if one.dev_eui == village.devices[0].dev_eui]
    assert raw == {one.encoded.data for one in first}


@pytest.mark.mosquitto
async def test_how_devices_and_concentrators_do_is_read_from_the_same_broker(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    config = config_of(tmp_path)
    reports = "radio_report_s = 0.5\nconcentrator_report_s = 0.5"
    old = f"[chirpstack]\nport = {read(config).chirpstack.port}"
    config.write_text(config.read_text().replace(old, f"[chirpstack]\nport = {mosquitto.port}\n{reports}"))
    published, _ = simulate(build_commune(5, 1, hamlets=1), Faults(), START_MS, START_MS + 3_600_000)
    device = published[0].topic.split("/")[3]
    async with daemon(config) as process:
        await status_of(
            config, lambda shown: not shown["running"]["chirpstack_problem"], "ChirpStack's broker is there"
        )
        async with publisher.connect("127.0.0.1", mosquitto.port, client_id="chirpstack") as client:
            await publisher.publish(client, published)
            # Retained, for this test alone: the second connection may come after it.
            stats = "as923_2/gateway/0016c001f1234567/event/stats"
            await client.publish(stats, b'{"gatewayId":"0016c001f1234567","rxPacketsReceived":7}', qos=1, retain=True)
        heard = {f"radio:{device}", "concentrator:0016c001f1234567"}
        await status_of(
            config, lambda shown: heard <= {one["source"] for one in shown["sources"]}, "both reports are kept"
        )
        await stopped(process, signal.SIGTERM)
    figures = {
        quantity.name: quantity.value
        for reading in unsealed(config)
        if reading.frame.source == f"radio:{device}"
        for quantity in reading.quantities
    }
    assert figures["frames_lost"] == 0
    assert figures["frames_received"]
    assert figures["spreading_factor"] in range(7, 13)


def unsealed(config: Path) -> list[Any]:
    """Every reading in a stopped gateway's spool that is in no batch yet."""
    settings = read(config)
    key = SigningKey.read(settings.gateway.data / "signing-key.pem")
    file = SpoolFile(settings.gateway.data / "spool.db", GatewayId(settings.gateway.id), key)
    file.open()
    try:
        return list(file.head(5000).readings)
    finally:
        file.close()


def test_run_becomes_the_daemon(tmp_path: Path) -> None:
    async def start() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "xom", "gateway", "run", "-c", str(tmp_path / "none.toml")],
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        return process.returncode, errors.decode()

    code, errors = asyncio.run(start())
    assert code == 2
    assert errors.startswith("xom gateway: ")
    assert "there is no such file" in errors
