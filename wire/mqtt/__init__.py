"""The MQTT 5 transport: the one part of this room that does I/O. A thin asyncio shell over paho-mqtt.

What it adds to the client library: a message is acknowledged (PUBACK) only when the application says so; publishing
waits for the broker's PUBACK and raises on its reason code; the broker's CONNACK limits are obeyed; what was received
and not yet taken is bounded, and a full hand-over stops reading the socket; the connection is kept up with jittered
back-off. Every connection is a fresh paho client, so that nothing of a lost connection is silently repeated: repeating
is the application's to decide, which knows what was committed. Decision 004 says why paho.

    link.py             a connection that is kept up: what the application holds
    connection.py       one connection's life, its socket watched by asyncio
    opening.py          how a connection begins: CONNECT, CONNACK, SUBSCRIBE
    dialling.py         how its socket comes about: TCP, TLS
    hand_over.py        what was received and not yet taken
    paho_client.py      paho with a short way in for messages
    buffered_socket.py  the socket under it
    terms.py            what is asked of a broker, and what it grants
"""

from wire.mqtt.connection import Counters
from wire.mqtt.hand_over import Message
from wire.mqtt.link import Link
from wire.mqtt.terms import (
    NO_MATCHING_SUBSCRIBERS,
    PUBLISH_OVERHEAD_BYTES,
    Broker,
    Limits,
    Terms,
    TooLarge,
    Unavailable,
    Will,
)

__all__ = [
    "NO_MATCHING_SUBSCRIBERS",
    "PUBLISH_OVERHEAD_BYTES",
    "Broker",
    "Counters",
    "Limits",
    "Link",
    "Message",
    "Terms",
    "TooLarge",
    "Unavailable",
    "Will",
]
