import socket
import threading

import pytest

from bench.flood import FloodError, Publisher, Uplink, packet

CONNACK = bytes([0x20, 6, 0, 0, 3, 0x21, 0, 5])  # Receive Maximum 5


def one_peer(answer: bytes, sizes: list[int]) -> int:
    """A broker that sends a fixed answer after CONNECT and notes how much it hears in all."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        with listener, peer:
            peer.recv(4096)
            peer.sendall(answer)
            sizes.append(len(peer.recv(65_536)))

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def test_a_packet_has_topic_id_no_properties_and_payload() -> None:
    assert packet(Uplink(topic="a/b", payload=b"xy"), 258) == b"\x32\x0a\x00\x03a/b\x01\x02\x00xy"


def test_a_long_packet_has_its_length_in_two_bytes() -> None:
    made = packet(Uplink(topic="t", payload=bytes(200)), 1)
    assert made[1:3] == bytes([206 & 0x7F | 0x80, 1])


def test_the_window_is_what_the_broker_grants() -> None:
    with Publisher(one_peer(CONNACK, [])) as publisher:
        assert publisher.window == 5


def test_a_refused_message_is_an_error_and_not_a_figure() -> None:
    refused = bytes([0x40, 3, 0, 1, 0x97])  # quota exceeded
    ready = [packet(Uplink(topic="t", payload=b""), 1)]
    with Publisher(one_peer(CONNACK + refused, [])) as publisher, pytest.raises(FloodError):
        publisher.publish(ready)


def test_a_refused_connection_is_an_error() -> None:
    with pytest.raises(FloodError), Publisher(one_peer(bytes([0x20, 3, 0, 0x87, 0]), [])):
        pass
