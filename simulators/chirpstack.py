"""ChirpStack v4 integration events as the server writes them: one truth, in JSON or protobuf.

The rules of the JSON (lorawan.md section 1): camelCase, bytes in base64, timestamps RFC 3339, durations
"1.5s", enums as names. The integration message writes its fields even when zero; gateway-level messages
(`rxInfo`, `txInfo`) leave a zero out: there, missing means zero. Absent sub-messages are omitted everywhere.

The JSON is written here from our own values, not from protobuf, so that each can be checked against the
other. `object` is never present: this server runs no codec.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

import msgspec
from chirpstack_api.common import common_pb2
from chirpstack_api.gw import gw_pb2
from chirpstack_api.integration import integration_pb2

Json = dict[str, object]
REGION: Final = "as923_2"
_NANO: Final = 1_000_000_000
_MILLI: Final = 1_000_000  # nanoseconds in a millisecond
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def rfc3339(at_ns: int) -> str:
    """A UTC instant (ns since 1970) with 0, 3, 6 or 9 fraction digits, as the server prints it."""
    seconds, nanos = divmod(at_ns, _NANO)
    whole = (_EPOCH + dt.timedelta(seconds=seconds)).isoformat()[:19]
    return f"{whole}{_fraction(nanos)}+00:00"


def duration(ns: int) -> str:
    """A non-negative duration (ns) in the JSON form of protobuf, such as "1.500s"."""
    seconds, nanos = divmod(ns, _NANO)
    return f"{seconds}{_fraction(nanos)}s"


def _fraction(nanos: int) -> str:
    if nanos == 0:
        return ""
    if nanos % _MILLI == 0:
        return f".{nanos // _MILLI:03d}"
    return f".{nanos // 1000:06d}" if nanos % 1000 == 0 else f".{nanos:09d}"


def _split(ns: int) -> dict[str, int]:
    """A protobuf Timestamp or Duration, in the form that message constructors take."""
    seconds, nanos = divmod(ns, _NANO)
    return {"seconds": seconds, "nanos": nanos}


def _nonzero(message: Json) -> Json:
    """Drop what a gateway-level message would not write: zero, false, empty and absent."""
    return {name: value for name, value in message.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """Who sent it: tenant, application, profile and device, with the tags of profile and device merged."""

    tenant_id: str
    tenant_name: str
    application_id: str
    application_name: str
    device_profile_id: str
    device_profile_name: str
    device_name: str
    dev_eui: str
    tags: dict[str, str]

    def json(self) -> Json:
        """The `deviceInfo` object; every simulated device is class A."""
        return {
            "tenantId": self.tenant_id,
            "tenantName": self.tenant_name,
            "applicationId": self.application_id,
            "applicationName": self.application_name,
            "deviceProfileId": self.device_profile_id,
            "deviceProfileName": self.device_profile_name,
            "deviceName": self.device_name,
            "devEui": self.dev_eui,
            "deviceClassEnabled": "CLASS_A",
            "tags": self.tags,
        }

    def message(self) -> integration_pb2.DeviceInfo:
        """The same as protobuf; CLASS_A is the zero of its enum."""
        return integration_pb2.DeviceInfo(
            tenant_id=self.tenant_id,
            tenant_name=self.tenant_name,
            application_id=self.application_id,
            application_name=self.application_name,
            device_profile_id=self.device_profile_id,
            device_profile_name=self.device_profile_name,
            device_name=self.device_name,
            dev_eui=self.dev_eui,
            tags=self.tags,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RxInfo:
    """How one concentrator heard the frame. Times ns UTC; rssi dBm, snr dB, position WGS84 and metres."""

    lora_gateway_id: str
    uplink_id: int
    gw_time_ns: int
    ns_time_ns: int
    gps_time_ns: int
    rssi: int
    snr: float
    channel: int
    rf_chain: int
    latitude: float
    longitude: float
    altitude: float
    context: bytes

    def json(self) -> Json:
        """A gateway-level object: zeros are left out; the location's source is the configuration (CONFIG)."""
        return _nonzero(
            {
                "gatewayId": self.lora_gateway_id,
                "uplinkId": self.uplink_id,
                "gwTime": rfc3339(self.gw_time_ns),
                "nsTime": rfc3339(self.ns_time_ns),
                "timeSinceGpsEpoch": duration(self.gps_time_ns),
                "rssi": self.rssi,
                "snr": self.snr,
                "channel": self.channel,
                "rfChain": self.rf_chain,
                "location": self._location(),
                "context": base64.b64encode(self.context).decode(),
                "metadata": {"region_common_name": "AS923_2", "region_config_id": REGION},
                "crcStatus": "CRC_OK",
            }
        )

    def message(self) -> gw_pb2.UplinkRxInfo:
        """The same as protobuf."""
        return gw_pb2.UplinkRxInfo(
            gateway_id=self.lora_gateway_id,
            uplink_id=self.uplink_id,
            gw_time=_split(self.gw_time_ns),
            ns_time=_split(self.ns_time_ns),
            time_since_gps_epoch=_split(self.gps_time_ns),
            rssi=self.rssi,
            snr=self.snr,
            channel=self.channel,
            rf_chain=self.rf_chain,
            location=common_pb2.Location(
                latitude=self.latitude,
                longitude=self.longitude,
                altitude=self.altitude,
                source=common_pb2.LocationSource.CONFIG,
            ),
            context=self.context,
            metadata={"region_common_name": "AS923_2", "region_config_id": REGION},
            crc_status=gw_pb2.CRCStatus.CRC_OK,
        )

    def _location(self) -> Json:
        return _nonzero(
            {
                "latitude": self.latitude,
                "longitude": self.longitude,
                "altitude": self.altitude,
                "source": "CONFIG",
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TxInfo:
    """How the device sent: frequency in Hz, LoRa at 125 kHz with coding rate 4/5."""

    frequency: int
    spreading_factor: int

    def json(self) -> Json:
        """A gateway-level object: `polarizationInversion` false and the like are left out."""
        lora = {"bandwidth": 125_000, "spreadingFactor": self.spreading_factor, "codeRate": "CR_4_5"}
        return {"frequency": self.frequency, "modulation": {"lora": lora}}

    def message(self) -> gw_pb2.UplinkTxInfo:
        """The same as protobuf."""
        lora = gw_pb2.LoraModulationInfo(
            bandwidth=125_000, spreading_factor=self.spreading_factor, code_rate=gw_pb2.CodeRate.CR_4_5
        )
        return gw_pb2.UplinkTxInfo(frequency=self.frequency, modulation=gw_pb2.Modulation(lora=lora))


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """An uplink: `event/up`."""

    event: ClassVar[str] = "up"
    deduplication_id: str
    time_ns: int
    device: DeviceInfo
    dev_addr: str
    dr: int
    f_cnt: int
    f_port: int
    data: bytes
    rx: tuple[RxInfo, ...]
    tx: TxInfo
    adr: bool = True
    confirmed: bool = False

    def json(self) -> Json:
        """The integration message: zeros are written."""
        return {
            "deduplicationId": self.deduplication_id,
            "time": rfc3339(self.time_ns),
            "deviceInfo": self.device.json(),
            "devAddr": self.dev_addr,
            "adr": self.adr,
            "dr": self.dr,
            "fCnt": self.f_cnt,
            "fPort": self.f_port,
            "confirmed": self.confirmed,
            "data": base64.b64encode(self.data).decode(),
            "rxInfo": [rx.json() for rx in self.rx],
            "txInfo": self.tx.json(),
            "regionConfigId": REGION,
        }

    def message(self) -> integration_pb2.UplinkEvent:
        """The same as protobuf."""
        return integration_pb2.UplinkEvent(
            deduplication_id=self.deduplication_id,
            time=_split(self.time_ns),
            device_info=self.device.message(),
            dev_addr=self.dev_addr,
            adr=self.adr,
            dr=self.dr,
            f_cnt=self.f_cnt,
            f_port=self.f_port,
            confirmed=self.confirmed,
            data=self.data,
            rx_info=[rx.message() for rx in self.rx],
            tx_info=self.tx.message(),
            region_config_id=REGION,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A join, sent by the server at the first uplink after it: `event/join`."""

    event: ClassVar[str] = "join"
    deduplication_id: str
    time_ns: int
    device: DeviceInfo
    dev_addr: str

    def json(self) -> Json:
        """The integration message."""
        return {
            "deduplicationId": self.deduplication_id,
            "time": rfc3339(self.time_ns),
            "deviceInfo": self.device.json(),
            "devAddr": self.dev_addr,
            "regionConfigId": REGION,
        }

    def message(self) -> integration_pb2.JoinEvent:
        """The same as protobuf."""
        return integration_pb2.JoinEvent(
            deduplication_id=self.deduplication_id,
            time=_split(self.time_ns),
            device_info=self.device.message(),
            dev_addr=self.dev_addr,
            region_config_id=REGION,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The answer to a device-status request, margin dB and battery %: `event/status`."""

    event: ClassVar[str] = "status"
    deduplication_id: str
    time_ns: int
    device: DeviceInfo
    margin: int
    battery_level: float

    def json(self) -> Json:
        """The integration message: the two false flags are written."""
        return {
            "deduplicationId": self.deduplication_id,
            "time": rfc3339(self.time_ns),
            "deviceInfo": self.device.json(),
            "margin": self.margin,
            "externalPowerSource": False,
            "batteryLevelUnavailable": False,
            "batteryLevel": self.battery_level,
        }

    def message(self) -> integration_pb2.StatusEvent:
        """The same as protobuf; the battery level is a 32-bit float there."""
        return integration_pb2.StatusEvent(
            deduplication_id=self.deduplication_id,
            time=_split(self.time_ns),
            device_info=self.device.message(),
            margin=self.margin,
            battery_level=self.battery_level,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """A device confirmed (or not) a confirmed downlink: `event/ack`."""

    event: ClassVar[str] = "ack"
    deduplication_id: str
    time_ns: int
    device: DeviceInfo
    queue_item_id: str
    acknowledged: bool
    f_cnt_down: int

    def json(self) -> Json:
        """The integration message."""
        return {
            "deduplicationId": self.deduplication_id,
            "time": rfc3339(self.time_ns),
            "deviceInfo": self.device.json(),
            "queueItemId": self.queue_item_id,
            "acknowledged": self.acknowledged,
            "fCntDown": self.f_cnt_down,
        }

    def message(self) -> integration_pb2.AckEvent:
        """The same as protobuf."""
        return integration_pb2.AckEvent(
            deduplication_id=self.deduplication_id,
            time=_split(self.time_ns),
            device_info=self.device.message(),
            queue_item_id=self.queue_item_id,
            acknowledged=self.acknowledged,
            f_cnt_down=self.f_cnt_down,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A remark of the server about a device, without a deduplicationId of its own: `event/log`."""

    event: ClassVar[str] = "log"
    time_ns: int
    device: DeviceInfo
    level: str = "INFO"
    code: str = "UNKNOWN"
    description: str = ""
    context: dict[str, str] = field(default_factory=dict)

    def json(self) -> Json:
        """The integration message; `context` carries the deduplication id, if any."""
        return {
            "time": rfc3339(self.time_ns),
            "deviceInfo": self.device.json(),
            "level": self.level,
            "code": self.code,
            "description": self.description,
            "context": self.context,
        }

    def message(self) -> integration_pb2.LogEvent:
        """The same as protobuf."""
        return integration_pb2.LogEvent(
            time=_split(self.time_ns),
            device_info=self.device.message(),
            level=self.level,
            code=self.code,
            description=self.description,
            context=self.context,
        )


Event = Up | Join | Status | Ack | Log


def write_json(event: Event) -> bytes:
    """The payload with `json=true`: compact UTF-8, keys in the order of the protobuf fields."""
    return msgspec.json.encode(event.json())


def write_protobuf(event: Event) -> bytes:
    """The payload with `json=false`. Map entries are sorted, so equal events give equal bytes."""
    serialise: Callable[..., bytes] = event.message().SerializeToString  # untyped in the generated stubs
    return serialise(deterministic=True)


def topic_of(event: Event) -> str:
    """The default event topic: `application/<application id>/device/<dev eui>/event/<event>`."""
    return f"application/{event.device.application_id}/device/{event.device.dev_eui}/event/{event.event}"
