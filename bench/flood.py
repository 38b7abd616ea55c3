"""A light MQTT 5 publisher on a bare socket: packets made beforehand, so that it costs next to nothing while it runs.

It knows QoS 1 and nothing else, and keeps at most a window of messages unacknowledged, as the broker's CONNACK asks.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

_CONNECT, _CONNACK, _PUBLISH_QOS1, _PUBACK, _DISCONNECT = 0x10, 0x20, 0x32, 0x40, 0xE0
_RECEIVE_MAXIMUM = 0x21  # property identifier (MQTT 5, 3.2.2.3.3)
_PACKET_IDS = 65_535
_WINDOW = 400
_BURST = 50
_SILENCE_S = 20.0
_TAKEN = (0x00, 0x10)  # reason codes of a message that the broker has accepted


class FloodError(RuntimeError):
    """The broker refused a message or went silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """One message to publish."""

    topic: str
    payload: bytes


def packet(uplink: Uplink, packet_id: int) -> bytes:
    """Return a PUBLISH packet (MQTT 5, 3.3): QoS 1, no properties."""
    topic = uplink.topic.encode()
    rest = struct.pack("!H", len(topic)) + topic + struct.pack("!HB", packet_id, 0) + uplink.payload
    return bytes([_PUBLISH_QOS1]) + _variable(len(rest)) + rest


def packets(uplinks: Sequence[Uplink]) -> list[bytes]:
    """Return PUBLISH packets with their packet ids going round."""
    return [packet(uplink, at % _PACKET_IDS + 1) for at, uplink in enumerate(uplinks)]


class Publisher:
    """One connection. Blocking; a benchmark runs it in a thread."""

    def __init__(self, port: int, client_id: str = "bench-flood") -> None:
        self._port = port
        self._client_id = client_id
        self._socket = socket.socket()
        self._ahead = b""
        self.window = _WINDOW

    def __enter__(self) -> Publisher:
        try:
            self._connect()
        except BaseException:
            self._socket.close()
            raise
        return self

    def _connect(self) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(_SILENCE_S)
        self._socket.connect(("127.0.0.1", self._port))
        name = self._client_id.encode()
        rest = b"\x00\x04MQTT\x05\x02" + struct.pack("!HBH", 0, 0, len(name)) + name  # clean start, no keep-alive
        self._socket.sendall(bytes([_CONNECT, len(rest)]) + rest)
        self._take_connack(*self._read_packet())

    def __exit__(self, *_: object) -> None:
        try:
            self._socket.sendall(bytes([_DISCONNECT, 0]))
        finally:
            self._socket.close()

    def publish(self, ready: Sequence[bytes]) -> None:
        """Send every packet and return when all are acknowledged; raises FloodError."""
        sent = acknowledged = 0
        while acknowledged < len(ready):
            room = min(_BURST, self.window - (sent - acknowledged), len(ready) - sent)
            if room > 0:
                self._socket.sendall(b"".join(ready[sent : sent + room]))
                sent += room
            if sent - acknowledged >= self.window or sent == len(ready):
                acknowledged += self._take_pubacks()

    def pace(self, ready: Sequence[bytes], per_s: float) -> list[float]:
        """Send one packet at a time in an even rhythm; returns when each was sent (time.monotonic)."""
        began, times = time.monotonic(), []
        for at, one in enumerate(ready):
            time.sleep(max(0.0, began + at / per_s - time.monotonic()))
            times.append(time.monotonic())
            self._socket.sendall(one)
            self._take_pubacks()
        return times

    def _take_connack(self, kind: int, body: bytes) -> None:
        if kind != _CONNACK or len(body) < 3 or body[1] != 0:
            raise FloodError(f"the broker refused the connection: {body.hex()}")
        properties = body[3:]
        if properties[:1] == bytes([_RECEIVE_MAXIMUM]):
            self.window = min(self.window, int.from_bytes(properties[1:3]))

    def _take_pubacks(self) -> int:
        """Wait for the broker and return how many messages it has acknowledged."""
        count = 1
        self._check_puback(*self._read_packet())
        while len(self._ahead) >= 2 and len(self._ahead) >= 2 + self._ahead[1]:
            self._check_puback(*self._read_packet())
            count += 1
        return count

    @staticmethod
    def _check_puback(kind: int, body: bytes) -> None:
        if kind != _PUBACK or (len(body) > 2 and body[2] not in _TAKEN):
            raise FloodError(f"packet {kind:#x} {body.hex()} where a PUBACK was expected")

    def _read_packet(self) -> tuple[int, bytes]:
        """Return type and body of one packet; all that come here are shorter than 128 bytes."""
        while len(self._ahead) < 2 or len(self._ahead) < 2 + self._ahead[1]:
            piece = self._socket.recv(65_536)
            if not piece:
                raise FloodError("the broker closed the connection")
            self._ahead += piece
        end = 2 + self._ahead[1]
        head, self._ahead = self._ahead[:end], self._ahead[end:]
        return head[0] & 0xF0, head[2:]


def _variable(length: int) -> bytes:
    encoded = bytearray()
    while True:
        length, low = divmod(length, 128)
        encoded.append(low | 0x80 if length else low)
        if not length:
            return bytes(encoded)
