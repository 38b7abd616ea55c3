"""`xom hub redecode` as an operator runs it: killed and run again, dry, asked for JSON, asked wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from codec.profiles import ProfileLibrary
from hub.api.application import create_app
from hub.crash import VARIABLE
from hub.store.database import Database
from hub.store.derivations import list_derivations
from tests.hub.redecoding import TWIN, collected, dump, level_frames, library_at, store, uplink
from tests.hub.written import Log
from tests.hub_database import enrol
from tests.xom.commands import xom_beside
from wire.identity import GatewayId

pytestmark = pytest.mark.postgres

PERIOD = ("--from", "2026-01-01", "--to", "2026-02-01")


@pytest.fixture
def faulty(tmp_path: Path) -> ProfileLibrary:
    return library_at(tmp_path / "faulty", right=False)


@pytest.fixture
def right(tmp_path: Path) -> ProfileLibrary:
    return library_at(tmp_path / "right", right=True)


async def command(tmp_path: Path, dsn: str, *options: object, **environment: str) -> tuple[int, str, str]:
    config = tmp_path / "hub.toml"
    config.write_text(f'[hub]\ndata = "{tmp_path / "hub"}"\n[database]\ndsn = "{dsn}"\n')
    process = await xom_beside("hub", "redecode", "-c", config, *map(str, options), **environment)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_killed_between_two_transactions_and_run_again_it_ends_in_the_same_place(
    dsn: str, database: Database, tmp_path: Path, faulty: ProfileLibrary, right: ProfileLibrary
) -> None:
    logs = [Log(GatewayId("gw-a")), Log(GatewayId("gw-b"))]
    await enrol(database, *logs)
    wrong = await collected(faulty, level_frames(), faulty.root)
    for log in logs:
        await store(database, log, wrong)
    sealed = await dump(database)
    arguments = (*PERIOD, "--library", right.root)
    code, _, _ = await command(tmp_path, dsn, *arguments, **{VARIABLE: "after_commit:1"})
    half = await dump(database)
    assert (code, half != sealed) == (-9, True)
    code, out, err = await command(tmp_path, dsn, *arguments)
    assert code == 0, err
    assert out.startswith("derivation 2: 24 frames of 6 batches")
    assert "2 gateways still name the old codec in their last batch: gw-a, gw-b" in out
    done = await dump(database)
    assert done not in (sealed, half)
    code, out, _ = await command(tmp_path, dsn, *arguments, "--json")
    assert (json.loads(out)["unchanged"], json.loads(out)["changed"], await dump(database)) == (24, 0, done)
    assert [one.finished_at is None for one in await list_derivations(database, limit=9)] == [False, False, True]


async def test_a_dry_run_shows_old_and_new_and_leaves_no_trace(
    dsn: str, database: Database, log: Log, tmp_path: Path, faulty: ProfileLibrary, right: ProfileLibrary
) -> None:
    await store(database, log, await collected(faulty, level_frames(2), faulty.root))
    before = await dump(database)
    code, out, err = await command(tmp_path, dsn, *PERIOD, "--library", right.root, "--dry-run")
    assert code == 0, err
    assert "water_distance 2001 mm -> water_level 2000 cm" in out
    assert await dump(database) == before
    assert await list_derivations(database, limit=1) == []


async def test_what_nobody_knows_is_named_with_its_choices_and_the_rest_is_done(
    dsn: str, database: Database, log: Log, tmp_path: Path, faulty: ProfileLibrary, right: ProfileLibrary
) -> None:
    await store(database, log, await collected(faulty, [*level_frames(2), uplink("05", 5, TWIN)], faulty.root))
    arguments = (*PERIOD, "--library", right.root)
    code, out, _ = await command(tmp_path, dsn, *arguments, "--json")
    document = json.loads(out)
    assert code == 1
    assert document["left"] == [
        {"gateway": "gw-a", "source": TWIN, "reason": "codec acme/twin: one of acme/twin-a, acme/twin-b"}
    ]
    assert document["changed"] == 2
    devices = tmp_path / "devices.toml"
    devices.write_text(f'[[device]]\ndev_eui = "{TWIN.dev_eui}"\nprofile = "acme/twin-b"\n')
    code, out, err = await command(tmp_path, dsn, *arguments, "--devices", devices)
    assert code == 0, err
    assert "1  changed" in out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--device", "a840410000000004=acme/none"), "the library has no profile 'acme/none'"),
        (("--device", "a84041"), "is not a DevEUI"),
        (("--library", "/nowhere"), "there is no device library at /nowhere"),
        (("--codec", "acme/none"), "--codec acme/none: the library has no such codec"),
    ],
)
async def test_a_slip_is_one_line_and_nothing_is_done(
    dsn: str, tmp_path: Path, right: ProfileLibrary, options: tuple[str, ...], named: str
) -> None:
    code, _, err = await command(tmp_path, dsn, *PERIOD, "--library", right.root, *options)
    assert code == 2
    assert err.startswith("xom hub: ")
    assert named in err
    assert len(err.splitlines()) == 1


async def test_the_api_shows_derivations_and_what_they_replaced(
    dsn: str, database: Database, log: Log, tmp_path: Path, faulty: ProfileLibrary, right: ProfileLibrary
) -> None:
    await store(database, log, await collected(faulty, level_frames(2), faulty.root))
    arguments = (*PERIOD, "--library", right.root, "--reason", "ten times too high")
    code, _, err = await command(tmp_path, dsn, *arguments)
    assert code == 0, err
    app = create_app(database, metrics=CollectorRegistry(), broker_connected=lambda: True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://hub") as client:
        (derivation,) = (await get(client, "/derivations"))["items"]
        streams = {
            one["observed_property"]: one["datastream_no"] for one in (await get(client, "/datastreams"))["items"]
        }
        fresh = (await get(client, f"/datastreams/{streams['water_level']}/observations"))["items"]
        gone = await old_stream(database)
        old = (await get(client, f"/datastreams/{gone}/superseded"))["items"]
    assert (derivation["derivation_no"], derivation["reason"], derivation["changed"]) == (1, "ten times too high", 2)
    assert derivation["library_sha256"] == right.library_hash
    assert [(one["value"], one["derivation"]) for one in fresh] == [(2000.0, 1), (2020.0, 1)]
    assert [(one["value"], one["derivation"], one["superseded_by"], one["why"]) for one in old] == [
        (2001.0, 0, 1, "redecoded"),
        (2021.0, 0, 1, "redecoded"),
    ]
    assert old[0]["codec"] == faulty.profile("acme/level").codec


async def get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def old_stream(database: Database) -> int:
    async with database.connection() as connection:
        cursor = await connection.execute(
            "select datastream_no from datastream where observed_property = 'water_distance'"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
