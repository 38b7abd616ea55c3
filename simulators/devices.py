"""Five real device models: what they measure and the exact bytes they send. Layouts: domain.md 4.3 and 4.4.

Every `encode` returns the payload together with the true quantities, already rounded to what the bytes can
carry, so that a decoder can be compared with `==` up to floating point. Quantity names carry their unit:
battery_mv, battery_pct, distance_mm, valid_samples, depth_mm, temperature_c, ec_us_cm, freezing, do_mg_l,
do_temperature_c, ph, ph_temperature_c, ec_temperature_c, salinity_g_kg, turbidity_ntu, orp_mv.

Conductivity is what temperature-compensating probes deliver: EC25, the value at 25 °C (domain.md 2.4, rule
1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntFlag, StrEnum
from typing import ClassVar, Final, Protocol

from simulators.faults import DeviceFault

_NO_FAULT: Final[frozenset[DeviceFault]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is true at a device at one instant; a model encodes the part that it measures.

    `distance_mm` from the sensor down to the water, `depth_mm` of the water above a probe, `ec25_us_cm` at 25
    °C.
    """

    distance_mm: float = 0.0
    depth_mm: float = 0.0
    valid_samples: int = 10
    air_temperature_c: float = 0.0
    temperature_c: float = 0.0
    ec25_us_cm: float = 0.0
    salinity_g_kg: float = 0.0
    do_mg_l: float = 0.0
    ph: float = 0.0
    orp_mv: float = 0.0
    turbidity_ntu: float = 0.0
    battery_mv: float = 0.0
    battery_pct: float = 0.0

    def with_battery_of(self, other: Sample) -> Sample:
        """The same water, another battery: what a stuck sensor sends."""
        return replace(self, battery_mv=other.battery_mv, battery_pct=other.battery_pct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One uplink's payload and the truth in it. A faulted quantity is absent and the fault is named."""

    f_port: int
    data: bytes
    quantities: Mapping[str, float]
    faults: frozenset[DeviceFault] = _NO_FAULT


class Chemistry(StrEnum):
    """The kind of cell in a device, which decides how its voltage falls."""

    LITHIUM = "Li-SOCl2"
    ALKALINE = "alkaline"


class Device(Protocol):
    """A device model: its profile name, its interval, its battery, its faults and its encoder."""

    @property
    def model(self) -> str:
        """Profile name, `vendor/model` and for the WQS-LB `@firmware`."""

    @property
    def interval_s(self) -> int:
        """Seconds between two uplinks, as configured in this commune."""

    @property
    def chemistry(self) -> Chemistry:
        """The cells it runs on."""

    @property
    def possible_faults(self) -> frozenset[DeviceFault]:
        """The faults its payload can show."""

    def encode(self, sample: Sample, faults: frozenset[DeviceFault] = _NO_FAULT) -> Encoded:
        """Payload of one sample under the given faults; faults the model cannot show are ignored."""

    def greet(self, sample: Sample) -> Encoded | None:
        """The uplink it sends once after joining, before the first measurement; None if it sends none."""


def _word(value: float) -> int:
    """Round into an unsigned 16-bit field, saturating as the firmware does."""
    return min(max(round(value), 0), 0xFFFF)


def _signed(value: float) -> int:
    return min(max(round(value), -0x8000), 0x7FFF)


def _be(value: int) -> bytes:
    return (value & 0xFFFF).to_bytes(2, "big")


class _Ungreeting:
    """A model that says nothing after joining but its measurements."""

    __slots__ = ()

    def greet(self, sample: Sample) -> Encoded | None:  # noqa: ARG002 - the protocol's signature
        """Nothing."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Em500Udl(_Ungreeting):
    """Milesight EM500-UDL, ultrasonic distance, fPort 85: TLV `01 75` battery %, `03 82` u16LE mm."""

    interval_s: int = 600
    model: ClassVar[str] = "milesight/em500-udl"
    chemistry: ClassVar[Chemistry] = Chemistry.LITHIUM
    possible_faults: ClassVar[frozenset[DeviceFault]] = frozenset(
        {DeviceFault.COLLECTION_FAILED, DeviceFault.STUCK, DeviceFault.LOW_BATTERY}
    )

    def encode(self, sample: Sample, faults: frozenset[DeviceFault] = _NO_FAULT) -> Encoded:
        """0xFFFF means that collecting failed; the vendor's decoder returns it as 65535 without a flag."""
        battery = min(max(round(sample.battery_pct), 0), 100)
        failed = DeviceFault.COLLECTION_FAILED in faults
        distance = 0xFFFF if failed else min(_word(sample.distance_mm), 0xFFFE)
        quantities: dict[str, float] = {"battery_pct": battery}
        if not failed:
            quantities["distance_mm"] = distance
        data = b"\x01\x75" + bytes([battery]) + b"\x03\x82" + distance.to_bytes(2, "little")
        return Encoded(f_port=85, data=data, quantities=quantities, faults=faults & self.possible_faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ldds75(_Ungreeting):
    """Dragino LDDS75, ultrasonic distance, big-endian 8 bytes on fPort 2.

    battery mV (2), distance mm (2), interrupt flag (1), DS18B20 s16 0.1 °C (2, here not fitted: 0), sensor
    flag (1).
    """

    interval_s: int = 900
    model: ClassVar[str] = "dragino/ldds75"
    chemistry: ClassVar[Chemistry] = Chemistry.LITHIUM
    possible_faults: ClassVar[frozenset[DeviceFault]] = frozenset(
        {DeviceFault.NO_SENSOR, DeviceFault.INVALID_READING, DeviceFault.STUCK, DeviceFault.LOW_BATTERY}
    )
    _range_mm: ClassVar[tuple[int, int]] = (280, 7500)

    def encode(self, sample: Sample, faults: frozenset[DeviceFault] = _NO_FAULT) -> Encoded:
        """Distance 0 with flag 0 says "no sensor", 20 says "invalid reading", or out of 280..7500 mm."""
        battery = min(_word(sample.battery_mv), 0x3FFF)
        distance, shown = self._distance(sample, faults)
        quantities: dict[str, float] = {"battery_mv": battery}
        if not shown & {DeviceFault.NO_SENSOR, DeviceFault.INVALID_READING}:
            quantities["distance_mm"] = distance
        flag = b"\x00" if DeviceFault.NO_SENSOR in shown else b"\x01"
        data = _be(battery) + _be(distance) + b"\x00" + _be(0) + flag
        return Encoded(f_port=2, data=data, quantities=quantities, faults=shown)

    def _distance(self, sample: Sample, faults: frozenset[DeviceFault]) -> tuple[int, frozenset[DeviceFault]]:
        shown = faults & self.possible_faults
        if DeviceFault.NO_SENSOR in shown:
            return 0, shown - {DeviceFault.INVALID_READING}
        distance = _word(sample.distance_mm)
        nearest, farthest = self._range_mm
        if DeviceFault.INVALID_READING in shown or not nearest <= distance <= farthest:
            return 20, shown | {DeviceFault.INVALID_READING}
        return distance, shown


_DECENTLAB_VERSION: Final = 2
_SENSOR_GROUP: Final = 0b01
_BATTERY_GROUP: Final = 0b10


def _decentlab(device_id: int, sensor: tuple[int, ...] | None, battery: int) -> bytes:
    """Decentlab protocol v2: version, device id, flags, then the big-endian words of each flagged group."""
    flags = _BATTERY_GROUP if sensor is None else _SENSOR_GROUP | _BATTERY_GROUP
    words = (device_id, flags, *(sensor or ()), battery)
    return bytes([_DECENTLAB_VERSION]) + b"".join(map(_be, words))


@dataclass(frozen=True, slots=True, kw_only=True)
class DlMbx(_Ungreeting):
    """Decentlab DL-MBX, ultrasonic distance (mm) and number of valid samples; protocol v2, fPort 1."""

    device_id: int
    interval_s: int = 600
    model: ClassVar[str] = "decentlab/dl-mbx"
    chemistry: ClassVar[Chemistry] = Chemistry.ALKALINE
    possible_faults: ClassVar[frozenset[DeviceFault]] = frozenset(
        {DeviceFault.BATTERY_ONLY, DeviceFault.STUCK, DeviceFault.LOW_BATTERY}
    )

    def encode(self, sample: Sample, faults: frozenset[DeviceFault] = _NO_FAULT) -> Encoded:
        """With the battery-only fault the sensor group is missing from the flags and from the bytes."""
        battery, distance, valid = (
            _word(sample.battery_mv),
            _word(sample.distance_mm),
            _word(sample.valid_samples),
        )
        quantities: dict[str, float] = {"battery_mv": battery}
        sensor = None
        if DeviceFault.BATTERY_ONLY not in faults:
            sensor = (distance, valid)
            quantities |= {"distance_mm": distance, "valid_samples": valid}
        data = _decentlab(self.device_id, sensor, battery)
        return Encoded(f_port=1, data=data, quantities=quantities, faults=faults & self.possible_faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class DlCtd10(_Ungreeting):
    """Decentlab DL-CTD10, depth (mm), temperature, conductivity, freezing flag; protocol v2, fPort 1.

    Depth and temperature travel with an offset of 32768.
    """

    device_id: int
    interval_s: int = 600
    model: ClassVar[str] = "decentlab/dl-ctd10"
    chemistry: ClassVar[Chemistry] = Chemistry.ALKALINE
    possible_faults: ClassVar[frozenset[DeviceFault]] = frozenset(
        {DeviceFault.BATTERY_ONLY, DeviceFault.STUCK, DeviceFault.LOW_BATTERY}
    )

    def encode(self, sample: Sample, faults: frozenset[DeviceFault] = _NO_FAULT) -> Encoded:
        """With the battery-only fault the sensor group is missing from the flags and from the bytes."""
        battery = _word(sample.battery_mv)
        quantities: dict[str, float] = {"battery_mv": battery}
        sensor = None
        if DeviceFault.BATTERY_ONLY not in faults:
            depth, tenths, ec = (
                _signed(sample.depth_mm),
                _signed(sample.temperature_c * 10),
                _word(sample.ec25_us_cm),
            )
            sensor = (depth + 0x8000, tenths + 0x8000, ec, 0)
            quantities |= {"depth_mm": depth, "temperature_c": tenths / 10, "ec_us_cm": ec, "freezing": 0}
        data = _decentlab(self.device_id, sensor, battery)
        return Encoded(f_port=1, data=data, quantities=quantities, faults=faults & self.possible_faults)


class Firmware(StrEnum):
    """The three WQS-LB firmwares, whose layouts contradict each other (domain.md 4.4)."""

    V1_0 = "1.0"
    V1_2 = "1.2"
    V1_3_1 = "1.3.1"


class Probe(IntFlag):
    """Probes of the WQS-LB, valued as their flag bit; the 4-electrode EC's is in the byte before."""

    PH = 0x01
    EC_K1 = 0x02
    EC_K10 = 0x04
    ORP = 0x08
    DO = 0x10
    TURBIDITY = 0x20
    FOUR_EC = 0x100  # byte 4, bit 0; firmware 1.3.1 only


_FIRMWARE_BYTES: Final = {
    Firmware.V1_0: b"\x01\x00",
    Firmware.V1_2: b"\x01\x20",
    Firmware.V1_3_1: b"\x01\x31",
}
_K10_LIMIT_US_CM: Final = 20_000  # the probe's range (domain.md 4.3): it saturates at 11.9 g/kg, 25 °C
_K1_LIMIT_US_CM: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WqsLb:
    """Dragino WQS-LB, water quality with exchangeable probes, fPort 2; three incompatible firmware layouts.

    battery mV (2), DS18B20 s16 0.1 °C (2), flags, then the words of each probe in the order turbidity, DO,
    ORP, EC K10, EC K1, pH, 4-electrode EC. Firmware 1.0 has no probe temperatures and one flags byte, 1.2
    adds a temperature to DO, EC and pH, 1.3.1 adds a second flags byte before the first. Raises ValueError
    for a 4-electrode probe on older firmware.
    """

    firmware: Firmware
    probes: Probe = Probe.DO | Probe.PH
    interval_s: int = 1200
    chemistry: ClassVar[Chemistry] = Chemistry.LITHIUM
    possible_faults: ClassVar[frozenset[DeviceFault]] = frozenset(
        {DeviceFault.PROBE_MISSING, DeviceFault.STUCK, DeviceFault.LOW_BATTERY}
    )

    def __post_init__(self) -> None:
        if Probe.FOUR_EC in self.probes and self.firmware is not Firmware.V1_3_1:
            raise ValueError("the 4-electrode EC probe needs firmware 1.3.1")

    @property
    def model(self) -> str:
        """Profile name with the firmware, since each layout needs its own codec."""
        return f"dragino/wqs-lb@{self.firmware.value}"

    def encode(self, sample: Sample, faults: frozenset[DeviceFault] = _NO_FAULT) -> Encoded:
        """A missing probe (the last one fitted, in wire order) has neither flag nor bytes nor quantities."""
        present = self.probes & ~self._missing(faults)
        battery, tenths = min(_word(sample.battery_mv), 0x3FFF), _signed(sample.air_temperature_c * 10)
        quantities: dict[str, float] = {"battery_mv": battery, "temperature_c": tenths / 10}
        data = _be(battery) + _be(tenths) + self._flags(present)
        for probe in _WIRE_ORDER:
            if probe in present:
                data += self._probe(probe, sample, quantities)
        return Encoded(f_port=2, data=data, quantities=quantities, faults=faults & self.possible_faults)

    def greet(self, sample: Sample) -> Encoded | None:
        """The device-information uplink on fPort 5: model 0x3C, firmware, AS923-2, no sub-band, battery."""
        battery = _word(sample.battery_mv)
        data = b"\x3c" + _FIRMWARE_BYTES[self.firmware] + b"\x09\xff" + _be(battery)
        return Encoded(f_port=5, data=data, quantities={"battery_mv": battery})

    def _missing(self, faults: frozenset[DeviceFault]) -> Probe:
        if DeviceFault.PROBE_MISSING not in faults:
            return Probe(0)
        return next(probe for probe in reversed(_WIRE_ORDER) if probe in self.probes)

    def _flags(self, present: Probe) -> bytes:
        low, high = present & 0x3F, present >> 8
        return bytes([high, low]) if self.firmware is Firmware.V1_3_1 else bytes([low])

    def _probe(self, probe: Probe, sample: Sample, quantities: dict[str, float]) -> bytes:
        """The bytes of one probe; adds what they say to `quantities`."""
        tenths = _signed(sample.temperature_c * 10)
        match probe:
            case Probe.TURBIDITY:
                return _scaled(quantities, "turbidity_ntu", sample.turbidity_ntu, 10)
            case Probe.ORP:
                quantities["orp_mv"] = _signed(sample.orp_mv)
                return _be(_signed(sample.orp_mv))
            case Probe.DO:
                value = _scaled(quantities, "do_mg_l", sample.do_mg_l, 100)
                return value + self._temperature(quantities, "do_temperature_c", tenths, 100)
            case Probe.EC_K10:
                word = _word(min(sample.ec25_us_cm, _K10_LIMIT_US_CM) / 10)
                quantities["ec_us_cm"] = word * 10
                return _be(word) + self._temperature(quantities, "ec_temperature_c", tenths, 10)
            case Probe.EC_K1:
                word = _word(min(sample.ec25_us_cm, _K1_LIMIT_US_CM))
                quantities["ec_us_cm"] = word
                return _be(word) + self._temperature(quantities, "ec_temperature_c", tenths, 10)
            case Probe.PH:
                value = _scaled(quantities, "ph", sample.ph, 100)
                return value + self._temperature(quantities, "ph_temperature_c", tenths, 10)
            case _:
                return _four_ec(quantities, sample, tenths)

    def _temperature(self, quantities: dict[str, float], name: str, tenths: int, scale: int) -> bytes:
        """The probe's own temperature; the DO probe sends hundredths, the others tenths."""
        if self.firmware is Firmware.V1_0:
            return b""
        quantities[name] = tenths / 10
        return _be(tenths * scale // 10)


_WIRE_ORDER: Final = (
    Probe.TURBIDITY,
    Probe.DO,
    Probe.ORP,
    Probe.EC_K10,
    Probe.EC_K1,
    Probe.PH,
    Probe.FOUR_EC,
)


def _scaled(quantities: dict[str, float], name: str, value: float, scale: int) -> bytes:
    word = _word(value * scale)
    quantities[name] = word / scale
    return _be(word)


def _four_ec(quantities: dict[str, float], sample: Sample, tenths: int) -> bytes:
    """4-electrode EC: u24 µS/cm, salinity u16 0.1 g/kg, temperature s16 0.1 °C."""
    ec, salinity = min(max(round(sample.ec25_us_cm), 0), 0xFFFFFF), _word(sample.salinity_g_kg * 10)
    quantities |= {"ec_us_cm": ec, "salinity_g_kg": salinity / 10, "ec_temperature_c": tenths / 10}
    return ec.to_bytes(3, "big") + _be(salinity) + _be(tenths)
