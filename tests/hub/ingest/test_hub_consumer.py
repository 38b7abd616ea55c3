"""Ingest on a real broker and a real database: stored once, acknowledged after COMMIT, nothing else acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from hub.assembly import Hub
from hub.config import Config, DatabaseSection, Http, Identity, Mqtt
from hub.store.database import Database
from tests.hub.ingest.running import Station, answer, counter, items, running_hub, station, until
from tests.hub.written import BEGAN_MS, Log, gap, reading, series
from tests.hub_database import Server, enrol
from tests.real_mosquitto import Mosquitto
from wire import dsse
from wire.ack import Anchor
from wire.batch import BATCH_TYPE, MAX_ENVELOPE_BYTES, Body, compress, parse_payload
from wire.dsse import Envelope
from wire.identity import GatewayId
from wire.reading import Undecoded
from wire.refusal import Reason

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]

HUBS_PUBACK = "Received PUBACK from xom-hub"


def sign_body(log: Log, body: Body) -> bytes:
    """What a gateway with another version would have sealed."""
    encoded = msgspec.msgpack.encode(body, enc_hook=str)
    return dsse.sign(BATCH_TYPE, compress(encoded), log.key).encode()


@pytest.fixture
def config(dsn: str, mosquitto: Mosquitto, tmp_path: Path) -> Config:
    return Config(
        hub=Identity(data=tmp_path / "hub"),
        database=DatabaseSection(dsn=dsn, pool=6),
        mqtt=Mqtt(port=mosquitto.port),
        http=Http(port=0),
    )


@pytest.fixture
async def hub(config: Config, log: Log) -> AsyncIterator[Hub]:
    """A hub that knows the gateway of `log`."""
    async with running_hub(config) as running:
        yield running


@pytest.fixture
async def gateway(hub: Hub, log: Log, mosquitto: Mosquitto) -> AsyncIterator[Station]:
    async with station(log.gateway, mosquitto.port, hub.key.public.verifier()) as opened:
        yield opened


@asynccontextmanager
async def admin(postgres: Server) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection beside the hub's, on another database."""
    async with await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True) as connection:
        yield connection


async def refuse_connections(postgres: Server, name: str) -> None:
    """Take a database away as a stopped server would: every session ends, none begins."""
    async with admin(postgres) as connection:
        await connection.execute(sql.SQL("alter database {} allow_connections false").format(sql.Identifier(name)))
        await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])


async def allow_connections(postgres: Server, name: str) -> None:
    async with admin(postgres) as connection:
        await connection.execute(sql.SQL("alter database {} allow_connections true").format(sql.Identifier(name)))


async def stored(hub: Hub) -> list[bytes]:
    return [envelope async for envelope in hub.envelopes()]


async def test_batches_are_stored_and_acknowledged_with_the_hubs_signature(
    hub: Hub, gateway: Station, log: Log
) -> None:
    sent = [one.envelope for one in log.many(5)]
    await gateway.send(*sent)
    ack = await gateway.acked(5)
    assert (ack.gateway, ack.epoch, ack.highest, ack.missing) == (log.gateway, log.epoch, 5, ())
    assert await stored(hub) == sent
    assert await hub.count_observations() == 15


async def test_the_acknowledgement_is_retained_for_a_gateway_that_comes_later(
    hub: Hub, gateway: Station, log: Log, mosquitto: Mosquitto
) -> None:
    await gateway.send(log.seal(series(1)).envelope)
    ack = await gateway.acked(1)
    async with station(log.gateway, mosquitto.port, hub.key.public.verifier()) as later:
        await until(lambda: ack in later.retained, "the retained acknowledgement")


async def test_nothing_is_acknowledged_before_its_commit(
    hub: Hub, gateway: Station, log: Log, dsn: str, mosquitto: Mosquitto
) -> None:
    waiting = "select count(*) from pg_locks where not granted and relation = 'batch'::regclass"
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as observer,
        await psycopg.AsyncConnection.connect(dsn) as holder,
    ):
        # The transaction that holds the table decides when the hub's COMMIT may come.
        await holder.execute("lock table batch in share mode")
        await gateway.send(log.seal(series(3)).envelope)

        async def the_hub_waits() -> bool:
            row = await (await observer.execute(waiting)).fetchone()
            return row is not None and row[0] > 0

        await until(the_hub_waits, "the hub is inside its transaction")
        assert HUBS_PUBACK not in mosquitto.log
        assert not gateway.acks
        await holder.rollback()
        await gateway.acked(1)
    await until(lambda: HUBS_PUBACK in mosquitto.log, "the broker is told")


