"""How a connection begins: a client that knows who we are, CONNECT, CONNACK's limits, SUBSCRIBE."""

from __future__ import annotations

import asyncio

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from wire.mqtt.connection import Connection, settle
from wire.mqtt.dialling import dial, tls_context
from wire.mqtt.paho_client import PahoClient
from wire.mqtt.terms import SPEC_LARGEST_PACKET, SPEC_RECEIVE_MAXIMUM, Broker, Silent, Terms, Unavailable


class ShorterKeepAlive(Unavailable):
    """The broker wants one (MQTT 5, 3.2.2.3.14): connect again with `keep_alive_s`."""

    def __init__(self, broker: Broker, keep_alive_s: int) -> None:
        super().__init__(f"{broker} wants a keep-alive of {keep_alive_s} s; connecting again with it")
        self.keep_alive_s = keep_alive_s


def new_client(broker: Broker, terms: Terms) -> PahoClient:
    """Return a client that is not connected yet; raises OSError, ValueError for a password that is not there."""
    client = PahoClient(
        CallbackAPIVersion.VERSION2,
        client_id=terms.client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=True,
    )
    client.max_inflight_messages_set(terms.publish_window + 1)
    if broker.username:
        password = broker.password_file.read_text().strip() if broker.password_file else None
        client.username_pw_set(broker.username, password)
    if terms.will:
        properties = Properties(PacketTypes.WILLMESSAGE)
        properties.WillDelayInterval = terms.will.delay_s
        client.will_set(terms.will.topic, terms.will.payload, qos=1, retain=True, properties=properties)
    return client


async def open_connection(
    connection: Connection, terms: Terms, keep_alive_s: int, *, small_packets: bool = False
) -> None:
    """Connect and subscribe within the time-out; raises Unavailable."""
    try:
        async with asyncio.timeout(terms.connect_timeout_s):
            await _dial(connection, terms, small_packets)
            await _shake_hands(connection, terms, keep_alive_s)
            await _subscribe(connection, terms)
    except TimeoutError:
        raise Silent(f"{connection.broker} does not answer") from None


async def _dial(connection: Connection, terms: Terms, small_packets: bool) -> None:
    broker = connection.broker
    try:
        context = tls_context(broker)
    except (OSError, ValueError) as error:
        raise Unavailable(f"cannot be let in at {broker}: {error}") from error
    try:
        connection.client.dialled = await dial(broker, context, terms.connect_timeout_s, small_packets=small_packets)
    except (OSError, ValueError) as error:
        raise Unavailable(f"cannot reach {broker}: {error}") from error


async def _shake_hands(connection: Connection, terms: Terms, keep_alive_s: int) -> None:
    client, broker = connection.client, connection.broker
    answered: asyncio.Future[tuple[ReasonCode, Properties | None, bool]] = asyncio.get_running_loop().create_future()
    client.on_connect = lambda _c, _d, flags, code, properties: settle(
        answered, (code, properties, flags.session_present)
    )
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = terms.session_expiry_s
    properties.ReceiveMaximum = terms.receive_maximum
    client.connect_async(broker.host, broker.port, keep_alive_s, clean_start=False, properties=properties)
    client.reconnect()
    connection.start_io()
    code, granted, session_present = await connection.or_lost(answered)
    if code.is_failure:
        raise Unavailable(f"{broker} refused the connection: {code.getName()}")
    _note_limits(connection, granted, session_present, terms, keep_alive_s)


def _note_limits(
    connection: Connection, granted: Properties | None, session_present: bool, terms: Terms, keep_alive_s: int
) -> None:
    """Read CONNACK (MQTT 5, 3.2.2.3); an absent property means the standard's default."""
    values = granted.json() if granted else {}
    limits = connection.limits
    limits.receive_maximum = values.get("ReceiveMaximum", SPEC_RECEIVE_MAXIMUM)
    limits.packet_bytes = values.get("MaximumPacketSize", SPEC_LARGEST_PACKET)
    limits.session_present = session_present
    connection.window = asyncio.Semaphore(min(limits.receive_maximum, terms.publish_window))
    if values.get("MaximumQoS", 2) < 1:
        raise Unavailable(f"{connection.broker} offers no QoS 1, which delivery needs")
    server_keep_alive = values.get("ServerKeepAlive", keep_alive_s)
    if server_keep_alive < keep_alive_s:
        raise ShorterKeepAlive(connection.broker, server_keep_alive)


async def _subscribe(connection: Connection, terms: Terms) -> None:
    if not terms.subscriptions:
        return
    answered: asyncio.Future[list[ReasonCode]] = asyncio.get_running_loop().create_future()
    connection.client.on_subscribe = lambda _c, _d, _mid, codes, _p: settle(answered, codes)
    connection.client.subscribe([(one, SubscribeOptions(qos=1)) for one in terms.subscriptions])
    codes = await connection.or_lost(answered)
    for topic, code in zip(terms.subscriptions, codes, strict=True):
        if code.value != 1:  # granted QoS 1
            raise Unavailable(f"{connection.broker} refused the subscription {topic}: {code.getName()}")
