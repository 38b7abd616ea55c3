"""ChirpStack v4 integration events, JSON or protobuf, into frames. Pure.

The rules are in the integration's own messages (chirpstack api/proto/integration/integration.proto) and in how the
server writes them: camelCase JSON, bytes in base64, and inside `rxInfo` and `txInfo` a field that is zero is simply
absent.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.clock import Instant
from wire.identity import DevEui, IdentityError, SourceId
from wire.reading import Frame, Kind, Link, Quantity

MALFORMED = SourceId("chirpstack:malformed")
KEY_BYTES = 16
_LATEST_MS = 4_102_444_800_000
_U32, _U8 = 0xFFFF_FFFF, 0xFF
_LARGEST_REPORT = 1_000  # dBm, dB, %
_HEX_ADDRESS = re.compile(r"[0-9a-f]{8}")
_HEX_GATEWAY = re.compile(r"[0-9a-f]{16}")
_TOPIC = re.compile(r"application/[^/]+/device/(?P<eui>[0-9a-fA-F]{16})/event/(?P<event>[a-z]+)")


class EventKind(enum.StrEnum):
    """The events that we keep; txack and location say nothing that a criterion asks."""

    UP = "up"
    JOIN = "join"
    STATUS = "status"
    LOG = "log"
    ACK = "ack"


class EventError(ValueError):
    """Theirs: the event is not what ChirpStack sends. The caller keeps it raw."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One event: a frame, and what it says beside its payload: quantities (a status), the profile's name.

    `spreading_factor` is 0 where the modulation has none.
    """

    frame: Frame
    quantities: tuple[Quantity, ...] = ()
    profile_tag: str = ""
    spreading_factor: int = 0


# ---- the JSON shapes; fields that we do not use are not named


class _DeviceInfo(msgspec.Struct, rename="camel", frozen=True):
    dev_eui: str = ""
    tags: dict[str, str] = {}


class _RxInfo(msgspec.Struct, rename="camel", frozen=True):
    gateway_id: str = ""
    rssi: int = 0
    snr: float = 0.0


class _Lora(msgspec.Struct, rename="camel", frozen=True):
    spreading_factor: int = 0


class _Modulation(msgspec.Struct, rename="camel", frozen=True):
    lora: _Lora = _Lora()


class _TxInfo(msgspec.Struct, rename="camel", frozen=True):
    frequency: int = 0
    modulation: _Modulation = _Modulation()


class _Event(msgspec.Struct, rename="camel", frozen=True):
    device_info: _DeviceInfo
    deduplication_id: str = ""
    time: datetime | None = None
    # up
    dev_addr: str = ""
    dr: int = 0
    f_cnt: int = 0
    f_port: int = 0
    data: bytes = b""
    rx_info: list[_RxInfo] = []
    tx_info: _TxInfo = _TxInfo()
    # status
    margin: int = 0
    external_power_source: bool = False
    battery_level_unavailable: bool = False
    battery_level: float = 0.0
    # log
    level: str = ""
    code: str = ""
    description: str = ""
    # ack
    queue_item_id: str = ""
    acknowledged: bool = False
    f_cnt_down: int = 0


_decoder = msgspec.json.Decoder(_Event)


def parse(topic: str, payload: bytes, received: Instant) -> Heard | None:
    """Return what an event says, None for a kind that we do not keep; raises EventError."""
    dev_eui, kind = parse_topic(topic)
    if kind is None:
        return None
    event = _from_json(payload) if payload[:1] == b"{" else _from_protobuf(kind, payload)
    if event.device_info.dev_eui.lower() != dev_eui:
        raise EventError(f"the topic names device {dev_eui}, the event {event.device_info.dev_eui!r:.40}")
    _check_ranges(event)
    return Heard(
        frame=_frame(event, kind, dev_eui, payload, received),
        quantities=_status_quantities(event) if kind is EventKind.STATUS else (),
        profile_tag=event.device_info.tags.get("xom_profile", ""),
        spreading_factor=event.tx_info.modulation.lora.spreading_factor,
    )


@functools.lru_cache(maxsize=1024)  # a gateway's devices repeat their few topics for years
def parse_topic(topic: str) -> tuple[DevEui, EventKind | None]:
    """Return the device and the kind of event, None for a kind that we do not keep; raises EventError."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        raise EventError(f"{topic!r:.120} is not a ChirpStack event topic")
    try:
        dev_eui = DevEui.parse(match["eui"])
        return dev_eui, EventKind(match["event"])
    except IdentityError as error:
        raise EventError(str(error)) from error
    except ValueError:
        return dev_eui, None


