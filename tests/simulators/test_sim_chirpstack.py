"""The events against the rules of lorawan.md section 1, and JSON against protobuf."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from chirpstack_api.integration import integration_pb2
from google.protobuf import json_format

from simulators.chirpstack import (
    Ack,
    DeviceInfo,
    Event,
    Join,
    Log,
    RxInfo,
    Status,
    TxInfo,
    Up,
    duration,
    rfc3339,
    topic_of,
    write_json,
    write_protobuf,
)

DEVICE = DeviceInfo(
    tenant_id="6cf908d4-9746-5b03-8456-bd381af1779d",
    tenant_name="xom-sim",
    application_id="056c1358-ef0f-5b52-a4c7-dea96431291e",
    application_name="mô phỏng",
    device_profile_id="f3b5c4ee-655b-5245-b2c8-916b48612fcc",
    device_profile_name="dragino/ldds75",
    device_name="ldds75-01-02",
    dev_eui="0273696d00070001",
    tags={"hamlet": "sim-92001-01"},
)
RX = RxInfo(
    lora_gateway_id="02786f6d00000000",
    uplink_id=7,
    gw_time_ns=1_740_268_800_123_000_000,
    ns_time_ns=1_740_268_800_323_456_789,
    gps_time_ns=1_424_304_018_123_000_000,
    rssi=-101,
    snr=3.25,
    channel=5,
    rf_chain=1,
    latitude=9.6,
    longitude=106.2,
    altitude=12.0,
    context=b"\x01\x02\x03\x04",
)
UP = Up(
    deduplication_id="1e29ffe1-29f1-4b67-a8e2-2dd1f6eb88b3",
    time_ns=1_740_268_800_123_000_000,
    device=DEVICE,
    dev_addr="00cc1ae3",
    dr=5,
    f_cnt=12,
    f_port=2,
    data=bytes.fromhex("0d0a07e900000001"),
    rx=(RX, replace(RX, lora_gateway_id="02786f6d00000001", rssi=-110, snr=-4.0)),
    tx=TxInfo(frequency=921_400_000, spreading_factor=7),
)
ZERO_UP = replace(
    UP,
    dr=0,
    f_cnt=0,
    f_port=0,
    data=b"",
    adr=False,
    device=replace(DEVICE, tags={}),
    rx=(replace(RX, snr=0.0, channel=0, rf_chain=0, rssi=0, context=b"", uplink_id=0, altitude=0.0),),
)
EVENTS: list[tuple[Event, Any]] = [
    (UP, integration_pb2.UplinkEvent),
    (ZERO_UP, integration_pb2.UplinkEvent),
    (
        Join(deduplication_id=UP.deduplication_id, time_ns=UP.time_ns, device=DEVICE, dev_addr="00cc1ae3"),
        integration_pb2.JoinEvent,
    ),
    (
        Status(deduplication_id=UP.deduplication_id, time_ns=UP.time_ns, device=DEVICE, margin=0, battery_level=0.0),
        integration_pb2.StatusEvent,
    ),
    (
        Status(deduplication_id=UP.deduplication_id, time_ns=UP.time_ns, device=DEVICE, margin=10, battery_level=98.43),
        integration_pb2.StatusEvent,
    ),
    (
        Ack(
            deduplication_id=UP.deduplication_id,
            time_ns=UP.time_ns,
            device=DEVICE,
            queue_item_id=UP.deduplication_id,
            acknowledged=False,
            f_cnt_down=0,
        ),
        integration_pb2.AckEvent,
    ),
    (Log(time_ns=UP.time_ns, device=DEVICE), integration_pb2.LogEvent),
    (
        Log(
            time_ns=UP.time_ns,
            device=DEVICE,
            level="WARNING",
            code="UPLINK_F_CNT_RETRANSMISSION",
            description="d",
            context={"deduplication_id": UP.deduplication_id},
        ),
        integration_pb2.LogEvent,
    ),
]


def parsed(event: Event) -> dict[str, Any]:
    value = json.loads(write_json(event))
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(("event", "kind"), EVENTS)
def test_json_and_protobuf_say_the_same(event: Event, kind: Any) -> None:
    from_json = json_format.Parse(write_json(event), kind())  # type: ignore[no-untyped-call]
    from_protobuf = kind.FromString(write_protobuf(event))
    assert from_json == from_protobuf


@pytest.mark.parametrize(("event", "kind"), EVENTS)
def test_only_sub_messages_may_be_absent_from_the_integration_message(event: Event, kind: Any) -> None:
    always = {
        field.json_name for field in kind.DESCRIPTOR.fields if field.is_repeated or field.type != field.TYPE_MESSAGE
    }
    assert always <= parsed(event).keys()


def test_zeros_are_written_in_the_integration_message() -> None:
    value = parsed(ZERO_UP)
    assert (value["dr"], value["fCnt"], value["fPort"], value["data"]) == (0, 0, 0, "")
    assert value["adr"] is False
    assert value["confirmed"] is False
    assert value["deviceInfo"]["tags"] == {}
    assert value["deviceInfo"]["deviceClassEnabled"] == "CLASS_A"


def test_zeros_are_left_out_of_gateway_messages() -> None:
    value = parsed(ZERO_UP)
    assert value["rxInfo"][0].keys() == {
        "gatewayId",
        "gwTime",
        "nsTime",
        "timeSinceGpsEpoch",
        "location",
        "metadata",
        "crcStatus",
    }
    assert "altitude" not in value["rxInfo"][0]["location"]
    assert value["txInfo"]["modulation"]["lora"] == {
        "bandwidth": 125_000,
        "spreadingFactor": 7,
        "codeRate": "CR_4_5",
    }


def test_absent_sub_messages_are_omitted() -> None:
    assert not {"object", "relayRxInfo", "joinServerContext"} & parsed(UP).keys()
    assert b"null" not in write_json(UP)


def test_facts_of_an_uplink() -> None:
    value = parsed(UP)
    assert base64.b64decode(value["data"]) == UP.data
    assert value["time"] == "2025-02-23T00:00:00.123+00:00"
    assert value["rxInfo"][0]["nsTime"] == "2025-02-23T00:00:00.323456789+00:00"
    assert value["rxInfo"][0]["timeSinceGpsEpoch"] == "1424304018.123s"
    assert value["rxInfo"][0]["snr"] == 3.25
    assert value["regionConfigId"] == "as923_2"
    assert "mô phỏng".encode() in write_json(UP)


def test_json_is_smaller_in_protobuf() -> None:
    assert len(write_protobuf(UP)) < 0.6 * len(write_json(UP))


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00+00:00"),
        (5_000_000, "1970-01-01T00:00:00.005+00:00"),
        (5_000, "1970-01-01T00:00:00.000005+00:00"),
        (5, "1970-01-01T00:00:00.000000005+00:00"),
    ],
)
def test_timestamps_have_as_many_digits_as_they_need(ns: int, text: str) -> None:
    assert rfc3339(ns) == text


def test_durations() -> None:
    assert (duration(1_500_000_000), duration(2_000_000_000)) == ("1.500s", "2s")


def test_topic() -> None:
    assert topic_of(UP) == ("application/056c1358-ef0f-5b52-a4c7-dea96431291e/device/0273696d00070001/event/up")