async def test_the_same_batch_twice_is_stored_once_and_acknowledged_again(hub: Hub, gateway: Station, log: Log) -> None:
    sent = log.seal(series(3)).envelope
    await gateway.send(sent)
    await gateway.acked(1)
    before = len(gateway.acks)
    await gateway.send(sent, sent)

    async def both_counted() -> bool:
        return await counter(hub, 'xom_hub_batches_total{outcome="duplicate"}') == 2

    await until(both_counted, "two duplicates")
    await until(lambda: len(gateway.acks) > before, "a repeated acknowledgement")
    assert gateway.acks[-1].through == 1
    assert (await stored(hub), await hub.count_observations()) == ([sent], 3)
    assert await items(hub, "/incidents") == []


async def test_another_content_under_the_same_number_never_replaces_the_first(
    hub: Hub, gateway: Station, log: Log
) -> None:
    first = log.seal(series(3))
    await gateway.send(first.envelope, log.seal(series(4), seq=1, prev=first.batch.body.prev).envelope)
    await gateway.acked(1)

    async def a_conflict_stands() -> bool:
        return [one["kind"] for one in await items(hub, "/incidents")] == ["conflict"]

    await until(a_conflict_stands, "the conflict is kept")
    assert await stored(hub) == [first.envelope]


async def test_a_hole_is_named_until_it_is_filled(hub: Hub, gateway: Station, log: Log) -> None:
    first, second, third, fourth = (one.envelope for one in log.many(4))
    await gateway.send(first, fourth)
    assert (await gateway.acked(1, missing=((2, 3),))).highest == 4
    await gateway.send(third, second)
    await gateway.acked(4)
    assert await hub.missing_batches() == 0


async def test_a_poison_message_is_kept_as_an_incident_and_the_queue_moves(
    config: Config, log: Log, mosquitto: Mosquitto
) -> None:
    async with running_hub(config) as hub, station(log.gateway, mosquitto.port, hub.key.public.verifier()) as gateway:
        await gateway.send(b"poison", log.seal(series(3)).envelope, b"poison", log.seal(series(3)).envelope)
        await gateway.acked(2)
        [incident] = await items(hub, "/incidents")
        assert (incident["kind"], incident["gateway_id"], incident["count"]) == ("bad_signature", log.gateway, 2)
        assert incident["evidence_bytes"] == len(b"poison")
        assert await counter(hub, 'xom_hub_refused_total{reason="bad_signature"}') == 2
    # What was refused was also PUBACKed: a hub that starts again is not given it a second time.
    async with running_hub(config) as hub, station(log.gateway, mosquitto.port, hub.key.public.verifier()) as gateway:
        await gateway.send(log.seal(series(3)).envelope)
        await gateway.acked(3)
        assert [one["count"] for one in await items(hub, "/incidents")] == [2]


async def test_the_acknowledgement_is_bound_to_the_content_that_is_stored(hub: Hub, gateway: Station, log: Log) -> None:
    first, second = log.many(2)
    clone = log.fork()
    [third], [_, other] = log.many(1), [clone.seal(series(2)), *clone.many(1)]
    await gateway.send(first.envelope, second.envelope)
    ack = await gateway.acked(2)
    assert (ack.anchor, ack.broken) == (Anchor(2, second.batch.payload_sha256.hex()), 0)
    await gateway.send(third.envelope, other.envelope)
    await until(lambda: gateway.acks[-1].broken == 4, "the broken link is named")
    ack = gateway.acks[-1]
    assert (ack.through, ack.highest, ack.missing) == (3, 4, ())
    assert ack.anchor == Anchor(3, third.batch.payload_sha256.hex())


async def test_a_log_that_moves_only_by_an_account_is_acknowledged_too(hub: Hub, gateway: Station, log: Log) -> None:
    await gateway.send(*(one.envelope for one in log.many(2)))
    await gateway.acked(2)
    newer = Log(log.gateway, log.key)
    await gateway.send(newer.seal(series(1), events=[gap(log.epoch, 3, 4)]).envelope)
    await until(
        lambda: {(one.epoch, one.through) for one in gateway.acks} >= {(log.epoch, 4), (newer.epoch, 1)}, "both"
    )
    old = next(one for one in gateway.acks if one.through == 4)
    assert old.anchor == Anchor(2, log.sealed[1].payload_sha256.hex())
    assert await hub.missing_batches() == 0


