"""B9, promise 8: the hub's database is restored from an old copy, and the gateways refill what it lacks, unattended."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from hub.store.incidents import IncidentKind
from tests.faults import harness
from tests.faults.hub_world import (
    HubProcess,
    enrol,
    field_gateway,
    gateway_config,
    home_below,
    stored_incidents,
    stored_readings,
    until,
)
from tests.real_mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
DAY = 30  # batches of the lost day


async def copy_database(dsn: str, source: str, target: str) -> None:
    """Put a copy of one database in the place of another, as a restore from a backup does."""
    async with await psycopg.AsyncConnection.connect(dsn, dbname="postgres", autocommit=True) as connection:
        names = {"target": sql.Identifier(target), "source": sql.Identifier(source)}
        await connection.execute(sql.SQL("drop database if exists {target} with (force)").format(**names))
        await connection.execute(sql.SQL("create database {target} template {source}").format(**names))


async def drop_database(dsn: str, name: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, dbname="postgres", autocommit=True) as connection:
        await connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


async def restore(case: harness.Case, hub: HubProcess, tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Back up, run on for a day, restore, start: then either everything is there again, or the case has lost."""
    name = str(conninfo_to_dict(hub.dsn)["dbname"])
    backup = f"{name}_backup"
    configs = [gateway_config(tmp_path, one, mosquitto.port, hub.key.public) for one in ("gw-a", "gw-b")]
    await enrol(hub.dsn, *configs)
    try:
        async with AsyncExitStack() as stack:
            fields = [await stack.enter_async_context(field_gateway(config)) for config in configs]
            hub.start()
            for field in fields:
                await field.produce(batches=5)
            await until("the first day confirmed", lambda: all(field.confirmed for field in fields))
            hub.stop()
            await copy_database(hub.dsn, name, backup)
            hub.start()
            for field in fields:
                await field.produce(batches=DAY)
            await until("the second day confirmed", lambda: all(field.confirmed for field in fields))
            lived = [field.gateway.delivery.window.incarnation for field in fields]
            hub.kill()
            await copy_database(hub.dsn, backup, name)
            hub.start()
            for field in fields:
                await field.produce()

            def settled() -> bool:
                if hub.broken:  # nothing will be refilled: all we can wait for is the new batches
                    return hub.ready() and hub.metric("xom_hub_readings_total") >= 2 * len(fields)
                newer = [field.gateway.delivery.window.incarnation for field in fields]
                return all(new > old for new, old in zip(newer, lived, strict=True)) and all(
                    field.confirmed for field in fields
                )

            case.recovered(await until("the day refilled", settled))
            stored = await stored_readings(hub.dsn)
            for field in fields:
                own = str(field.gateway.config.gateway.id)
                case.take(field.oracle.judge(key for key in stored if key[0] == own))
            case.trials += 1
    finally:
        hub.kill()
        await drop_database(hub.dsn, backup)


async def test_b9_gateways_refill_what_a_restored_hub_lacks(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    hub = HubProcess(home_below(tmp_path, "hub"), dsn, mosquitto.port)
    case = harness.Case(id="B9", seed=harness.seed(9))
    await restore(case, hub, tmp_path, mosquitto)
    [incident] = [one for one in await stored_incidents(dsn) if one.kind is IncidentKind.RESTORED]
    assert "behind what was announced" in incident.detail
    case.close()


async def test_b9_fails_when_the_hub_does_not_notice(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    hub = HubProcess(home_below(tmp_path, "hub"), dsn, mosquitto.port, "no_restore_detection")
    case = harness.Case(id="B9-broken-no_restore_detection", seed=9)
    await restore(case, hub, tmp_path, mosquitto)
    case.print()
    assert case.lost > 0


async def test_b9_an_operator_can_begin_a_new_incarnation(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    hub = HubProcess(home_below(tmp_path, "hub"), dsn, mosquitto.port)
    first = hub.run("begin-incarnation")["incarnation"]
    assert hub.run("begin-incarnation")["incarnation"] > first
    assert {one.kind for one in await stored_incidents(dsn)} == {IncidentKind.RESTORED}
    assert hub.run("gaps", "--from", "2026-01-01") == {"gateways": []}
