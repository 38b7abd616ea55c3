"""B6 and B7 with the embedded PostgreSQL: it is killed, or its disk runs full. The hub brings it back by itself."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from hub.api.problems import MEDIA_TYPE
from hub.store.embedded import running_server
from tests.faults import harness
from tests.faults.hub_postgres import MortalPostgres
from tests.faults.hub_world import (
    Field,
    HubProcess,
    enrol,
    field_gateway,
    gateway_config,
    home_below,
    stored_batches,
    stored_readings,
    until,
)
from tests.faults.loop_image import Disk, loop_disk
from tests.hub.written import BEGAN_MS, reading
from tests.real_mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
UNAVAILABLE = 503
_RAW_BYTES = 200_000
_OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.json"
_EXAMPLES = {"{gateway_id}": "gw-a", "{datastream_no}": "1"}


@pytest.fixture
def home() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="xom-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def disk() -> Iterator[Disk]:
    with loop_disk("B7", 320) as made:
        yield made


def postgres_runs(hub: HubProcess) -> bool:
    """Whether the hub's own server takes connections."""
    return running_server(hub.home / "postgres") is not None


def dsn_of(hub: HubProcess) -> str:
    """The embedded server's address, as soon as it takes connections."""
    return harness.poll("the embedded server", lambda: running_server(hub.home / "postgres"))


def kill_postgres(hub: HubProcess) -> None:
    """Kill the postmaster and its processes at once: what the kernel's out-of-memory killer leaves."""
    pid = int((hub.home / "postgres" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, children)):
        os.kill(each, signal.SIGKILL)


def every_route() -> list[str]:
    """Every path of the API that reads the database, with what it needs to be asked at all."""
    paths = json.loads(_OPENAPI.read_text())["paths"]
    routes = [path for path in paths if path.startswith("/api/")]
    for name, value in _EXAMPLES.items():
        routes = [path.replace(name, value) for path in routes]
    period = "?from=2026-01-15T00:00:00Z&to=2026-01-16T00:00:00Z"
    return [path + period if path.endswith("/aggregates") else path for path in routes]


def answers_why(hub: HubProcess, route: str) -> bool | None:
    """Whether a route says in a problem's form that the database is away: reason, remedy, no stack trace."""
    answer = hub.get(route)
    if answer is None or answer.status_code != UNAVAILABLE:
        return None
    problem = answer.json()
    assert answer.headers["content-type"] == MEDIA_TYPE, route
    assert "database is not available" in problem["detail"], problem
    assert problem["remedy"]
    assert int(answer.headers["retry-after"]) > 0
    assert "Traceback" not in answer.text
    return True


async def test_b6_every_route_says_why_while_the_database_is_away(tmp_path: Path, mosquitto: Mosquitto) -> None:
    mortal = MortalPostgres()
    try:
        mortal.make()
        hub = HubProcess(home_below(tmp_path, "hub"), mortal.dsn, mosquitto.port)
        hub.start()
        try:
            await asyncio.to_thread(harness.poll, "a hub that is ready", hub.ready, deadline_s=60)
            mortal.kill()
            asked = [asyncio.to_thread(answers_why, hub, route) for route in every_route()]
            assert len(asked) >= 8
            assert await asyncio.gather(*asked) == [True] * len(asked)
            live, ready = hub.get("/healthz"), hub.get("/readyz")
            assert live is not None
            assert ready is not None
            assert (live.status_code, ready.status_code) == (200, UNAVAILABLE)
            assert ready.json()["checks"]["database"] != "ok"
            assert "Traceback" not in hub.log
        finally:
            hub.kill()
    finally:
        mortal.remove()


@contextmanager
def embedded_hub(home: Path, mosquitto: Mosquitto, broken: str = "") -> Iterator[HubProcess]:
    """A hub with a database of its own, ready."""
    hub = HubProcess(home_below(home, "hub"), "", mosquitto.port, broken)
    try:
        hub.start()
        harness.poll("a hub that is ready", hub.ready, deadline_s=90)
        yield hub
    finally:
        hub.stop()


async def kill_the_embedded_server(
    case: harness.Case, home: Path, tmp_path: Path, mosquitto: Mosquitto, broken: str = ""
) -> None:
    """Kill it under a gateway that goes on producing, as often as the case has trials."""
    with embedded_hub(home, mosquitto, broken) as hub:
        config = gateway_config(tmp_path, "gw-a", mosquitto.port, hub.key.public)
        await enrol(dsn_of(hub), config)
        async with field_gateway(config) as field:
            for _ in range(case.trials):
                await field.produce()
                await until("the hub takes batches", lambda: field.confirmed)
                kill_postgres(hub)
                case.reached["kill -9"] += 1
                await field.produce(batches=5)
                waited = until("everything confirmed", lambda: field.confirmed, deadline_s=10 if broken else 60)
                case.recovered(await waited)
                assert hub.returncode is None, "the hub did not survive"
            case.take(field.oracle.judge(await stored_readings(dsn_of(hub))))