async def test_the_sender_is_told_why_a_message_was_not_stored(hub: Hub, gateway: Station, log: Log) -> None:
    clone = log.fork()
    first, other = log.seal(series(3)), clone.seal(series(2))
    elsewhere = Log(GatewayId("gw-z"), log.key).seal(series(1))
    newer = parse_payload(Envelope.decode(first.envelope).payload).body
    unknown = sign_body(log, msgspec.structs.replace(newer, v=2))
    cases = {
        b"poison": Reason.BAD_SIGNATURE,
        other.envelope: Reason.CONFLICT,
        elsewhere.envelope: Reason.WRONG_TOPIC,
        unknown: Reason.UNKNOWN_VERSION,
        dsse.sign(BATCH_TYPE, b"no batch", log.key).encode(): Reason.MALFORMED,
        bytes(MAX_ENVELOPE_BYTES + 1): Reason.TOO_LARGE,
    }
    assert set(cases.values()) == set(Reason)
    await gateway.send(first.envelope)
    await gateway.acked(1)
    await gateway.send(*cases)
    await until(lambda: len(gateway.refused) >= len(cases), "every refusal")
    assert {one.sha256: one.reason for one in gateway.refused} == {
        hashlib.sha256(envelope).hexdigest(): reason for envelope, reason in cases.items()
    }
    assert 1 <= await counter(hub, "xom_hub_refusals_total") <= len(cases)
    # The queue moves on, and whoever comes later finds the watermark retained, not the refusals.
    await gateway.send(log.seal(series(1)).envelope)
    await gateway.acked(2)


async def test_a_stranger_is_told_nothing(hub: Hub, gateway: Station, log: Log, mosquitto: Mosquitto) -> None:
    stranger = Log(GatewayId("gw-new"))
    async with station(stranger.gateway, mosquitto.port, hub.key.public.verifier()) as unheard:
        await unheard.send(stranger.seal(series(1)).envelope, b"poison")
        await gateway.send(b"poison")
        await until(lambda: bool(gateway.refused), "the enrolled one is told")
        await gateway.send(log.seal(series(1)).envelope)
        await gateway.acked(1)
        assert not unheard.refused


