"""ChirpStack events as nobody should write them, drawn from the schema that ChirpStack publishes.

A message's descriptor says which fields it has and what they hold; each is then left out, filled rightly, or filled
with something else. What is drawn here shares no code with the gateway's parser.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

from chirpstack_api.integration import integration_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st

KEPT: Final[dict[str, Any]] = {
    "up": integration_pb2.UplinkEvent,
    "join": integration_pb2.JoinEvent,
    "status": integration_pb2.StatusEvent,
    "log": integration_pb2.LogEvent,
    "ack": integration_pb2.AckEvent,
}
IGNORED: Final[dict[str, Any]] = {
    "txack": integration_pb2.TxAckEvent,
    "location": integration_pb2.LocationEvent,
}
DEVICE: Final = "f0f0f0f0f0f0f0f0"  # nobody's but ours: the sensors beside it are judged by the oracle
_TIME: Final = "2026-02-01T00:00:00.5+00:00"
_DEEP: Final = 3


@dataclass(frozen=True, slots=True)
class Hostile:
    """One message: the kind that its topic names, whose topic it is, and its bytes."""

    kind: str
    payload: bytes
    dev_eui: str = DEVICE

    def topic(self, application: str) -> str:
        """Where it is published."""
        return f"application/{application}/device/{self.dev_eui}/event/{self.kind}"

    @property
    def is_kept(self) -> bool:
        """Whether a gateway keeps this kind of event at all."""
        return self.kind not in IGNORED


# ---- by hand: the ones that the catalogue names


def event(**changed: object) -> dict[str, object]:
    """A good uplink with fields replaced; None leaves one out."""
    whole: dict[str, object] = {
        "deduplicationId": "f3e8fc4b-0000-4000-8000-000000000000",
        "time": _TIME,
        "deviceInfo": {"devEui": DEVICE, "tags": {}},
        "devAddr": "01f3a1b2",
        "dr": 3,
        "fCnt": 7,
        "fPort": 2,
        "data": base64.b64encode(b"\x0c\xe4\x01\x2c\x00").decode(),
        "rxInfo": [{"gatewayId": "0016c001f1500812", "rssi": -98, "snr": 7.5}],
        "txInfo": {"frequency": 921400000},
    }
    return {name: value for name, value in (whole | changed).items() if value is not None}


def up(name: str, **changed: object) -> Hostile:
    """An uplink that is told apart by its deduplication id."""
    return Hostile("up", json.dumps(event(deduplicationId=name) | changed).encode())


REFUSED: Final = {  # kept raw, as malformed
    "no device": Hostile("up", json.dumps(event(deviceInfo=None)).encode()),
    "another's device": up("a", deviceInfo={"devEui": "0" * 16}),
    "wrong types": up("b", fCnt="seven", rxInfo={}, time=7),
    "base64 rubbish": up("c", data="!!!! not base64 ===="),
    "64-bit counter": up("d", fCnt=2**63),
    "counter of 4,000 digits": Hostile("up", json.dumps(event()).replace(": 7,", f": {'9' * 4000},").encode()),
    "null bytes": Hostile("up", b"\x00" * 300),
    "cut": Hostile("up", json.dumps(event()).encode()[:80]),
    "empty": Hostile("up", b""),
    "nested": Hostile("up", b"[" * 50_000),
    "nested object": Hostile("up", b'{"deviceInfo":' * 4_000),
    "not utf-8": Hostile("up", json.dumps(event()).encode().replace(b"921400000", b"\xff\xfe")),
    "future of no calendar": up("e", time="99999-01-01T00:00:00Z"),
    "port of no frame": up("f", fPort=256),
    "topic of no device": Hostile("up", json.dumps(event()).encode(), dev_eui="not-a-eui"),
}
READ: Final = {  # by rule: what is said rightly counts
    "port 0": up("g", fPort=0),
    "fields left out": Hostile("up", json.dumps({"deviceInfo": {"devEui": DEVICE}}).encode()),
    "year 2999": up("h", time="2999-01-01T00:00:00Z"),
    "unknown fields of a later version": up("i", version=99, quantum={"spin": [0.5] * 9}),
    "null byte in a name": up("j", deviceInfo={"devEui": DEVICE, "deviceName": "a\0b", "tags": {"xom_profile": "\0"}}),
    "many receivers": up("k", rxInfo=[{"gatewayId": "0016c001f1500812", "rssi": -98}] * 500),
    "no payload": up("l", data=""),
}
CUT: Final = {"huge array": up("m", rxInfo=[{"gatewayId": "0016c001f1500812", "rssi": -98}] * 4_000)}


# ---- drawn


_hostile_values = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 2**31, 2**32, 2**63, 2**64, -(2**63) - 1, 10**40, 1e308, -0.0]),
    st.text(max_size=20),
    st.sampled_from(
        ["\0", "\x1b[2J", "NaN", "2026-13-45T99:99:99Z", "0001-01-01T00:00:00Z", "f" * 16, "=" * 9, "x" * 2_000]
    ),
    st.lists(st.none(), max_size=3),
    st.builds(lambda: [{} for _ in range(300)]),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=3),
)


def _right(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """What the schema says that this field holds, in proto3's JSON mapping."""
    message = field.message_type
    if message is not None:
        if message.full_name == "google.protobuf.Timestamp":
            return st.just(_TIME)
        if message.full_name == "google.protobuf.Duration":
            return st.just("1.500s")
        if message.GetOptions().map_entry or message.full_name == "google.protobuf.Struct":
            return st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2)
        one = _message(message, depth + 1) if depth < _DEEP else st.just({})
        return st.lists(one, max_size=2) if field.is_repeated else one
    if field.enum_type is not None:
        return st.sampled_from([value.name for value in field.enum_type.values])
    return {
        FieldDescriptor.TYPE_STRING: st.text("0123456789abcdef", max_size=16),
        FieldDescriptor.TYPE_BYTES: st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()),
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_FLOAT: st.floats(-200, 200),
        FieldDescriptor.TYPE_DOUBLE: st.floats(-200, 200),
    }.get(field.type, st.integers(0, 255))


