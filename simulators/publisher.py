"""From simulated events to a real broker: MQTT 5, QoS 1, in order, nothing dropped silently.

Limit of the client: `publish()` of aiomqtt 2.5 returns when the PUBACK arrives but ignores its reason code,
so a broker that refuses by code (0x87 not authorised, 0x97 quota exceeded) looks like one that accepted.
Tests that depend on refusals must look at the broker, or use `wire.mqtt`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Final, Protocol

import aiomqtt

from simulators.simulation import Published

WINDOW: Final = 50  # messages awaiting their PUBACK at once


class PublishClient(Protocol):
    """The part of `aiomqtt.Client` that is used here."""

    async def publish(self, /, topic: str, payload: bytes, qos: int) -> None:
        """Send one message and return at its PUBACK; raises when it cannot."""


def connect(host: str, port: int, *, client_id: str) -> aiomqtt.Client:
    """A client to enter with `async with`; entering raises aiomqtt.MqttError when the broker is not there."""
    client = aiomqtt.Client(
        hostname=host,
        port=port,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        max_inflight_messages=WINDOW,
        # Without it the last message of a burst waits for the broker's delayed TCP acknowledgement.
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    client.pending_calls_threshold = WINDOW  # above it aiomqtt warns in the log; our window is intended
    return client


async def publish(client: PublishClient, published: Iterable[Published], *, protobuf: bool = False) -> int:
    """Publish in order, at most WINDOW messages unacknowledged; returns how many the broker acknowledged.

    Raises the client's error at the first failure. Some of the messages in flight may have arrived then, so a
    caller that tries again makes duplicates.
    """
    # The window slides: in whole windows, Mosquitto's small PUBACKs and our delayed TCP acknowledgement wait for
    # each other, 40 ms each time (measured: 900 events/s instead of thousands).
    room, sent = asyncio.Semaphore(WINDOW), 0
    try:
        async with asyncio.TaskGroup() as tasks:
            for one in published:
                await room.acquire()
                # Tasks start in the order of creation and paho queues before its first await: order is kept.
                tasks.create_task(_publish_one(client, one, room, protobuf=protobuf))
                sent += 1
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return sent


async def _publish_one(client: PublishClient, one: Published, room: asyncio.Semaphore, *, protobuf: bool) -> None:
    await client.publish(one.topic, one.payload(protobuf=protobuf), 1)
    room.release()