def malformed(topic: str, payload: bytes, received: Instant) -> Frame:
    """Keep an event that could not be read, whole: it is evidence, if only of a fault."""
    return Frame(
        source=MALFORMED,
        kind=Kind.LOG,
        key=_key("malformed", topic.encode() + b"\n" + payload),
        observed_at_ms=received.wall_ms,
        received_at_ms=received.wall_ms,
        monotonic_ms=received.monotonic_ms,
        boot=received.boot,
        clock=received.state,
        raw=payload,
    )


def _from_json(payload: bytes) -> _Event:
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(f"not a ChirpStack event: {error}") from error


def _from_protobuf(kind: EventKind, payload: bytes) -> _Event:
    # Imported here: a gateway whose ChirpStack writes JSON, the default, does not pay for protobuf's memory.
    from chirpstack_api.integration import integration_pb2
    from google.protobuf.message import DecodeError

    messages: dict[EventKind, Any] = {
        EventKind.UP: integration_pb2.UplinkEvent,
        EventKind.JOIN: integration_pb2.JoinEvent,
        EventKind.STATUS: integration_pb2.StatusEvent,
        EventKind.LOG: integration_pb2.LogEvent,
        EventKind.ACK: integration_pb2.AckEvent,
    }
    try:
        return _from_message(messages[kind].FromString(payload))
    except (DecodeError, ValueError, OverflowError) as error:
        raise EventError(f"not a ChirpStack {kind} event in JSON or protobuf: {error}") from error


def _from_message(message: Any) -> _Event:
    """Read the fields that this kind of message has; the names are the JSON ones in snake case."""
    named = {field.name for field in message.DESCRIPTOR.fields}
    plain = {
        name: getattr(message, name)
        for name in _Event.__struct_fields__
        if name in named and name not in {"device_info", "time", "rx_info", "tx_info", "level", "code"}
    }
    if message.HasField("time"):
        plain["time"] = datetime.fromtimestamp(message.time.ToMilliseconds() / 1000, UTC)
    if "rx_info" in named:
        plain["rx_info"] = [_RxInfo(rx.gateway_id, rx.rssi, rx.snr) for rx in message.rx_info]
        lora = _Lora(message.tx_info.modulation.lora.spreading_factor)
        plain["tx_info"] = _TxInfo(message.tx_info.frequency, _Modulation(lora))
    for name in named & {"level", "code"}:
        number = getattr(message, name)  # proto3 enums are open: a newer ChirpStack may send one that we do not know
        known = message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number.get(number)
        plain[name] = known.name if known else str(number)
    return _Event(device_info=_DeviceInfo(message.device_info.dev_eui, dict(message.device_info.tags)), **plain)


def _check_ranges(event: _Event) -> None:
    for name, value, most in (
        ("fCnt", event.f_cnt, _U32),
        ("fPort", event.f_port, _U8),
        ("dr", event.dr, _U8),
        ("frequency", event.tx_info.frequency, _U32),
        ("spreadingFactor", event.tx_info.modulation.lora.spreading_factor, _U8),
        ("fCntDown", event.f_cnt_down, _U32),
    ):
        if not 0 <= value <= most:
            raise EventError(f"{name} is {_shown(value)}, which no LoRaWAN frame can have")
    # What is no number, or one that no radio reports, would be sealed into a batch that nobody can read.
    for name, reported in (
        *[("rssi", rx.rssi) for rx in event.rx_info],
        *[("snr", rx.snr) for rx in event.rx_info],
        ("margin", event.margin),
        ("batteryLevel", event.battery_level),
    ):
        if not -_LARGEST_REPORT <= reported <= _LARGEST_REPORT:
            raise EventError(f"{name} is {_shown(reported)}, which no radio reports")


