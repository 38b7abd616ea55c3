"""A whole hub from its configuration: resources opened in order, one TaskGroup over the pipeline's verbs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hub import pipeline
from hub.api.serving import listen, serve_api
from hub.broker import embedded_broker
from hub.config import Config
from hub.crash import crash_points
from hub.incarnation import Announced, enter
from hub.ingest.acknowledge import Acknowledger
from hub.ingest.consumer import Consumer, Enrolled
from hub.ingest.refuse import Refuser
from hub.metrics import Metrics
from hub.registry.files import read_registry
from hub.store import log
from hub.store.batches import BatchStore
from hub.store.database import Database, open_database
from hub.store.deliveries import list_deliveries
from hub.store.embedded import embedded_postgres
from hub.store.migrate import migrate
from hub.store.registry import load_registry, verifiers
from wire.keys import SigningKey
from wire.mqtt import Link, Terms
from wire.topics import Subject, every_gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """An assembled hub: its parts are open, `run` starts it. `broker` is where gateways reach it."""

    config: Config
    key: SigningKey
    database: Database
    broker: tuple[str, int]
    listening: socket.socket
    link: Link
    enrolled: Enrolled
    consumer: Consumer
    acknowledger: Acknowledger
    refuser: Refuser
    announced: Announced
    metrics: Metrics

    async def run(self) -> None:
        """Run until cancelled. Anything that is not a known fault falls through, and the supervisor starts us again."""
        await self.enrolled.refresh(at_once=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pipeline.ingest(self.consumer), name="ingest")
            tasks.create_task(pipeline.acknowledge(self.acknowledger), name="acknowledge")
            tasks.create_task(pipeline.refuse(self.refuser), name="refuse")
            tasks.create_task(pipeline.redate(self.consumer.store), name="redate")
            repeat = pipeline.repeat_acknowledgements(self.link, self.database, self.acknowledger)
            tasks.create_task(repeat, name="repeat acknowledgements")
            tasks.create_task(pipeline.follow_registry(self.enrolled), name="follow registry")
            follow = pipeline.follow_incarnation(self.database, self.announced, self.acknowledger)
            tasks.create_task(follow, name="follow incarnation")
            tasks.create_task(serve_api(self.listening, self.database, self.metrics, self.link), name="api")

    @property
    def address(self) -> str:
        """Where the API answers."""
        host, port = self.listening.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def load_registry(self, path: Path) -> dict[str, int]:
        """Take a registry file into the database; returns what changed. Raises RegistryError naming file and key."""
        changed = await load_registry(self.database, read_registry(path))
        await self.enrolled.refresh(at_once=True)
        return changed

    def envelopes(self) -> AsyncIterator[bytes]:
        """Yield the batch log, in order of storing."""
        return log.envelopes(self.database)

    async def count_observations(self) -> int:
        """Return how many observations are stored."""
        return await log.count_observations(self.database)

    async def missing_batches(self) -> int:
        """Return how many batches lie below a stored one, are not there, and are accounted for by nobody."""
        holes = [delivery.holes()[0] for delivery in await list_deliveries(self.database)]
        return sum(last - first + 1 for ranges in holes for first, last in ranges)


@asynccontextmanager
async def database_of(config: Config) -> AsyncIterator[str]:
    """Yield the DSN of the configured database, starting the embedded one when none is configured; migrated."""
    async with AsyncExitStack() as stack:
        dsn = config.database.dsn or await stack.enter_async_context(embedded_postgres(embedded_data(config)))
        await migrate(dsn)
        yield dsn


def embedded_data(config: Config) -> Path:
    """Where the embedded server keeps its cluster."""
    return config.hub.data / "postgres"


@asynccontextmanager
async def assemble(config: Config) -> AsyncIterator[Hub]:
    """Open everything, in order; what cannot be opened raises its own error before anything has started."""
    key = SigningKey.read_or_make(config.hub.key_path, config.hub.algorithm)
    metrics = Metrics()
    reach = crash_points()
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(listen(config.http))
        dsn = await stack.enter_async_context(database_of(config))
        database = await stack.enter_async_context(open_database(dsn, pool_size=config.database.pool))
        host, port = await _broker(config, stack)
        terms = Terms(
            client_id=config.mqtt.client_id,
            subscriptions=[every_gateway(Subject.BATCH)],
            receive_maximum=config.ingest.receive_maximum,
            hand_over=2 * config.ingest.receive_maximum,
        )
        link = await stack.enter_async_context(Link(config.mqtt.broker(host, port), terms))
        announced = Announced(config.hub.data / "announced.json")
        acknowledger = Acknowledger(
            link=link,
            key=key,
            incarnation=await enter(database, announced, datetime.now(UTC)),
            metrics=metrics,
            reach=reach,
            announce=announced.announce,
        )
        refuser = Refuser(link=link, key=key, metrics=metrics)
        enrolled = Enrolled(lambda: verifiers(database))
        consumer = Consumer(
            link=link,
            store=BatchStore(database, incident_cap=config.incidents.cap, reach=reach),
            database=database,
            enrolled=enrolled,
            acknowledger=acknowledger,
            refuser=refuser,
            metrics=metrics,
            group=config.ingest.group,
            lanes=config.ingest.lanes,
            incident_cap=config.incidents.cap,
            reach=reach,
        )
        yield Hub(
            config=config,
            key=key,
            database=database,
            broker=(host, port),
            listening=listening,
            link=link,
            enrolled=enrolled,
            consumer=consumer,
            acknowledger=acknowledger,
            refuser=refuser,
            announced=announced,
            metrics=metrics,
        )


async def _broker(config: Config, stack: AsyncExitStack) -> tuple[str, int]:
    mqtt = config.mqtt
    if not mqtt.embedded:
        return mqtt.host, mqtt.port
    return await stack.enter_async_context(embedded_broker(config.hub.data / "broker", mqtt.host, mqtt.port))
