"""B13: two gateways run on copies of one card. It is noticed, both contents are kept, neither starves the other."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from hub.store.incidents import IncidentKind, list_incidents
from tests.faults import harness
from tests.faults.hub_world import (
    enrol,
    field_gateway,
    gateway_config,
    home_below,
    running_hub,
    stored_batches,
    until,
)
from tests.hub.conftest import dsn, postgres  # noqa: F401 - fixtures
from tests.real_mosquitto import Mosquitto
from wire.batch import Batch, parse_payload
from wire.dsse import Envelope

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
NOTICED_S = 120


def numbers(batches: list[Batch]) -> set[tuple[str, int]]:
    return {(str(batch.gateway), one.frame.observed_at_ms) for batch in batches for one in batch.readings()}


async def test_b13_two_writers_of_one_identity_are_noticed_and_kept_apart(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto  # noqa: F811
) -> None:  # fmt: skip
    case = harness.Case(id="B13", seed=harness.seed(13), trials=1)
    async with running_hub(home_below(tmp_path, "hub"), dsn, mosquitto.port) as hub:
        key = hub.key.public
        original = gateway_config(home_below(tmp_path, "one"), "gw-a", mosquitto.port, key)
        clone = gateway_config(home_below(tmp_path, "two"), "gw-a", mosquitto.port, key)
        bystander = gateway_config(tmp_path, "gw-b", mosquitto.port, key)
        await enrol(dsn, original, bystander)
        await hub.enrolled.refresh(at_once=True)
        async with field_gateway(original) as first:
            await first.produce()
            await until("the original confirmed", lambda: first.confirmed)
        shutil.copytree(original.gateway.data, clone.gateway.data)  # the card is copied
        # One begins after the other, so that both seal other contents under the same numbers.
        async with (
            field_gateway(original, first=1_000) as first,
            field_gateway(clone, first=2_000) as second,
            field_gateway(bystander, first=3_000) as third,
        ):
            forks = hub.metrics.forks.labels(gateway="gw-a")
            writers, began = (first, second, third), time.monotonic()
            # Both go on measuring. A writer that hears the other's acknowledgement first sends nothing of that number.
            while forks._value.get() == 0:
                assert time.monotonic() - began < NOTICED_S, "the fork was not noticed"
                for field in writers:
                    await field.produce()
                sent = third.gateway.delivery.window.highest
                await until("a round", lambda: third.gateway.delivery.window.through >= sent)  # noqa: B023
            case.recovered(time.monotonic() - began)
            await until("the bystander is not starved", lambda: third.confirmed, deadline_s=120)
        stored = await stored_batches(dsn)
        incidents = [one for one in await list_incidents(hub.database) if one.kind is IncidentKind.CONFLICT]
        assert all(one.gateway == "gw-a" and one.seq is not None for one in incidents)
        async with hub.database.connection() as connection:
            rows = await (await connection.execute("select evidence from incident where kind = 'conflict'")).fetchall()
        evidence = [parse_payload(Envelope.decode(bytes(row[0])).payload) for row in rows]
        kept = numbers(stored) | numbers(evidence)
        case.stored, case.gaps = len(numbers(stored)), len(incidents)
        # An acknowledgement names numbers, not contents: of two writers, one may believe that the other's batch was its
        # own. What must not happen is that the fork goes unnoticed, or that anybody else is concerned.
        assert kept & first.oracle.promised
        assert kept & second.oracle.promised
        assert not numbers(stored) & numbers(evidence), "the two contents of a number are two"
        case.lost = len(third.oracle.promised - numbers(stored))
    case.close()
