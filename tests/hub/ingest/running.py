"""A whole hub beside a test, and a gateway's end of the line: both over a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from hub.assembly import Hub, assemble
from hub.config import Config
from wire.ack import Ack, open_ack
from wire.dsse import Envelope
from wire.identity import GatewayId
from wire.keys import Verifier
from wire.mqtt import Broker, Link, Message, Terms
from wire.refusal import REFUSAL_TYPE, Refused, open_refusal
from wire.topics import Subject, Topic

DEADLINE_S = 60.0


async def until(holds: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Wait until a state is there; the deadline is for a test that fails, not a measurement."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while True:
        answer = holds()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert asyncio.get_running_loop().time() < end, f"never came true: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running_hub(config: Config) -> AsyncIterator[Hub]:
    """A hub that serves until the block ends; a failure in it ends the block."""
    async with assemble(config) as hub, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(hub.run())
        await until(lambda: hub.link.connected, f"the hub is connected: {hub.link.problem}")
        yield hub
        running.cancel()


@dataclass
class Station:
    """A gateway's end: it publishes what it is told and believes acknowledgements that the hub's key signed."""

    gateway: GatewayId
    link: Link
    hub_key: Verifier
    acks: list[Ack] = field(default_factory=list)
    retained: list[Ack] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    async def send(self, *envelopes: bytes) -> None:
        """Publish on the gateway's batch topic, in order."""
        await self.link.wait_connected()
        for envelope in envelopes:
            await self.link.publish(str(Topic(self.gateway, Subject.BATCH)), envelope)

    async def acked(self, through: int, *, missing: tuple[tuple[int, int], ...] = ()) -> Ack:
        """Wait until the last word of the hub is this watermark."""
        await until(
            lambda: bool(self.acks) and (self.acks[-1].through, self.acks[-1].missing) == (through, missing),
            f"an acknowledgement through {through}",
        )
        return self.acks[-1]

    async def listen(self) -> None:
        """Hear the hub, until cancelled; raises AckError or RefusalError for what must not be believed."""
        async for pack in self.link.packs(16):
            for message in pack:
                self._take(message)
            self.link.acknowledge(pack)

    def _take(self, message: Message) -> None:
        if Envelope.decode(message.payload).payload_type == REFUSAL_TYPE:
            assert not message.retained
            self.refused += open_refusal(message.payload, self.gateway, self.hub_key).refused
            return
        ack = open_ack(message.payload, self.gateway, self.hub_key)
        self.acks.append(ack)
        if message.retained:
            self.retained.append(ack)


@asynccontextmanager
async def station(gateway: GatewayId, port: int, hub_key: Verifier) -> AsyncIterator[Station]:
    """Connect as a gateway, and hear what the hub says to it."""
    terms = Terms(client_id=gateway, subscriptions=[str(Topic(gateway, Subject.ACK))])
    async with Link(Broker(port=port), terms) as link, asyncio.TaskGroup() as tasks:
        opened = Station(gateway, link, hub_key)
        listening = tasks.create_task(opened.listen())
        yield opened
        listening.cancel()


async def answer(hub: Hub, path: str, **query: Any) -> httpx.Response:
    """What the hub's API answers, over HTTP."""
    async with httpx.AsyncClient(base_url=hub.address, timeout=DEADLINE_S) as client:
        return await client.get(path, params=query)


async def items(hub: Hub, path: str, **query: Any) -> list[dict[str, Any]]:
    """Everything in a list of the API, page by page."""
    found: list[dict[str, Any]] = []
    async with httpx.AsyncClient(base_url=f"{hub.address}/api/v1", timeout=DEADLINE_S) as client:
        while True:
            page = (await client.get(path, params=query)).raise_for_status().json()
            found += page["items"]
            if page["next"] is None:
                return found
            query["after"] = page["next"]


async def counter(hub: Hub, name: str) -> float:
    """A counter as `/metrics` shows it, 0 before it has first risen."""
    text = (await answer(hub, "/metrics")).text
    return next((float(line.split()[-1]) for line in text.splitlines() if line.split(" ")[0] == name), 0.0)
