"""The REST API over the real store: paging, aggregates, problems."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from hub.api import models
from hub.api.application import create_app
from hub.api.openapi import document
from hub.metrics import Metrics
from hub.store.batches import BatchStore
from hub.store.database import Database
from tests.hub.store.test_hub_gaps import batch
from tests.hub.written import BEGAN_MS, SOURCE, Log, gap, reading, series
from wire.batch import Due
from wire.identity import SourceId
from wire.reading import Quality, Undecoded

OPENAPI = Path(__file__).parents[3] / "docs/openapi.json"


def client_of(
    database: Database, registry: CollectorRegistry | None = None, *, broker: bool = True
) -> httpx.AsyncClient:
    app = create_app(database, metrics=registry or CollectorRegistry(), broker_connected=lambda: broker)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://hub")


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(database) as opened:
        yield opened


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"/api/v1{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_committed_document_is_current() -> None:
    assert OPENAPI.read_text() == document(), "run: make openapi"


def test_every_parameter_and_answer_is_described() -> None:
    described = json.loads(document())
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            for parameter in operation.get("parameters", []):
                assert parameter["description"], (path, parameter["name"])
                assert "examples" in parameter["schema"] or "examples" in parameter, (path, parameter["name"])
            assert all(answer["description"] for answer in operation["responses"].values()), path
    for name, schema in described["components"]["schemas"].items():
        assert schema["description"], name
        for field, value in schema.get("properties", {}).items():
            assert value["description"], (name, field)


def test_quality_names_are_the_wires() -> None:
    assert {name.name: name.value for name in models.QualityName} == {q.name: q.name.lower() for q in Quality}


@pytest.mark.postgres
async def test_a_gateway_shows_what_is_missing(client: httpx.AsyncClient, database: Database, log: Log) -> None:
    group = log.many(4)
    await BatchStore(database).commit([group[0], group[3]])
    assert [item["gateway_id"] for item in (await get(client, "/gateways"))["items"]] == ["gw-a"]
    shown = await get(client, "/gateways/gw-a")
    assert shown["deliveries"] == [
        {"epoch": log.epoch, "through": 1, "highest": 4, "broken": None, "missing": [{"first": 2, "last": 3}]}
    ]
    assert (shown["sources"], shown["last_heard_at"] is not None) == (1, True)


@pytest.mark.postgres
async def test_a_gateway_shows_its_gaps_and_why(client: httpx.AsyncClient, database: Database, log: Log) -> None:
    assert (await get(client, "/gateways/gw-a/gaps"))["batches"] == 0
    due = [Due(SOURCE, 10, 8, 2, "radio")]
    told = [gap(log.epoch, 3, 4, readings=3, from_ms=BEGAN_MS, to_ms=BEGAN_MS + 60_000), gap(log.epoch, readings=2)]
    await BatchStore(database).commit([batch(log, 1, 0, 1, due=due), batch(log, 5, 5, 6, events=told)])
    shown = await get(client, "/gateways/gw-a/gaps")
    assert shown["missing"] == [{"first": 2, "last": 2, "epoch": log.epoch}]
    assert (shown["expected"], shown["received"], shown["missed"]) == (10, 8, {"radio": 2})
    readings, batches = shown["accounts"]
    assert (readings["first"], readings["readings"], readings["missing"]) == (None, 2, 0)
    assert batches == {
        "epoch": log.epoch,
        "cause": "evicted",
        "certain": True,
        "first": 3,
        "last": 4,
        "readings": 3,
        "missing": 2,
        "arrived": 0,
        "start": "2026-01-15T00:00:00Z",
        "end": "2026-01-15T00:01:00Z",
        "told_epoch": log.epoch,
        "told_seq": 5,
        "told_at": "2026-01-15T00:06:00Z",
    }
    assert (shown["lost_batches"], shown["uncertain_batches"], shown["lost_readings"]) == (2, 0, 5)
    later = await get(client, "/gateways/gw-a/gaps", **{"from": "2030-01-01T00:00:00Z"})
    assert (later["batches"], later["missing"]) == (0, shown["missing"])


@pytest.mark.postgres
async def test_sources_and_datastreams_can_be_filtered(client: httpx.AsyncClient, database: Database, log: Log) -> None:
    other = SourceId("camera:gate")
    readings = [reading(), reading(name="battery"), reading(source=other, undecoded=Undecoded.NO_CODEC)]
    await BatchStore(database).commit([log.seal(readings)])
    sources = (await get(client, "/sources", gateway="gw-a", placed=False))["items"]
    assert {(one["source_id"], one["readings"], one["undecoded"]) for one in sources} == {(SOURCE, 2, 0), (other, 1, 1)}
    first = await get(client, "/datastreams", limit=1)
    rest = await get(client, "/datastreams", limit=1, after=first["next"])
    assert {page["items"][0]["observed_property"] for page in (first, rest)} == {"water_distance", "battery"}
    [battery] = (await get(client, "/datastreams", observed_property="battery", source=SOURCE, gateway="gw-a"))["items"]
    assert await get(client, f"/datastreams/{battery['datastream_no']}") == battery
    assert (await get(client, "/datastreams", unit_code="nowhere"))["items"] == []


async def datastream_of(client: httpx.AsyncClient) -> str:
    [only] = (await get(client, "/datastreams"))["items"]
    return f"/datastreams/{only['datastream_no']}"


async def walk(client: httpx.AsyncClient, path: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
    after: str | None = None
    while True:
        page = await get(client, path, **query, **({"after": after} if after else {}))
        for item in page["items"]:
            yield item
        if (after := page["next"]) is None:
            return


@pytest.mark.postgres
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_neither_repeat_nor_skip_while_more_arrives(
    client: httpx.AsyncClient, database: Database, log: Log, order: str
) -> None:
    store = BatchStore(database)
    # Equal times, within a batch and across two: only batch and index tell them apart.
    await store.commit([log.seal([reading(BEGAN_MS, float(at)) for at in range(7)] + series(6)) for _ in range(2)])
    path = f"{await datastream_of(client)}/observations"
    before = {(o["batch_no"], o["reading_index"]) for o in (await get(client, path, limit=10_000))["items"]}
    seen = []
    async for item in walk(client, path, order=order, limit=3):
        seen.append((datetime.fromisoformat(item["observed_at"]), item["batch_no"], item["reading_index"]))
        if len(seen) % 4 == 0 and len(seen) < 40:
            await store.commit([log.seal([reading(BEGAN_MS + at * 500) for at in range(4)])])
    assert len(seen) == len(set(seen))
    assert before <= {(batch, index) for _, batch, index in seen}
    assert seen == sorted(seen, reverse=order == "desc")


@pytest.mark.postgres
async def test_observations_are_cut_to_time_and_quality(
    client: httpx.AsyncClient, database: Database, log: Log
) -> None:
    bad = reading(BEGAN_MS + 500, None, quality=Quality.SENSOR_FAULT)
    await BatchStore(database).commit([log.seal([*series(4), bad])])
    path = f"{await datastream_of(client)}/observations"
    start = datetime.fromtimestamp(BEGAN_MS / 1000, UTC)
    cut = await get(client, path, **{"from": start.isoformat(), "to": (start + timedelta(seconds=2)).isoformat()})
    assert [(o["value"], o["quality"]) for o in cut["items"]] == [(0.0, "good"), (None, "sensor_fault"), (1.0, "good")]
    assert [o["value"] for o in (await get(client, path, quality=["sensor_fault", "invalid"]))["items"]] == [None]


@pytest.mark.postgres
@pytest.mark.parametrize(("bucket", "seconds"), [("15m", 900), ("1h", 3600), ("1d", 86_400), ("PT600S", 600)])
async def test_aggregates_are_what_python_computes(
    client: httpx.AsyncClient, database: Database, log: Log, bucket: str, seconds: int
) -> None:
    qualities = [Quality.GOOD, Quality.IMPLAUSIBLE, Quality.NO_SENSOR, Quality.ABOVE_RANGE, Quality.GOOD]
    readings = [
        reading(BEGAN_MS + at * 421_000, at * 1.5 if q.has_value else None, quality=q)
        for at in range(400)
        for q in [qualities[at % 5]]
    ]
    await BatchStore(database).commit([log.seal(readings)])
    local = timezone(timedelta(hours=7))
    midnight = datetime(2026, 1, 1, tzinfo=local)
    expected: dict[datetime, list[tuple[float | None, Quality]]] = {}
    for at, one in enumerate(readings):
        observed = datetime.fromtimestamp(one.frame.observed_at_ms / 1000, local)
        start = midnight + (observed - midnight) // timedelta(seconds=seconds) * timedelta(seconds=seconds)
        expected.setdefault(start, []).append((one.quantities[0].value, qualities[at % 5]))
    span = {"from": "2026-01-01T00:00:00+07:00", "to": "2026-02-01T00:00:00+07:00"}
    shown = await get(client, f"{await datastream_of(client)}/aggregates", bucket=bucket, **span)
    assert [datetime.fromisoformat(item["start"]) for item in shown["items"]] == list(expected)
    for item, held in zip(shown["items"], expected.values(), strict=True):
        good = [value for value, quality in held if value is not None and quality is not Quality.IMPLAUSIBLE]
        assert (item["count"], item["excluded"]) == (len(good), len(held) - len(good))
        if good:
            assert (item["min"], item["max"], item["first"], item["last"]) == (min(good), max(good), good[0], good[-1])
            assert item["mean"] == pytest.approx(sum(good) / len(good))
        else:
            assert item["mean"] is item["min"] is item["first"] is None


@pytest.mark.postgres
async def test_incidents_are_listed_latest_first(client: httpx.AsyncClient, database: Database, log: Log) -> None:
    first = log.seal(series(1))
    await BatchStore(database).commit([first, log.seal(series(2), seq=1), log.seal(series(1), prev=b"\x01" * 32)])
    page = await get(client, "/incidents", limit=1)
    [latest] = page["items"]
    [older] = (await get(client, "/incidents", before=page["next"]))["items"]
    assert {latest["kind"], older["kind"]} == {"conflict", "chain_break"}
    assert (await get(client, "/incidents", kind="malformed"))["items"] == []


BAD_QUESTIONS = [
    ("/nothing", 404),
    ("/gateways/NO_SUCH", 404),
    ("/gateways/%00", 422),
    ("/gateways/NO_SUCH/gaps", 404),
    ("/gateways/gw-a/gaps?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422),
    ("/gateways?limit=0", 422),
    ("/sources?gateway=%00", 422),
    ("/sources?placed=perhaps", 422),
    ("/datastreams?after=99999999999999999999", 422),
    ("/datastreams?unit_code=a%00b", 422),
    ("/datastreams/0", 422),
    ("/datastreams/99999999999", 422),
    ("/datastreams/abc", 422),
    ("/datastreams/17", 404),
    ("/datastreams/17/observations", 404),
    ("/datastreams/17/observations?after=x", 422),
    ("/datastreams/17/observations?after=%C3%A9", 422),
    ("/datastreams/17/observations?after=f_________8AAAAAAAAAAAAA", 422),
    ("/datastreams/17/observations?from=2026-01-01T00:00:00", 422),
    ("/datastreams/17/observations?from=9999-12-31T23:59:59-23:00", 404),
    ("/datastreams/17/observations?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422),
    ("/datastreams/17/observations?limit=10001", 422),
    ("/datastreams/17/observations?quality=fine", 422),
    ("/datastreams/17/observations?order=up", 422),
    ("/datastreams/17/aggregates", 422),
    ("/datastreams/17/aggregates?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&bucket=1w", 422),
    ("/datastreams/17/aggregates?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&bucket=PT1S", 422),
    ("/datastreams/17/aggregates?from=1900-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&bucket=5m", 422),
    ("/datastreams/17/aggregates?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z", 404),
    ("/incidents?kind=rain", 422),
    ("/incidents?before=0", 422),
]


@pytest.mark.postgres
async def test_a_bad_question_gets_a_problem_with_a_remedy(client: httpx.AsyncClient) -> None:
    for path, status in BAD_QUESTIONS:
        answer = await client.get(f"/api/v1{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
        problem = answer.json()
        assert problem["status"] == status
        assert problem["detail"], path
        assert problem["remedy"], path


@pytest.mark.postgres
async def test_extreme_times_are_answered(client: httpx.AsyncClient, database: Database, log: Log) -> None:
    await BatchStore(database).commit([log.seal(series(1))])
    path = f"{await datastream_of(client)}/observations"
    span = {"from": "0001-01-01T00:00:00+14:00", "to": "9999-12-31T23:59:59-14:00"}
    assert len((await get(client, path, **span))["items"]) == 1


@pytest.mark.postgres
async def test_without_the_database_every_question_gets_503_and_a_reason(dsn: str) -> None:
    gone = Database(dsn, pool_size=2, patience_s=0.2)  # never opened: no connection will come
    async with client_of(gone) as client:
        for path in (
            "/gateways",
            "/gateways/gw-a",
            "/gateways/gw-a/gaps",
            "/sources",
            "/datastreams",
            "/datastreams/1",
            "/incidents",
        ):
            answer = await client.get(f"/api/v1{path}")
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert "database is not available" in answer.json()["detail"]
            assert "Traceback" not in answer.text
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert (await client.get("/healthz")).json() == {"status": "ok"}


@pytest.mark.postgres
@pytest.mark.parametrize("broker", [True, False])
async def test_readiness_names_what_is_missing(database: Database, broker: bool) -> None:
    async with client_of(database, broker=broker) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == ((200, True) if broker else (503, False))
    assert [name for name, word in answer.json()["checks"].items() if word != "ok"] == ([] if broker else ["broker"])


async def test_metrics_come_in_the_form_that_is_asked_for() -> None:
    metrics = Metrics()
    metrics.readings.inc(42)
    async with client_of(Database("", pool_size=2, patience_s=0.1), metrics.registry) as client:
        asked = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        plain = await client.get("/metrics")
    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert asked.text.endswith("# EOF\n")
    assert "xom_hub_readings_total 42.0" in plain.text


async def test_a_bug_shows_no_stack_trace() -> None:
    def broken() -> bool:
        raise ZeroDivisionError("secret")

    app = create_app(Database("", pool_size=2, patience_s=0.1), metrics=CollectorRegistry(), broker_connected=broken)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 500
    assert "secret" not in answer.text
