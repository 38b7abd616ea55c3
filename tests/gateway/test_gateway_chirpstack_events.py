"""ChirpStack's events, read as they are documented (reference lorawan.md section 1), and whatever else may come."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import msgspec
import pytest
from chirpstack_api import integration
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import Instant
from gateway.sources.chirpstack_events import MALFORMED, EventError, Heard, malformed, parse
from tests.gateway.gateway_readings import BOOT
from tests.wire.strategies import KEYS, draft
from wire.batch import seal
from wire.keys import Algorithm
from wire.reading import ClockState, Frame, Kind, Link, Quantity, Reading

NOW = Instant(1_755_636_700_000, 9_000, BOOT, ClockState.NTP)
EUI = "a840410000000001"
AT_MS = 1_755_636_688_123


def topic(kind: str, eui: str = EUI) -> str:
    return f"application/7b1c1b5e-0000-4000-8000-000000000001/device/{eui}/event/{kind}"


DEVICE = {
    "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242",
    "tenantName": "Xã Đông",
    "applicationId": "7b1c1b5e-0000-4000-8000-000000000001",
    "applicationName": "nước",
    "deviceProfileId": "a0000000-0000-4000-8000-000000000001",
    "deviceProfileName": "LDDS75",
    "deviceName": "cống số 1",
    "devEui": EUI,
    "deviceClassEnabled": "CLASS_A",
    "tags": {"xom_profile": "dragino/ldds75"},
}
UP: dict[str, Any] = {
    "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
    "time": "2025-08-19T20:51:28.123456789+00:00",
    "deviceInfo": DEVICE,
    "devAddr": "26011bda",
    "adr": True,
    "dr": 2,
    "fCnt": 4100,
    "fPort": 2,
    "confirmed": False,
    "data": "DQoH6QAAAAE=",
    "rxInfo": [
        # snr 0.0 and channel 0 are simply absent inside rxInfo: missing means zero
        {"gatewayId": "0016c001f156d7e5", "uplinkId": 1, "rssi": -36, "context": "EFwMtA==", "crcStatus": "CRC_OK"},
        {
            "gatewayId": "24e124fffef00001",
            "uplinkId": 2,
            "rssi": -97,
            "snr": -7.25,
            "channel": 2,
            "crcStatus": "CRC_OK",
        },
    ],
    "txInfo": {
        "frequency": 923200000,
        "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 10, "codeRate": "CR_4_5"}},
    },
    "regionConfigId": "as923",
}
JOIN = {
    "deduplicationId": "c9dbe358-2578-4fb7-b295-66b44edc45a6",
    "time": "2025-08-19T20:51:28.123Z",
    "deviceInfo": DEVICE,
    "devAddr": "26011bda",
    "regionConfigId": "as923",
}
STATUS = {
    "deduplicationId": "7ac7e3c4-4401-4b8d-9386-a5c902f9202d",
    "time": "2025-08-19T20:51:28.123Z",
    "deviceInfo": DEVICE,
    "margin": -3,
    "externalPowerSource": False,
    "batteryLevelUnavailable": False,
    "batteryLevel": 75.25,
}
LOG = {
    "time": "2025-08-19T20:51:28.123Z",
    "deviceInfo": DEVICE,
    "level": "ERROR",
    "code": "UPLINK_CODEC",
    "description": "exception: 1:1",
    "context": {"deduplication_id": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d"},
}
ACK = {
    "deduplicationId": "8ac7e3c4-4401-4b8d-9386-a5c902f9202d",
    "time": "2025-08-19T20:51:28.123Z",
    "deviceInfo": DEVICE,
    "queueItemId": "5536db3e-0000-4000-8000-000000000001",
    "acknowledged": True,
    "fCntDown": 13,
}
ALL = {"up": UP, "join": JOIN, "status": STATUS, "log": LOG, "ack": ACK}


def read(kind: str, event: object, received: Instant = NOW) -> Heard:
    heard = parse(topic(kind), json.dumps(event).encode(), received)
    assert heard is not None
    return heard


def test_an_uplink_becomes_a_frame_with_the_best_concentrators_link() -> None:
    heard = read("up", UP)
    assert heard.profile_tag == "dragino/ldds75"
    assert heard.quantities == ()
    frame = heard.frame
    assert len(frame.key) == 16
    assert msgspec.structs.replace(frame, key=b"") == Frame(
        source=frame.source,
        kind=Kind.UPLINK,
        key=b"",
        observed_at_ms=AT_MS,
        received_at_ms=NOW.wall_ms,
        monotonic_ms=NOW.monotonic_ms,
        boot=BOOT,
        clock=ClockState.NTP,
        raw=bytes.fromhex("0d0a07e900000001"),
        # 0.0 dB, absent in the JSON, is better than -7.25 dB
        link=Link("26011bda", 4100, 2, 2, -36, 0.0, "0016c001f156d7e5", 2, 923_200_000),
    )
    assert frame.source == f"lorawan:{EUI}"


def test_everything_that_a_minimal_uplink_leaves_out_is_zero() -> None:
    heard = read("up", {"deviceInfo": {"devEui": EUI}})
    assert heard.frame.link == Link()
    assert heard.frame.raw == b""
    assert heard.frame.observed_at_ms == NOW.wall_ms
    assert heard.profile_tag == ""


def test_the_other_events_keep_their_facts_and_no_link() -> None:
    kinds = {"join": Kind.JOIN, "status": Kind.STATUS, "log": Kind.LOG, "ack": Kind.DOWNLINK_ACK}
    facts = {
        "join": {"dev_addr": "26011bda"},
        "status": {
            "margin": -3, "external_power_source": False, "battery_level_unavailable": False, "battery_level": 75.25,
        },
        "log": {"level": "ERROR", "code": "UPLINK_CODEC", "description": "exception: 1:1"},
        "ack": {"queue_item_id": ACK["queueItemId"], "acknowledged": True, "f_cnt_down": 13},
    }  # fmt: skip
    for kind, expected in facts.items():
        frame = read(kind, ALL[kind]).frame
        assert (frame.kind, frame.link, frame.observed_at_ms) == (kinds[kind], None, AT_MS)
        assert json.loads(frame.raw) == expected


def test_a_status_gives_margin_and_battery_unless_the_device_cannot_tell() -> None:
    margin = Quantity("link_margin", "dB", -3.0)
    assert read("status", STATUS).quantities == (margin, Quantity("status_battery_level", "%", 75.25))
    assert read("status", STATUS | {"batteryLevelUnavailable": True}).quantities == (margin,)
    assert read("status", STATUS | {"externalPowerSource": True, "batteryLevel": 0}).quantities == (margin,)


def test_a_redelivered_event_has_the_same_key_and_no_other_event_has() -> None:
    keys = {read(kind, event).frame.key for kind, event in ALL.items()}
    assert len(keys) == 5
    later = Instant(NOW.wall_ms + 5_000, 14_000, "6" * 16, ClockState.NONE)
    assert read("up", UP, later).frame.key == read("up", UP).frame.key
    assert read("up", UP | {"deduplicationId": "other"}).frame.key not in keys
    assert read("log", LOG | {"description": "other"}).frame.key not in keys


# ---- protobuf


def _protobuf(kind: str) -> Any:
    messages = {
        "up": integration.UplinkEvent,
        "join": integration.JoinEvent,
        "status": integration.StatusEvent,
        "log": integration.LogEvent,
        "ack": integration.AckEvent,
    }
    return messages[kind]()


def _as_protobuf(kind: str, event: dict[str, Any]) -> Any:
    return json_format.ParseDict(event, _protobuf(kind))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kind", list(ALL))
def test_protobuf_of_the_same_facts_gives_the_same_frame(kind: str) -> None:
    from_json = read(kind, ALL[kind])
    from_protobuf = parse(topic(kind), _as_protobuf(kind, ALL[kind]).SerializeToString(), NOW)
    assert from_protobuf is not None
    assert from_protobuf.quantities == from_json.quantities
    assert from_protobuf.profile_tag == from_json.profile_tag
    if kind == "log":  # it has no deduplication id: its key is of its bytes
        from_protobuf = msgspec.structs.replace(
            from_protobuf, frame=msgspec.structs.replace(from_protobuf.frame, key=from_json.frame.key)
        )
    assert from_protobuf.frame == from_json.frame


@pytest.mark.parametrize("name", ["level", "code"])
def test_a_word_that_a_newer_chirpstack_knows_is_kept_as_its_number(name: str) -> None:
    message = _as_protobuf("log", LOG)
    setattr(message, name, 77)
    heard = parse(topic("log"), message.SerializeToString(), NOW)
    assert heard is not None
    assert json.loads(heard.frame.raw)[name] == "77"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3e38])
def test_a_number_that_no_radio_reports_is_theirs_to_mend(value: float) -> None:
    uplink = _as_protobuf("up", UP)
    uplink.rx_info[0].snr = value
    with pytest.raises(EventError, match="snr is"):
        parse(topic("up"), uplink.SerializeToString(), NOW)
    status = _as_protobuf("status", STATUS)
    status.battery_level = value
    with pytest.raises(EventError, match="batteryLevel is"):
        parse(topic("status"), status.SerializeToString(), NOW)


def test_a_protobuf_time_beyond_the_calendar_is_an_event_error_or_our_own_time() -> None:
    for seconds in (2**62, -(2**62), 253_402_300_800, -62_135_596_801):
        message = _as_protobuf("up", UP)
        message.time.seconds = seconds
        try:
            heard = parse(topic("up"), message.SerializeToString(), NOW)
        except EventError:
            continue
        assert heard is not None
        assert heard.frame.observed_at_ms == NOW.wall_ms


# ---- topics


@pytest.mark.parametrize("kind", ["txack", "location", "integration", "something"])
def test_a_kind_that_we_do_not_keep_is_ignored_whatever_it_holds(kind: str) -> None:
    assert parse(topic(kind), b"\x00 not even an event", NOW) is None


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "up",
        topic("up", "short"),
        topic("up", "g" * 16),
        topic("UP"),
        topic("up") + "/more",
        "x/" + topic("up"),
        topic("up\n"),
    ],
)
def test_a_topic_that_is_no_event_topic_is_an_event_error(bad: str) -> None:
    with pytest.raises(EventError, match="is not a ChirpStack event topic"):
        parse(bad, json.dumps(UP).encode(), NOW)


def test_an_event_whose_device_is_not_the_topics_is_refused_naming_both() -> None:
    with pytest.raises(EventError, match=f"topic names device ffffffffffffffff, the event '{EUI}'"):
        parse(topic("up", "f" * 16), json.dumps(UP).encode(), NOW)


def test_the_case_of_the_dev_eui_does_not_matter() -> None:
    heard = parse(topic("up", EUI.upper()), json.dumps(UP | {"deviceInfo": {"devEui": EUI.upper()}}).encode(), NOW)
    assert heard is not None
    assert heard.frame.source == f"lorawan:{EUI}"


# ---- times


@pytest.mark.parametrize(
    ("time", "at_ms"),
    [
        ("2025-08-19T20:51:28.123456789+00:00", AT_MS),
        ("2025-08-20T03:51:28.123+07:00", AT_MS),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59Z", NOW.wall_ms),
        ("0001-01-01T00:00:00Z", NOW.wall_ms),
        ("0001-01-01T00:00:00+14:00", NOW.wall_ms),
        ("2100-01-01T00:00:00Z", NOW.wall_ms),
        ("9999-12-31T23:59:59-12:00", NOW.wall_ms),
    ],
)
def test_a_time_outside_reason_gives_way_to_the_gateways_own(time: str, at_ms: int) -> None:
    assert read("up", UP | {"time": time}).frame.observed_at_ms == at_ms


# ---- whatever else may come


@pytest.mark.parametrize(
    "changes",
    [
        {"fCnt": -1},
        {"fCnt": 2**32},
        {"fCnt": 1.5},
        {"fPort": 256},
        {"dr": -1},
        {"devAddr": "xyz"},
        {"devAddr": "26011bda00"},
        {"data": "not base64!"},
        {"data": 7},
        {"time": "yesterday"},
        {"time": 1},
        {"rxInfo": {}},
        {"rxInfo": [{"gatewayId": "short", "snr": 99}]},
        {"rxInfo": [{"rssi": 10**30}]},
        {"rxInfo": [{"snr": 1e308}]},
        {"rxInfo": [{"snr": 1e308}, {"snr": 0.25}]},
        {"txInfo": {"frequency": 2**32}},
        {"deviceInfo": None},
        {"deviceInfo": {}},
        {"deviceInfo": {"devEui": EUI, "tags": {"a": 1}}},
        {"margin": 10**400},
        {"batteryLevel": 1e300},
        {"fCntDown": -1},
    ],
    ids=str,
)
def test_an_uplink_that_no_radio_sends_is_an_event_error(changes: dict[str, Any]) -> None:
    with pytest.raises(EventError):
        read("up", UP | changes)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"{}", b"[]", b"null", b"{" * 100_000, b'{"a":' + b"[" * 100_000, b"\xff\xfe", b'{"time":"\xff"}'],
)
def test_what_is_no_event_is_an_event_error(payload: bytes) -> None:
    with pytest.raises(EventError):
        parse(topic("up"), payload, NOW)


def _is_usable(heard: Heard | None) -> None:
    """Whatever is let in can be stored and sealed: an event that stops the sealer would stop the gateway."""
    assert heard is not None
    readings = [Reading(heard.frame, quantities=heard.quantities)]
    assert seal(draft(readings), KEYS[Algorithm.ED25519]).envelope


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([-1, 2**31, 2**32, 2**63, 2**64, 10**40]),
    st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=12),
    st.binary(max_size=12).map(lambda data: base64.b64encode(data).decode()), st.builds(list), st.builds(dict),
    st.builds(lambda: [{}]), st.just("2025-08-19T20:51:28Z"), st.just("f" * 16),
)  # fmt: skip


def _places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        inside = [place for key, inner in value.items() for place in _places(inner, (*path, key))]
    elif isinstance(value, list):
        inside = [place for at, inner in enumerate(value) for place in _places(inner, (*path, at))]
    return [path, *inside] if path else inside


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, object]:
    kind = draw(st.sampled_from(list(ALL)))
    event = copy.deepcopy(ALL[kind])
    for _ in range(draw(st.integers(1, 3))):
        *rooms, last = draw(st.sampled_from(_places(event)))
        place: Any = event
        for room in rooms:
            place = place[room]
        if draw(st.booleans()):
            del place[last]
        else:
            place[last] = draw(HOSTILE)
        if not event:
            break
    return kind, event


@given(mutated())
@settings(max_examples=500)
def test_no_mutated_event_raises_anything_but_an_event_error_and_none_stops_the_sealer(
    case: tuple[str, object],
) -> None:
    kind, event = case
    try:
        heard = parse(topic(kind), json.dumps(event).encode(), NOW)
    except EventError:
        return
    _is_usable(heard)


@given(st.sampled_from(list(ALL)), st.binary(max_size=200))
@settings(max_examples=300)
def test_no_random_bytes_raise_anything_but_an_event_error(kind: str, payload: bytes) -> None:
    try:
        heard = parse(topic(kind), payload, NOW)
    except EventError:
        return
    _is_usable(heard)


@given(st.sampled_from(list(ALL)), st.data())
@settings(max_examples=300)
def test_no_damaged_protobuf_raises_anything_but_an_event_error(kind: str, data: st.DataObject) -> None:
    payload = bytearray(_as_protobuf(kind, ALL[kind]).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(1, len(payload)))
    try:
        heard = parse(topic(kind), bytes(payload[:end]), NOW)
    except EventError:
        return
    _is_usable(heard)


def test_a_malformed_event_is_kept_whole_as_evidence_of_a_fault() -> None:
    frame = malformed(topic("up"), b"\x00\xff", NOW)
    assert (frame.source, frame.kind, frame.raw, frame.link) == (MALFORMED, Kind.LOG, b"\x00\xff", None)
    assert frame.key != malformed(topic("join"), b"\x00\xff", NOW).key
    assert frame.key == malformed(topic("up"), b"\x00\xff", NOW).key
