"""paho's client with our socket under it, and a short way in for messages."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.properties import VariableByteIntegers

from wire.mqtt.buffered_socket import BufferedSocket


class PahoClient(Client):
    """paho with our socket under it, and a short way in for messages.

    `_create_socket` is where paho itself puts its websocket wrapper; ours has been dialled before. `_handle_publish`
    makes some thirty objects of a PUBLISH (properties, a message with a lock, topic matching), two thirds of a
    gateway's time in a burst; topic, payload, retain flag and packet id are all that we use.
    """

    arrived: Callable[[str, bytes, bool, int], None]
    dialled: socket.socket

    def _create_socket(self) -> Any:
        # We write in one piece what belongs together; Nagle would hold the next one back for a delayed ACK, 40 ms.
        self.dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return BufferedSocket(self.dialled)

    def _handle_publish(self) -> MQTTErrorCode:
        """Take a PUBLISH apart (MQTT 5, 3.3). Its topic is no alias, for we allow none; QoS 2 we never ask for."""
        head, body = self._in_packet["command"], bytes(self._in_packet["packet"])
        qos = head >> 1 & 3
        try:
            at = 2 + int.from_bytes(body[:2])
            topic, mid = body[2:at].decode(), 0
            if qos:
                mid, at = int.from_bytes(body[at : at + 2]), at + 2
            properties, width = VariableByteIntegers.decode(body[at : at + 4])
        except (ValueError, IndexError, MalformedPacket):
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        start = at + width + properties
        if qos > 1 or (qos and not mid) or not topic or start > len(body):
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        self.arrived(topic, body[start:], bool(head & 1), mid)
        return MQTTErrorCode.MQTT_ERR_SUCCESS