def _shown(value: float) -> str:
    """Write a number that may have thousands of digits, which Python refuses to write (or to make a float of)."""
    return f"{value}" if -(2**64) < value < 2**64 else "no number of 64 bits"


def _frame(event: _Event, kind: EventKind, dev_eui: DevEui, payload: bytes, received: Instant) -> Frame:
    identity = event.deduplication_id.encode() or payload
    return Frame(
        source=dev_eui.source,
        kind=_KINDS[kind],
        key=_key(kind, dev_eui.encode() + identity),
        observed_at_ms=_observed_at(event, received),
        received_at_ms=received.wall_ms,
        monotonic_ms=received.monotonic_ms,
        boot=received.boot,
        clock=received.state,
        raw=event.data if kind is EventKind.UP else _facts(event, kind),
        link=_link(event) if kind is EventKind.UP else None,
    )


_KINDS = {
    EventKind.UP: Kind.UPLINK,
    EventKind.JOIN: Kind.JOIN,
    EventKind.STATUS: Kind.STATUS,
    EventKind.LOG: Kind.LOG,
    EventKind.ACK: Kind.DOWNLINK_ACK,
}
_FACTS = {
    EventKind.JOIN: ("dev_addr",),
    EventKind.STATUS: ("margin", "external_power_source", "battery_level_unavailable", "battery_level"),
    EventKind.LOG: ("level", "code", "description"),
    EventKind.ACK: ("queue_item_id", "acknowledged", "f_cnt_down"),
}


def _facts(event: _Event, kind: EventKind) -> bytes:
    """Write what the event says, without the device's names, which the registry holds."""
    return msgspec.json.encode({name: getattr(event, name) for name in _FACTS[kind]})


def _observed_at(event: _Event, received: Instant) -> int:
    if event.time is None:
        return received.wall_ms
    at = event.time if event.time.tzinfo else event.time.replace(tzinfo=UTC)
    at_ms = round(at.timestamp() * 1000)
    return at_ms if 0 <= at_ms < _LATEST_MS else received.wall_ms


def _link(event: _Event) -> Link:
    best = max(event.rx_info, key=lambda rx: rx.snr, default=_RxInfo())
    address, concentrator = event.dev_addr.lower(), best.gateway_id.lower()
    if address and not _HEX_ADDRESS.fullmatch(address):
        raise EventError(f"devAddr {event.dev_addr!r:.40} is not eight hex digits")
    if concentrator and not _HEX_GATEWAY.fullmatch(concentrator):
        raise EventError(f"gatewayId {best.gateway_id!r:.40} is not sixteen hex digits")
    return Link(
        dev_addr=address,
        f_cnt=event.f_cnt,
        f_port=event.f_port,
        dr=event.dr,
        rssi_dbm=best.rssi,
        snr_db=round(best.snr, 2),
        lora_gateway=concentrator,
        heard_by=len(event.rx_info),
        frequency_hz=event.tx_info.frequency,
    )


def _status_quantities(event: _Event) -> tuple[Quantity, ...]:
    """DevStatusAns: link margin in dB, battery in % unless the device cannot tell or has mains (LoRaWAN 1.0.4, 5.5).

    The battery has a name of its own: many devices also send one in their payload, at the same instant.
    """
    margin = Quantity("link_margin", "dB", float(event.margin))
    if event.battery_level_unavailable or event.external_power_source:
        return (margin,)
    return (margin, Quantity("status_battery_level", "%", round(event.battery_level, 2)))


def _key(kind: str, identity: bytes) -> bytes:
    return hashlib.blake2b(kind.encode() + b"\n" + identity, digest_size=KEY_BYTES).digest()
