"""What is asked of a broker, and what it grants. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NO_MATCHING_SUBSCRIBERS = 0x10  # MQTT 5, 3.4.2.1: accepted, and nobody will get it
PUBLISH_OVERHEAD_BYTES = 64  # fixed header, topic length, packet id and properties beside topic and payload
SPEC_RECEIVE_MAXIMUM = 65_535  # MQTT 5, 3.2.2.3.3: where CONNACK names none
SPEC_LARGEST_PACKET = 268_435_460


class Unavailable(Exception):
    """The line's fault: no broker there, refused, cut. Back off and try again."""


class Silent(Unavailable):
    """Nothing came any more, and nothing said why: a dead line, or one that swallows large packets."""


class TooLarge(ValueError):
    """The broker's Maximum Packet Size forbids it; sending would cut the connection (MQTT 5, 3.2.2.3.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where the broker is and how to be let in. `tls_ca` turns TLS on; certificate and key add a client identity."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password_file: Path | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker says for us when we are gone: after `delay_s`, which must lie below the session expiry."""

    topic: str
    payload: bytes
    delay_s: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What we ask of the connection. `receive_maximum` bounds what the broker may leave unacknowledged with us.

    A dead line is noticed by us after two keep-alives at the latest, by Mosquitto after one and a half and some
    seconds: 40 s keep both below 90 s. A connection is given `connect_timeout_s` until its subscriptions are granted:
    at 1 s delay each way and 30 % loss TLS and MQTT take up to 71 s (measured, decision 004), and each new try costs
    4 KB.
    """

    client_id: str
    subscriptions: Sequence[str] = ()
    will: Will | None = None
    keep_alive_s: int = 40
    session_expiry_s: int = 3600
    receive_maximum: int = 64
    hand_over: int = 256
    publish_window: int = 32
    connect_timeout_s: float = 90.0


@dataclass(slots=True)
class Limits:
    """What the broker said in its CONNACK."""

    receive_maximum: int = SPEC_RECEIVE_MAXIMUM
    packet_bytes: int = SPEC_LARGEST_PACKET
    session_present: bool = False
