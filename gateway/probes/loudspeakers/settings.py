"""What an installer says of them: [[loudspeaker]]. `samples/gateway.toml` explains every key."""

from __future__ import annotations

from typing import Literal

import msgspec


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[loudspeaker.*.figure]]: one number: where it stands (an OID or a path in the JSON), what it is.

    `evidence`: it shows playing, a line `current` or a microphone's `level`, from `at_least` on, after `scale`.
    """

    at: str
    name: str
    unit: str = "1"
    scale: float = 1.0
    evidence: Literal["", "current", "level"] = ""
    at_least: float = 0.0


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where things stand in a JSON answer: paths such as `status.audio.0.playing`; "" where it is not told."""

    online: str = ""
    registered: str = ""
    last_seen: str = ""
    playing: str = ""
    sound: str = ""
    sound_at: str = ""
    play_log: str = ""
    log_start: str = "start"
    log_end: str = "end"
    figure: list[Figure] = []


class Sip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[loudspeaker.sip]]: OPTIONS to the device itself, or to the station's registrar, which passes it on."""

    host: str
    port: int = 5060
    transport: Literal["udp", "tcp"] = "udp"
    asks: Literal["device", "registrar"] = "device"
    user: str = ""
    credentials: str = ""


class Snmp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[loudspeaker.snmp]]: `interface` is an ifIndex, 0 for none."""

    host: str
    port: int = 161
    version: Literal["2c", "3"] = "2c"
    credentials: str = ""
    interface: int = 0
    figure: list[Figure] = []


class Http(Answer, frozen=True, forbid_unknown_fields=True):
    """[[loudspeaker.http]]: a JSON page of the device itself, or of the platform that looks after it."""

    url: str = ""
    asks: Literal["device", "platform"] = "device"
    credentials: str = ""
    verify_tls: bool = True


class Axis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[loudspeaker.axis]]: VAPIX. The test sounds: from `test_from` to `test_until`, hours in Viet Nam."""

    url: str
    credentials: str = ""
    verify_tls: bool = True
    serial: str = ""
    test: bool = False
    test_from: int = 9
    test_until: int = 11
    test_every_days: int = 7


class MqttStatus(Answer, frozen=True, forbid_unknown_fields=True):
    """[[loudspeaker.mqtt]]: a status topic on a broker."""

    host: str = "127.0.0.1"
    port: int = 1883
    topic: str = ""
    credentials: str = ""
    tls: bool = False


class Broadcast(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[loudspeaker.broadcast]]: what is due each week: days 1 (Monday) to 7, start HH:MM in Viet Nam, length."""

    days: list[int]
    start: str
    minutes: int


class Loudspeaker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[loudspeaker]]: one cluster: the receiver or amplifier of one place, with its horns."""

    name: str
    every_s: float = 300.0
    timeout_s: float = 15.0
    rungs: list[Literal["reach", "link", "play", "sound"]] = msgspec.field(default_factory=lambda: ["reach"])
    seen_within_s: float = 900.0
    sound_within_days: float = 30.0
    sip: list[Sip] = []
    snmp: list[Snmp] = []
    http: list[Http] = []
    axis: list[Axis] = []
    mqtt: list[MqttStatus] = []
    broadcast: list[Broadcast] = []
