"""A hub under fire: a real process on a PostgreSQL that outlives it, real gateways, and the stored log as judge."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gateway.assembly import Gateway, assemble, key_path
from gateway.clock import SystemClock
from gateway.config import ChirpStack, Config, Hub, Identity
from gateway.probes.machine.settings import Machine
from hub.assembly import Hub as RunningHub
from hub.assembly import assemble as assemble_hub
from hub.config import Config as HubConfig
from hub.config import DatabaseSection, Http, Mqtt
from hub.config import Identity as HubIdentity
from hub.registry.files import EnrolledGateway, Registry
from hub.store.database import open_database
from hub.store.incidents import Recorded, list_incidents
from hub.store.log import envelopes
from hub.store.registry import load_registry
from tests.faults import harness
from tests.hub.written import BEGAN, BEGAN_MS, reading
from tests.real_mosquitto import free_port
from wire.batch import Batch, parse_payload
from wire.dsse import Envelope
from wire.identity import GatewayId
from wire.keys import Algorithm, PublicKey, SigningKey

ReadingKey = tuple[str, int]  # gateway, and the observation time that only this reading has
_POLL_S = 0.02


async def until(what: str, probe: Callable[[], bool], *, deadline_s: float = 60.0) -> float:
    """Wait for a state while gateways run beside us; returns how long it took, fails at the deadline."""
    began = time.monotonic()
    while not probe():
        waited = time.monotonic() - began
        assert waited < deadline_s, f"still waiting after {deadline_s:.0f} s: {what}"
        await asyncio.sleep(_POLL_S)
    return time.monotonic() - began


@dataclass(slots=True)
class HubProcess:
    """`xom hub serve` as its own process. `broken` starts it with a guarantee switched off (hub_broken.py)."""

    home: Path
    dsn: str
    broker_port: int
    broken: str = ""
    broker_host: str = "127.0.0.1"
    http_port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> SigningKey:
        """The hub's signing key, made before its first start."""
        return SigningKey.read_or_make(self.home / "signing-key.pem", Algorithm.ED25519)

    @property
    def environment(self) -> dict[str, str]:
        """What configures it."""
        return harness.environment(
            {
                "XOM_HUB_HUB_DATA": str(self.home),
                "XOM_HUB_DATABASE_DSN": self.dsn,
                "XOM_HUB_DATABASE_POOL": "4",
                "XOM_HUB_MQTT_HOST": self.broker_host,
                "XOM_HUB_MQTT_PORT": str(self.broker_port),
                "XOM_HUB_HTTP_PORT": str(self.http_port),
            }
        )

    def start(self, extra: Mapping[str, str] | None = None) -> None:
        """Start it; it takes batches as soon as it is connected."""
        module = ["tests.faults.hub_broken", self.broken] if self.broken else ["xom", "hub", "serve"]
        with (self.home / "hub.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *module], env=self.environment | dict(extra or {}),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        assert self._process is not None
        return self._process.poll()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.home / "hub.log").read_text(errors="replace")

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            harness.end(self._process)

    def stop(self) -> None:
        """End it as `systemctl stop` does."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)

    def get(self, path: str) -> httpx.Response | None:
        """Ask the API; None while nobody answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.http_port}{path}", timeout=10)
        except httpx.TransportError:
            return None

    def ready(self) -> bool:
        """Whether it says that it can do its work."""
        answer = self.get("/readyz")
        return answer is not None and answer.status_code == httpx.codes.OK

    def metric(self, name: str, **labels: str) -> float:
        """Sum a counter's samples that carry these labels."""
        answer = self.get("/metrics")
        assert answer is not None, "the hub does not answer"
        return sum(
            sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def run(self, *words: str) -> Any:
        """Run another `xom hub` command on the same configuration, and return its JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "xom", "hub", *words, "--json"],
            env=self.environment, check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@dataclass(slots=True)
class Field:
    """A real gateway on a real spool, fed by hand. The oracle hears of a reading when the spool has said that it is
    durable."""

    gateway: Gateway
    oracle: harness.Oracle[ReadingKey]
    numbers: Iterator[int]

    async def produce(self, readings: int = 2, batches: int = 1) -> None:
        """Keep and seal some readings."""
        for _ in range(batches):
            times = [BEGAN_MS + next(self.numbers) for _ in range(readings)]
            await self.gateway.spool.append([reading(at, float(at % 1000)) for at in times])
            self.oracle.promise(*((str(self.gateway.config.gateway.id), at) for at in times))
            await self.gateway.sealer.seal_all(self.gateway.clock.now())

    @property
    def confirmed(self) -> bool:
        """Whether the hub has confirmed everything that was sealed."""
        window = self.gateway.delivery.window
        return window.through == window.highest


def gateway_config(
    home: Path, name: str, port: int, hub: PublicKey, *, host: str = "127.0.0.1", keep_alive_s: int = 60
) -> Config:
    """Return a gateway's configuration: no source, quick to send again."""
    return Config(
        gateway=Identity(id=GatewayId(name), data=home / name),
        hub=Hub(
            host=host, port=port, public_key=hub.encoded.hex(), algorithm=hub.algorithm, resend_s=1.0,
            keep_alive_s=keep_alive_s,
        ),
        chirpstack=ChirpStack(enabled=False),
        machine=Machine(enabled=False),
    )  # fmt: skip


@asynccontextmanager
async def field_gateway(config: Config, *, first: int = 0) -> AsyncIterator[Field]:
    """Run a gateway beside the block. `first` numbers its readings, so that two writers of one identity differ."""
    async with assemble(config, SystemClock()) as gateway:
        running = asyncio.create_task(gateway.run())
        try:
            yield Field(gateway, harness.Oracle(), itertools.count(first))
            assert not running.done(), "the gateway ended by itself"
        finally:
            running.cancel()
            # How it ends is not what these cases ask: Delivery._send can lose the cancellation in wait_for (Python
            # 3.11) and then falls over its closing TaskGroup.
            await asyncio.gather(running, return_exceptions=True)


async def enrol(dsn: str, *configs: Config) -> None:
    """Put gateways into the registry."""
    keys = {one.gateway.id: SigningKey.read_or_make(key_path(one), one.gateway.algorithm).public for one in configs}
    async with open_database(dsn, pool_size=2) as database:
        gateways = tuple(EnrolledGateway(gateway_id=name, key=key, enrolled_at=BEGAN) for name, key in keys.items())
        await load_registry(database, Registry(gateways=gateways))


async def stored_batches(dsn: str) -> list[Batch]:
    """Open every stored envelope: what was derived from it is no evidence here."""
    async with open_database(dsn, pool_size=2) as database:
        return [parse_payload(Envelope.decode(one).payload) async for one in envelopes(database)]


async def stored_readings(dsn: str) -> list[ReadingKey]:
    """Return the key of every reading in the log."""
    batches = await stored_batches(dsn)
    return [(str(batch.gateway), one.frame.observed_at_ms) for batch in batches for one in batch.readings()]


async def stored_incidents(dsn: str) -> list[Recorded]:
    """Return what the hub has recorded, latest first."""
    async with open_database(dsn, pool_size=2) as database:
        return await list_incidents(database)


def home_below(tmp_path: Path, name: str) -> Path:
    """Make a directory for a hub or a gateway."""
    made = tmp_path / name
    made.mkdir(parents=True, exist_ok=True)
    return made


@asynccontextmanager
async def running_hub(
    home: Path, dsn: str, broker_port: int, *, broker_host: str = "127.0.0.1"
) -> AsyncIterator[RunningHub]:
    """Run a hub in this process, for cases that look at its counters and do not kill it."""
    config = HubConfig(
        hub=HubIdentity(data=home),
        database=DatabaseSection(dsn=dsn, pool=4),
        mqtt=Mqtt(host=broker_host, port=broker_port),
        http=Http(port=0),
    )
    async with assemble_hub(config) as hub:
        running = asyncio.create_task(hub.run())
        try:
            await hub.link.wait_connected()
            yield hub
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
