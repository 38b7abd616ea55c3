"""B13: two gateways on copies of one card, and one on an older copy of its own. Noticed, parted, nothing given up."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.delivery.window import DeliveryWindow
from hub.assembly import Hub
from hub.store.incidents import IncidentKind, list_incidents
from tests.faults import harness
from tests.faults.hub_world import (
    Field,
    ReadingKey,
    enrol,
    field_gateway,
    gateway_config,
    home_below,
    running_hub,
    stored_batches,
    until,
)
from tests.real_mosquitto import Mosquitto
from wire.batch import Batch, parse_payload
from wire.dsse import Envelope

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
NOTICED_S = 120


def numbers(batches: list[Batch]) -> set[ReadingKey]:
    return {(str(batch.gateway), one.frame.observed_at_ms) for batch in batches for one in batch.readings()}


def opened(rows: Sequence[tuple[Any, ...]]) -> list[Batch]:
    return [parse_payload(Envelope.decode(bytes(row[0])).payload) for row in rows]


async def conflict_evidence(hub: Hub) -> list[Batch]:
    """What the hub has kept beside its log: other contents of numbers that it holds."""
    async with hub.database.connection() as connection:
        rows: Sequence[Any] = await (
            await connection.execute("select evidence from incident where kind = 'conflict'")
        ).fetchall()
    return opened(rows)


def still_held(field: Field) -> set[ReadingKey]:
    """What a gateway still has, and may not delete: all that is not proven to be at the hub."""
    db = field.gateway.spool._file._card.connection
    unproven = "SELECT bytes FROM header JOIN envelope USING (id) WHERE confirmed < 2"
    return numbers(opened(db.execute(unproven).fetchall()))


def parted(*fields: Field) -> bool:
    """Whether each writes an epoch of its own: the first to find out leaves, and the log is the other's again."""
    return len({field.gateway.delivery.window.epoch for field in fields}) == len(fields)


async def clone_card(
    tmp_path: Path, store: str, mosquitto: Mosquitto, case: harness.Case, *, within_s: float = NOTICED_S
) -> None:
    """Copy a card, run both; judge what became of every reading of both."""
    async with running_hub(home_below(tmp_path, "hub"), store, mosquitto.port) as hub:
        key = hub.key.public
        original = gateway_config(home_below(tmp_path, "one"), "gw-a", mosquitto.port, key)
        clone = gateway_config(home_below(tmp_path, "two"), "gw-a", mosquitto.port, key)
        bystander = gateway_config(tmp_path, "gw-b", mosquitto.port, key)
        await enrol(store, original, bystander)
        await hub.enrolled.refresh(at_once=True)
        async with field_gateway(original) as first:
            await first.produce()
            await until("the original confirmed", lambda: first.confirmed)
        shutil.copytree(original.gateway.data, clone.gateway.data)  # the card is copied
        # Readings are numbered apart, so that both seal other contents under the same numbers.
        async with (
            field_gateway(original, first=1_000) as first,
            field_gateway(clone, first=2_000) as second,
            field_gateway(bystander, first=3_000) as third,
        ):
            began = time.monotonic()
            while not parted(first, second):
                assert time.monotonic() - began < within_s, "the writers did not part"
                for field in (first, second, third):
                    await field.produce()
                sent = third.gateway.delivery.window.highest
                await until("a round", lambda: third.gateway.delivery.window.through >= sent)  # noqa: B023
            case.recovered(time.monotonic() - began)
            for field in (first, second):
                await field.produce()
                await until("its own epoch is confirmed", lambda: field.confirmed, deadline_s=120)  # noqa: B023
            await until("the bystander is not starved", lambda: third.confirmed, deadline_s=120)
            held = still_held(first) | still_held(second)
            stored, evidence = numbers(await stored_batches(store)), numbers(await conflict_evidence(hub))
        incidents = [one for one in await list_incidents(hub.database) if one.kind is IncidentKind.CONFLICT]
        assert all(one.gateway == "gw-a" and one.seq is not None for one in incidents)
        assert not stored & evidence, "the two contents of a number are two"
        promised = first.oracle.promised | second.oracle.promised | third.oracle.promised
        case.stored, case.gaps = len(stored), len(incidents)
        case.lost = len(promised - stored - evidence - held)


async def test_b13_two_writers_of_one_identity_part_and_neither_frees_the_others_batches(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="B13", seed=harness.seed(13), trials=1)
    await clone_card(tmp_path, dsn, mosquitto, case)
    case.close()


async def test_b13_fails_when_an_acknowledgement_is_not_bound_to_content(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A writer that believes numbers alone takes the other's acknowledgement, and never notices."""
    monkeypatch.setattr(DeliveryWindow, "_is_of_another_writer", lambda *_: False)
    case = harness.Case(id="B13-broken-unbound", seed=harness.seed(13), trials=1)
    with pytest.raises(AssertionError, match="did not part"):
        await clone_card(tmp_path, dsn, mosquitto, case, within_s=10)


async def test_b13_a_gateway_on_an_older_copy_of_its_card_goes_on_in_a_new_epoch(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="B13-older-copy", seed=harness.seed(113), trials=1)
    async with running_hub(home_below(tmp_path, "hub"), dsn, mosquitto.port) as hub:
        config = gateway_config(home_below(tmp_path, "one"), "gw-a", mosquitto.port, hub.key.public)
        await enrol(dsn, config)
        await hub.enrolled.refresh(at_once=True)
        async with field_gateway(config) as early:
            await early.produce(batches=3)
            await until("confirmed", lambda: early.confirmed)
        shutil.copytree(config.gateway.data, tmp_path / "copy")
        async with field_gateway(config, first=1_000) as late:
            await late.produce(batches=5)
            await until("confirmed", lambda: late.confirmed)
        shutil.rmtree(config.gateway.data)  # the card broke; somebody puts the copy in
        shutil.copytree(tmp_path / "copy", config.gateway.data)
        async with field_gateway(config, first=2_000) as again:
            began = time.monotonic()
            await again.produce(batches=2)
            await until("it finds out", lambda: again.gateway.delivery.counters.forks > 0)
            await again.produce(batches=2)
            await until("the new epoch is confirmed", lambda: again.confirmed)
            case.recovered(time.monotonic() - began)
            promised = early.oracle.promised | late.oracle.promised | again.oracle.promised
            stored, evidence = numbers(await stored_batches(dsn)), numbers(await conflict_evidence(hub))
            case.stored = len(stored)
            case.lost = len(promised - stored - evidence - still_held(again))
            told = [one for one in await list_incidents(hub.database) if one.kind is IncidentKind.NEW_EPOCH]
            assert told, "the operator is told"
    case.close()
