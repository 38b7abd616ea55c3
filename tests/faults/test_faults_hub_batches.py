"""B10, B11, B12: what comes twice, in any order, damaged or forked leaves the same tables as the clean run."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.ingest.admit import Refused, admit
from hub.store import batches
from hub.store.admission import Admitted, judge
from hub.store.batches import BatchStore
from hub.store.database import Database
from hub.store.incidents import IncidentKind, list_incidents
from tests.faults import harness, hub_broken
from tests.faults.hub_world import home_below, running_hub, stored_batches, until
from tests.hub.ingest.running import station
from tests.hub.written import Log, series
from tests.hub_database import enrol
from tests.real_mosquitto import Mosquitto
from wire.identity import GatewayId
from wire.keys import Verifier
from wire.refusal import Reason, refused

TOPIC = "xom/v1/gw/gw-a/up/batch"

# ---- B10

_LOGS: Final = (Log(GatewayId("gw-a")), Log(GatewayId("gw-b")))
_BATCHES: Final = [batch for log in _LOGS for batch in log.many(5)]
# Everything that is stored but what a run numbers and dates by itself.
_TABLES: Final = (
    "select gateway_id, epoch, seq, payload_sha256, prev_sha256, window_from, window_to, readings, envelope, chain "
    "from batch order by gateway_id, epoch, seq",
    "select b.gateway_id, b.seq, o.reading_index, o.observed_at, o.value, o.quality, s.source_id, "
    "d.observed_property, d.unit from observation o join batch b using (batch_no) "
    "join datastream d using (datastream_no) join source s using (source_no) order by 1, 2, 3, 7, 8",
    "select gateway_id, epoch, through, highest from delivery order by 1, 2",
    "select s.gateway_id, source_id, readings, undecoded from source s join source_tally using (source_no) order by 1",
    "select s.gateway_id, observed_property, first_observed_at, last_observed_at "
    "from datastream join source s using (source_no) order by 1, 2",
    "select kind, gateway_id, seq from incident order by incident_no",
)
_DERIVED: Final = "truncate batch, observation, delivery, source_tally, datastream, incident restart identity cascade"

# A schedule: which batches come, in which groups, how often; the gateways see to it that each comes at least once.
schedules = st.lists(st.lists(st.integers(0, len(_BATCHES) - 1), min_size=1, max_size=12), max_size=6)


async def tables(database: Database) -> list[Any]:
    async with database.connection() as connection:
        return [await (await connection.execute(query.encode())).fetchall() for query in _TABLES]


async def deliver(database: Database, schedule: list[list[int]]) -> list[Any]:
    """Bring batches over admit and the store into empty tables; what an ack was lost for comes again at the end."""
    async with database.connection() as connection:
        await connection.execute(_DERIVED)
    store = BatchStore(database)
    verifiers = {log.gateway: log.key.public.verifier() for log in _LOGS}
    for group in schedule:
        verdicts = [admit(f"xom/v1/gw/{one.gateway}/up/batch", one.envelope, verifiers) for one in _chosen(group)]
        await store.commit([one for one in verdicts if isinstance(one, Admitted)])
    return await tables(database)


def _chosen(group: list[int]) -> list[Admitted]:
    return [_BATCHES[at] for at in group]


@pytest.mark.postgres
async def test_b10_any_order_any_repetition_gives_the_tables_of_the_clean_run(database: Database) -> None:
    await enrol(database, *_LOGS)
    everything = list(range(len(_BATCHES)))
    clean = await deliver(database, [[at] for at in everything])
    case = harness.Case(id="B10", seed=harness.seed(10))

    @given(schedule=schedules, last=st.permutations(everything))
    @settings(max_examples=harness.trials(40), suppress_health_check=list(HealthCheck))
    def collect(schedule: list[list[int]], last: list[int]) -> None:
        # Every second ack was dropped: half of what had arrived comes once more, and what had not comes at last.
        schedule_of_all.append([*schedule, last, last[::2]])

    schedule_of_all: list[list[list[int]]] = []
    collect()
    for schedule in schedule_of_all:
        found = await deliver(database, schedule)
        assert found == clean, schedule
        case.trials += 1
        case.stored += len(found[0])
    case.close()


@pytest.mark.postgres
async def test_b10_fails_without_the_dedup_key(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    await enrol(database, *_LOGS)
    everything = list(range(len(_BATCHES)))
    clean = await deliver(database, [everything])
    async with database.connection() as connection:
        await connection.execute("alter table batch drop constraint batch_pkey")
    insert = batches._SQL["insert"].replace(b"on conflict (gateway_id, epoch, seq) do nothing", b"")
    monkeypatch.setattr(batches, "_SQL", {**batches._SQL, "insert": insert})
    monkeypatch.setattr(batches, "judge", lambda admitted, _, keys: judge(admitted, {}, keys))
    assert await deliver(database, [everything, everything[::2]]) != clean


# ---- B11


def damaged(envelope: bytes, chance: random.Random) -> dict[str, bytes]:
    """Cut, flip and extend a batch at each of its bytes."""
    ways = {}
    for at in range(len(envelope)):
        ways[f"cut at {at}"] = envelope[:at]
        ways[f"bit flipped at {at}"] = (
            envelope[:at] + bytes([envelope[at] ^ 1 << chance.randrange(8)]) + envelope[at + 1 :]
        )
        ways[f"extended at {at}"] = envelope[:at] + chance.randbytes(1) + envelope[at:]
    ways["extended at its end"] = envelope + b"\0"
    return ways


def test_b11_a_batch_damaged_at_any_byte_is_refused_as_a_whole() -> None:
    log = _LOGS[0]
    verifiers = {log.gateway: log.key.public.verifier()}
    case = harness.Case(id="B11", seed=harness.seed(11))
    for way, payload in damaged(log.sealed[0].envelope, case.random).items():
        verdict = admit(TOPIC, payload, verifiers)
        assert isinstance(verdict, Refused), way
        assert verdict.incident.evidence == payload
        assert verdict.incident.detail
        case.trials += 1
    case.close()


def test_b11_fails_when_the_signature_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    log = _LOGS[0]
    verifiers = {log.gateway: log.key.public.verifier()}
    monkeypatch.setattr(Verifier, "verify", lambda *_: True)
    ways = damaged(log.sealed[0].envelope, random.Random(11))
    assert any(isinstance(admit(TOPIC, payload, verifiers), Admitted) for payload in ways.values())


@pytest.mark.mosquitto
@pytest.mark.postgres
async def test_b11_poison_is_parked_its_sender_told_why_and_the_queue_moves(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    log = Log(GatewayId("gw-a"))
    case = harness.Case(id="B11-poison", seed=harness.seed(11), trials=1)
    good = log.many(2)
    poison = list(damaged(log.sealed[0].envelope, case.random).values())[-30:]
    async with running_hub(home_below(tmp_path, "hub"), dsn, mosquitto.port) as hub:
        await enrol(hub.database, log)
        await hub.enrolled.refresh(at_once=True)
        async with station(log.gateway, mosquitto.port, hub.key.public.verifier()) as sender:
            await sender.send(good[0].envelope, *poison, good[1].envelope)
            await until("the batch behind the poison", lambda: hub.metrics.readings._value.get() == 6)
            await until("the sender told of each", lambda: len(sender.refused) == len(poison))
            told = {one.sha256: one.reason for one in sender.refused}
            assert told == {hashlib.sha256(one).hexdigest(): Reason.BAD_SIGNATURE for one in poison}
            case.reached["told"] += len(told)
            await sender.acked(2)
        stored = await stored_batches(dsn)
        recorded = await list_incidents(hub.database)
        assert sum(one.count for one in recorded) == len(poison)
        case.stored = len(stored)
    # The broker has been told: a hub that comes back is not fed the poison again.
    async with running_hub(home_below(tmp_path, "hub"), dsn, mosquitto.port) as hub:
        async with station(log.gateway, mosquitto.port, hub.key.public.verifier()) as sender:
            await sender.send(log.seal(series(1)).envelope)
            await sender.acked(3)
            assert not sender.refused
        assert sum(one.count for one in await list_incidents(hub.database)) == len(poison)
    case.close(points=["told"])


# ---- B12


async def send_a_second_content(case: harness.Case, tmp_path: Path, dsn: str, mosquitto: Mosquitto) -> None:
    """Bring two contents under one number: the first must stay, the second must be evidence, an alarm, and told."""
    first = Log(GatewayId("gw-a"))
    second = first.fork()
    one, other = first.seal(series(2)), second.seal(series(3))
    async with running_hub(home_below(tmp_path, "hub"), dsn, mosquitto.port) as hub:
        await enrol(hub.database, first)
        await hub.enrolled.refresh(at_once=True)
        async with station(first.gateway, mosquitto.port, hub.key.public.verifier()) as sender:
            await sender.send(one.envelope)
            await sender.acked(1)
            await sender.send(other.envelope, first.seal(series(1)).envelope)
            await sender.acked(2)
            evidence = {found.evidence_sha256 for found in await list_incidents(hub.database)}
            kept = {batch.payload_sha256 for batch in await stored_batches(dsn)}
            case.lost += one.batch.payload_sha256 not in kept
            case.lost += hashlib.sha256(other.envelope).digest() not in evidence
            case.duplicate += other.batch.payload_sha256 in kept
            case.stored = len(kept)
            if case.lost:
                return
            await until("the sender told", lambda: bool(sender.refused))
            assert sender.refused == [refused(other.envelope, Reason.CONFLICT)]
        [incident] = await list_incidents(hub.database)
        assert (incident.kind, incident.evidence_bytes) == (IncidentKind.CONFLICT, len(other.envelope))
        assert hub.metrics.forks.labels(gateway="gw-a")._value.get() == 1, "the alarm's counter"


@pytest.mark.mosquitto
@pytest.mark.postgres
async def test_b12_a_second_content_is_kept_as_evidence_and_counted_for_the_alarm(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="B12", seed=harness.seed(12), trials=1)
    await send_a_second_content(case, tmp_path, dsn, mosquitto)
    case.close()


@pytest.mark.mosquitto
@pytest.mark.postgres
async def test_b12_fails_when_only_numbers_are_compared(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    hub_broken.content_ignored(monkeypatch.setattr)
    case = harness.Case(id="B12-broken-content_ignored", seed=12, trials=1)
    await send_a_second_content(case, tmp_path, dsn, mosquitto)
    case.print()
    assert case.lost > 0
