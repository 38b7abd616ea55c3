"""A hub, a broker far away and a gateway whose only way there is a cable or a bad line."""

from __future__ import annotations

import asyncio
import random
import shlex
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from gateway.config import Config
from hub.assembly import Hub
from tests import real_mosquitto
from tests.faults.hub_world import Field, enrol, field_gateway, gateway_config, home_below, running_hub, until
from tests.faults.network_line import UNAVAILABLE, Line
from tests.faults.network_namespace import MISSING, Cable
from tests.hub.written import BEGAN_MS, reading
from tests.real_mosquitto import Mosquitto
from wire.mqtt import Link

ALARM_DEADLINE_S = 60.0  # what is asked is 15 s at 30 % loss; the figure is in the case's line


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    try:
        made.lay()
    except UNAVAILABLE as error:
        pytest.skip(f"{MISSING} ({error})")
    yield made
    made.cut()


@pytest.fixture
def far_broker(cable: Cable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mosquitto]:
    """A Mosquitto at the far end of the cable."""
    assert real_mosquitto.PROGRAM is not None
    script = tmp_path / "mosquitto-over-there"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(cable.command(real_mosquitto.PROGRAM))} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(real_mosquitto, "PROGRAM", str(script))
    home = tmp_path / "mosquitto"
    home.mkdir()
    broker = Mosquitto(home)
    broker.host = cable.far
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def line(cable: Cable, far_broker: Mosquitto) -> Iterator[Line]:
    """A bad line to the same broker, good until told otherwise. The hub stays on the cable."""
    made = Line(cable)
    try:
        made.lay()
    except UNAVAILABLE as error:
        pytest.skip(f"no TUN device can be made here: bad lines were NOT tested ({error})")
    far_broker.options = [*far_broker.options, f"listener {far_broker.port} {made.far}"]
    far_broker.restart()
    yield made
    made.cut()


def socket_of(link: Link) -> socket.socket:
    """Return the socket of the connection that stands."""
    assert link._connection is not None
    inner: socket.socket = link._connection.client.socket()._inner  # type: ignore[union-attr]
    return inner


def local_port(link: Link) -> int:
    """Return our end of a connection."""
    return int(socket_of(link).getsockname()[1])


@dataclass(slots=True)
class World:
    """The hub near the broker, and one gateway."""

    hub: Hub
    field: Field

    @property
    def link(self) -> Link:
        found = self.field.gateway.delivery._link
        assert found is not None
        return found

    async def produce_frames(self, count: int) -> None:
        """Keep and seal readings whose frames differ as those of real sensors do: twelve bytes that do not compress."""
        gateway, gateway_id = self.field.gateway, str(self.field.gateway.config.gateway.id)
        for at in (times := [BEGAN_MS + next(self.field.numbers) for _ in range(count)]):
            one = reading(at)
            frame = msgspec.structs.replace(one.frame, raw=random.Random(at).randbytes(12))
            await gateway.spool.append([msgspec.structs.replace(one, frame=frame)])
        self.field.oracle.promise(*((gateway_id, at) for at in times))
        await gateway.sealer.seal_all(gateway.clock.now())

    async def alarm(self) -> float:
        """Seal one urgent reading by itself; returns the seconds until the hub has committed it."""
        at = BEGAN_MS + next(self.field.numbers)
        gateway = self.field.gateway
        await gateway.spool.append([msgspec.structs.replace(reading(at), urgent=True)])
        self.field.oracle.promise((str(gateway.config.gateway.id), at))
        await gateway.sealer.seal_all(gateway.clock.now())
        began, seq = time.monotonic(), gateway.delivery.window.highest
        while not await self._has(seq):
            assert time.monotonic() - began < ALARM_DEADLINE_S, f"the hub has not heard of alarm {seq}"
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def _has(self, seq: int) -> bool:
        async with self.hub.database.connection() as connection:
            found = await connection.execute("select 1 from batch where seq = %s", [seq])
            return await found.fetchone() is not None

    def drop_connection(self) -> None:
        """End the gateway's connection at our end, as a modem does that loses its carrier."""
        socket_of(self.link).shutdown(socket.SHUT_RDWR)

    async def settle(self, *, deadline_s: float = 60.0) -> float:
        """Wait until the hub has confirmed everything; returns the seconds that it took."""
        return await until("everything confirmed", lambda: self.field.confirmed, deadline_s=deadline_s)


@asynccontextmanager
async def world(
    folder: Path, dsn: str, broker: Mosquitto, host: str, *, keep_alive_s: int = 40, **hub_settings: object
) -> AsyncIterator[World]:
    """Run hub and gateway; the gateway reaches the broker at `host` and is connected."""
    async with running_hub(home_below(folder, "hub"), dsn, broker.port, broker_host=broker.host) as hub:
        config: Config = gateway_config(
            folder, "gw-a", broker.port, hub.key.public, host=host, keep_alive_s=keep_alive_s
        )
        if hub_settings:
            config = msgspec.structs.replace(config, hub=msgspec.structs.replace(config.hub, **hub_settings))
        await enrol(dsn, config)
        await hub.enrolled.refresh(at_once=True)
        async with field_gateway(config) as field:
            made = World(hub, field)
            await made.link.wait_connected()
            await field.produce()
            await made.settle()
            yield made
