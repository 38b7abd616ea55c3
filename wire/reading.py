"""One sample of one source: the raw frame, who sent it and when, and the quantities decoded from it.

Times are integers of milliseconds since 1970-01-01T00:00Z and carry `_ms`; units are UCUM codes.
"""

from __future__ import annotations

import enum

import msgspec

from wire.identity import SourceId


class Kind(enum.IntEnum):
    """What a frame is. Numbers travel and are stored: never reuse one."""

    UPLINK = 1
    JOIN = 2
    STATUS = 3
    LOG = 4
    DOWNLINK_ACK = 5
    PROBE = 6  # measured by the gateway itself: `raw` holds the facts as JSON
    HISTORY = 7  # a record from a device's memory; the uplink that brought it is the reading before it


class ClockState(enum.StrEnum):
    """What the gateway's clock was set by when it wrote a time down (evidence.md section 2)."""

    NTP = "ntp"
    GNSS = "gnss"
    RTC = "rtc"
    NONE = "none"


class Quality(enum.IntEnum):
    """How far a value may be trusted. From 16 on there is no value: a fault is never a measurement."""

    GOOD = 0
    IMPLAUSIBLE = 1  # outside the device's plausible range; the value is kept, marked
    BELOW_RANGE = 2  # censored: the true value is at or below the one given
    ABOVE_RANGE = 3  # censored: the true value is at or above the one given
    NO_SENSOR = 16  # the device says that its probe is not connected
    INVALID = 17  # the device says that it could not measure
    SENSOR_FAULT = 18  # the signal is outside what a working sensor can send (e.g. a broken 4-20 mA loop)

    @property
    def has_value(self) -> bool:
        """Whether a number may stand beside this quality."""
        return self < Quality.NO_SENSOR


class Undecoded(enum.StrEnum):
    """Why a frame has no quantities. The raw frame is kept, so that it can be decoded later."""

    UNKNOWN_DEVICE = "unknown_device"
    NO_CODEC = "no_codec"
    EMPTY = "empty"
    WRONG_LENGTH = "wrong_length"
    WRONG_PORT = "wrong_port"
    CODEC_ERROR = "codec_error"
    CODEC_LIMIT = "codec_limit"
    BAD_OUTPUT = "bad_output"
    AMBIGUOUS_FIRMWARE = "ambiguous_firmware"
    BAD_TIME = "bad_time"
    MALFORMED_EVENT = "malformed_event"


class Quantity(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One observed property with its value.

    `name` is our observed property (`water_distance`), `unit` its UCUM code (`mm`), `value` a finite float,
    or None exactly when `quality` says there is no value.
    """

    name: str
    unit: str
    value: float | None
    quality: Quality = Quality.GOOD


class Link(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The radio side of an uplink, as the best concentrator heard it (highest SNR)."""

    dev_addr: str = ""  # 8 hex digits; changes at each join, so it names the session
    f_cnt: int = 0
    f_port: int = 0
    dr: int = 0
    rssi_dbm: int = 0
    snr_db: float = 0.0
    lora_gateway: str = ""  # concentrator id, 16 hex digits
    heard_by: int = 0  # number of concentrators
    frequency_hz: int = 0


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Bytes as they arrived, with who and when: the first evidence.

    `key` (16 bytes) names the event, so that a redelivered one is recognised; `observed_at_ms` is the field's time,
    `received_at_ms` the gateway's wall clock, `monotonic_ms` its boot clock in the boot `boot`.
    """

    source: SourceId
    kind: Kind
    key: bytes
    observed_at_ms: int
    received_at_ms: int
    monotonic_ms: int
    boot: str
    clock: ClockState
    raw: bytes
    link: Link | None = None


class Reading(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A frame with what was decoded from it: `quantities`, or the reason why there are none.

    `codec` names codec and version as `<vendor>/<codec>@<first 16 hex of its SHA-256>`; "" where none ran.
    `urgent` asks that the batch be sealed at once.
    """

    frame: Frame
    codec: str = ""
    quantities: tuple[Quantity, ...] = ()
    undecoded: Undecoded | None = None
    warnings: tuple[str, ...] = ()
    urgent: bool = False