def _message(descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """A message with any of its fields missing; the device is always ours."""
    fields = {field.json_name: _right(field, depth) for field in descriptor.fields}
    always = {name: fields.pop(name) for name in ("deviceInfo", "devEui") if name in fields}
    if "devEui" in always:
        always["devEui"] = st.just(DEVICE)
    return st.fixed_dictionaries(always, optional=fields)


def _places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a message, itself left out."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [place for key, inner in entries for place in _places(inner, (*path, key))]
    return [path, *below] if path else below


@st.composite
def _events(draw: st.DrawFn) -> Hostile:
    """A message of any kind; mostly one or two of its places, at any depth, hold something else or nothing."""
    kind = draw(st.sampled_from(sorted(_MESSAGES)))
    whole = draw(_MESSAGES[kind])
    for _ in range(draw(st.integers(0, 2))):
        *rooms, last = draw(st.sampled_from(_places(whole)))
        place: Any = whole
        for room in rooms:
            place = place[room]
        if draw(st.booleans()):
            place[last] = draw(_hostile_values)
        elif rooms or last != "deviceInfo":
            del place[last]
    return Hostile(kind, json.dumps(whole).encode())


def _damaged(one: Hostile, at: int, byte: int) -> Hostile:
    data = bytearray(one.payload or b"?")
    data[at % len(data)] = byte
    return Hostile(one.kind, bytes(data))


_MESSAGES: Final = {kind: _message(one.DESCRIPTOR) for kind, one in (KEPT | IGNORED).items()}
_whole = _events()
hostile_events: Final = st.one_of(
    _whole,
    _whole,
    st.builds(_damaged, _whole, st.integers(0, 10_000), st.integers(0, 255)),
    st.builds(Hostile, st.sampled_from(sorted(KEPT)), st.binary(max_size=120)),  # protobuf, if anything
)