async def test_b6_the_hub_starts_its_own_database_again(home: Path, tmp_path: Path, mosquitto: Mosquitto) -> None:
    case = harness.Case(id="B6-embedded", seed=harness.seed(6), trials=harness.trials(2))
    await kill_the_embedded_server(case, home, tmp_path, mosquitto)
    case.close(points=["kill -9"])


async def test_b6_fails_when_nobody_looks_after_the_embedded_server(
    home: Path, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    case = harness.Case(id="B6-embedded-broken-left_dead", seed=6, trials=1)
    with pytest.raises(AssertionError, match="everything confirmed"):
        await kill_the_embedded_server(case, home, tmp_path, mosquitto, "left_dead")


# What is left when the disk is "full": enough for the log but not for the tables, and the other way round, where one
# more segment of 16 MB does not fit and PostgreSQL panics, fails to recover, and gives up.
_LEFT = {"tables": 3_000_000, "wal": 14_500_000}


async def fill_the_disk(
    case: harness.Case, disk: Disk, tmp_path: Path, mosquitto: Mosquitto, ways: Sequence[str], broken: str = ""
) -> None:
    """Fill the disk under load, see that acknowledgements stop and the gateway keeps everything, and free it."""
    chance = case.random
    with embedded_hub(disk.path, mosquitto, broken) as hub:
        config = gateway_config(tmp_path, "gw-a", mosquitto.port, hub.key.public)
        await enrol(dsn_of(hub), config)
        async with field_gateway(config) as field:
            window = field.gateway.delivery.window
            for way in itertools.islice(itertools.cycle(ways), case.trials):
                await produce_fat(field, chance, 4)
                await until("the hub takes batches", lambda: field.confirmed)
                disk.fill(leave_bytes=_LEFT[way])
                await until_refused(field, chance, hub)
                case.reached[way] += 1
                if way == "wal":
                    await until("PostgreSQL gives up", lambda: not postgres_runs(hub))
                through = window.through
                await produce_fat(field, chance, 2)
                await until_refused(field, chance, hub)
                assert window.through == through, "acknowledged, with nowhere to put it"
                if way == "tables":  # it can be read all the while
                    assert through <= len(await stored_batches(dsn_of(hub))), "acknowledged, and not stored"
                disk.free()
                waited = until("everything confirmed", lambda: field.confirmed, deadline_s=20 if broken else 120)
                case.recovered(await waited)
                assert hub.returncode is None, "the hub did not survive"
            case.take(field.oracle.judge(await stored_readings(dsn_of(hub))))


async def produce_fat(field: Field, chance: random.Random, batches: int) -> None:
    """Seal batches that no compression makes small."""
    for _ in range(batches):
        at_ms = BEGAN_MS + next(field.numbers)
        one = reading(at_ms)
        fat = msgspec.structs.replace(one, frame=msgspec.structs.replace(one.frame, raw=chance.randbytes(_RAW_BYTES)))
        await field.gateway.spool.append([fat])
        field.oracle.promise((str(field.gateway.config.gateway.id), at_ms))
        await field.gateway.sealer.seal_all(field.gateway.clock.now())


async def until_refused(field: Field, chance: random.Random, hub: HubProcess) -> None:
    """Load the hub until its database has refused another commit."""
    before = await refusals(hub)
    for _ in range(400):
        if await refusals(hub) > before:
            return
        if field.confirmed:
            await produce_fat(field, chance, 1)
        await asyncio.sleep(0.02)
    pytest.fail("the disk did not run full")


async def refusals(hub: HubProcess) -> float:
    """How often the database refused."""
    return await asyncio.to_thread(hub.metric, "xom_hub_store_unavailable_total")


async def test_b7_a_full_disk_stops_acknowledgements_and_the_hub_goes_on_when_there_is_room(
    disk: Disk, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    case = harness.Case(id="B7", seed=harness.seed(7), trials=harness.trials(2))
    await fill_the_disk(case, disk, tmp_path, mosquitto, ["tables", "wal"])
    case.close(points=["tables", "wal"])


async def test_b7_fails_when_the_hub_acknowledges_before_it_stores(
    disk: Disk, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    case = harness.Case(id="B7-broken-ack_before_commit", seed=7, trials=1)
    with pytest.raises(AssertionError, match="acknowledged"):
        await fill_the_disk(case, disk, tmp_path, mosquitto, ["tables"], "ack_before_commit")