async def test_a_gateway_becomes_known_by_registry_load_without_a_restart(
    hub: Hub, dsn: str, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    newcomer = Log(GatewayId("gw-new"))
    batch = newcomer.seal(series(3)).envelope
    async with station(newcomer.gateway, mosquitto.port, hub.key.public.verifier()) as gateway:
        await gateway.send(batch)

        async def it_is_a_stranger() -> bool:
            return [one["kind"] for one in await items(hub, "/incidents")] == ["unknown_gateway"]

        await until(it_is_a_stranger, "the stranger is reported")
        assert not gateway.acks
        file = tmp_path / "registry.toml"
        file.write_text(
            f'[[gateway]]\nid = "gw-new"\nalgorithm = "{newcomer.key.public.algorithm}"\n'
            f'public_key = "{newcomer.key.public.encoded.hex()}"\nenrolled_at = 2026-01-01T00:00:00+07:00\n'
        )
        command = [sys.executable, "-m", "xom", "hub", "registry", "load", str(file), "--json"]
        loading = await asyncio.create_subprocess_exec(
            *command,
            env=os.environ | {"XOM_HUB_DATABASE_DSN": dsn, "XOM_HUB_HUB_DATA": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await loading.communicate()
        assert (loading.returncode, printed) == (0, b'{"administrative_unit":0,"gateway":1,"source":0}\n')
        # A gateway sends again what nobody has acknowledged; the hub looks again at most every few seconds.
        hub.enrolled.looked_at = float("-inf")
        await gateway.send(batch)
        await gateway.acked(1)


async def test_a_gateway_taken_out_of_the_registry_is_refused_without_a_restart(
    hub: Hub, gateway: Station, log: Log, database: Database
) -> None:
    await gateway.send(log.seal(series(3)).envelope)
    await gateway.acked(1)
    async with database.connection() as connection:
        await connection.execute("update gateway set revoked_at = clock_timestamp()")
    await hub.enrolled.refresh(at_once=True)
    await gateway.send(log.seal(series(3)).envelope)

    async def it_is_refused() -> bool:
        return [one["kind"] for one in await items(hub, "/incidents")] == ["unknown_gateway"]

    await until(it_is_refused, "the revoked gateway is refused")
    assert len(await stored(hub)) == 1


async def test_while_the_database_is_away_nothing_is_acknowledged_and_afterwards_everything_is_stored(
    hub: Hub, gateway: Station, log: Log, postgres: Server, dsn: str, mosquitto: Mosquitto
) -> None:
    name = str(conninfo_to_dict(dsn)["dbname"])

    async def readiness(code: int) -> bool:
        return (await answer(hub, "/readyz")).status_code == code

    await until(lambda: readiness(200), "the hub is ready")
    await refuse_connections(postgres, name)
    sent = [one.envelope for one in log.many(6)]
    await gateway.send(*sent)

    async def it_has_failed_and_holds_back() -> bool:
        return await counter(hub, "xom_hub_store_unavailable_total") > 0

    await until(it_has_failed_and_holds_back, "the hub has tried to commit")
    await until(lambda: readiness(503), "the hub says that it is not ready")
    checks = (await answer(hub, "/readyz")).json()["checks"]
    assert checks["broker"] == "ok"
    assert checks["database"] != "ok"
    assert (await answer(hub, "/healthz")).status_code == 200
    assert (await answer(hub, "/api/v1/gateways")).status_code == 503
    assert HUBS_PUBACK not in mosquitto.log
    assert not gateway.acks
    await allow_connections(postgres, name)
    await gateway.acked(6)
    assert await stored(hub) == sent
    await until(lambda: readiness(200), "the hub is ready again")
    await until(lambda: mosquitto.log.count(HUBS_PUBACK) == 6, "all six are released")


async def test_watermarks_are_repeated_to_a_broker_that_has_forgotten_everything(
    hub: Hub, gateway: Station, log: Log, mosquitto: Mosquitto
) -> None:
    await gateway.send(*(one.envelope for one in log.many(3)))
    await gateway.acked(3)
    first = hub.link.connection_number
    mosquitto.persistence = False
    mosquitto.kill()
    mosquitto.start()
    await until(lambda: hub.link.connected and hub.link.connection_number > first, "the hub is back")
    async with station(log.gateway, mosquitto.port, hub.key.public.verifier()) as fresh:
        await fresh.acked(3)
    async with station(log.gateway, mosquitto.port, hub.key.public.verifier()) as later:
        await until(lambda: [ack.through for ack in later.retained] == [3], "it is retained anew")


async def test_a_restarted_hub_says_at_once_where_every_gateway_stands(
    config: Config, log: Log, mosquitto: Mosquitto, database: Database
) -> None:
    other = Log(GatewayId("gw-b"))
    await enrol(database, other)
    for one in (log, other):
        async with (
            running_hub(config) as hub,
            station(one.gateway, mosquitto.port, hub.key.public.verifier()) as gateway,
        ):
            await gateway.send(*(batch.envelope for batch in one.many(2)))
            await gateway.acked(2)
    mosquitto.persistence = False
    mosquitto.restart()
    async with running_hub(config) as hub:
        key = hub.key.public.verifier()
        async with (
            station(log.gateway, mosquitto.port, key) as first,
            station(other.gateway, mosquitto.port, key) as second,
        ):
            acks = [await first.acked(2), await second.acked(2)]
        assert [ack.gateway for ack in acks] == [log.gateway, other.gateway]


async def test_every_counter_rises_with_what_it_counts(hub: Hub, gateway: Station, log: Log) -> None:
    undecoded = reading(BEGAN_MS + 5000, undecoded=Undecoded.NO_CODEC)
    first = log.seal([*series(3), undecoded]).envelope
    await gateway.send(first, b"poison", first)

    async def all_are_counted() -> bool:
        seen = {
            name: await counter(hub, f"xom_hub_{name}")
            for name in (
                'batches_total{outcome="stored"}',
                'batches_total{outcome="duplicate"}',
                'refused_total{reason="bad_signature"}',
                "readings_total",
                "readings_undecoded_total",
                "observations_total",
            )
        }
        return list(seen.values()) == [1, 1, 1, 4, 1, 3]

    await until(all_are_counted, "the counters")

    async def it_was_acknowledged_and_timed() -> bool:
        return (
            await counter(hub, "xom_hub_acks_total") >= 1
            and await counter(hub, "xom_hub_commit_seconds_count") >= 1
            and await counter(hub, "xom_hub_store_unavailable_total") == 0
        )

    await until(it_was_acknowledged_and_timed, "acknowledgements and commits")
