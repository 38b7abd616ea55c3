"""What a codec's numbers mean: from decoded data to quantities with UCUM units and a quality. Pure.

The rules come from `device_profiles/quantities/<vendor>/<device>.toml`, and from a device's own map
(codec/device_map.py). A fault code of the device becomes a quality without a value; it is never a measurement. What
lies past the end of a range is censored: the value is that end, and the quality says on which side the truth lies. An
unknown key in a file is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from codec import salinity
from codec.errors import DecodeError
from codec.take import Take, problem_of, take_number
from wire.reading import Quality, Quantity, Undecoded

FaultQuality = Literal["no_sensor", "invalid", "sensor_fault"]

_QUALITY: Final[dict[str, Quality]] = {
    "no_sensor": Quality.NO_SENSOR,
    "invalid": Quality.INVALID,
    "sensor_fault": Quality.SENSOR_FAULT,
}
# No device of ours was made before; a clock that says so was never set.
EARLIEST_MS: Final = 1_577_836_800_000  # 2020-01-01T00:00Z
_LATEST_MS: Final = 4_102_444_800_000  # 2100: as far as the wire's times go
# How far a device's clock may run ahead of ours before its records are not believed.
AHEAD_MS: Final = 300_000
# As many stored records as one frame may hold: two bytes each in the longest payload.
_MOST_RECORDS: Final = 121
ANY_PORT: Final = 0  # fPort 0 is LoRaWAN's own: in `payload` it stands for every port
HISTORY: Final = "history"
EC_UNITS: Final = {"mS/cm": 1.0, "uS/cm": 1e-3}  # to mS/cm


class Lengths(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Any payload length from `min` to `max` bytes; the codec checks the exact one."""

    min: int
    max: int


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A number that the device sends instead of a measurement; compared before `scale` and `add`."""

    value: float
    quality: FaultQuality


class Presence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The quantity exists only while another field has this value."""

    field: str
    equals: float


class Absence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Another field says that there is no value, and why: it equals a number, or lies below or above one."""

    field: str
    quality: FaultQuality
    equals: float | None = None
    below: float | None = None
    above: float | None = None

    def holds(self, data: Mapping[str, object]) -> bool:
        """Whether the field says so."""
        value = data.get(self.field)
        if not isinstance(value, int | float):
            return False
        return (
            (self.equals is not None and value == self.equals)
            or (self.below is not None and value < self.below)
            or (self.above is not None and value > self.above)
        )


class QuantityRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One field of the codec's data and the quantity it is.

    `name` is the observed property, `unit` its UCUM code. `min` and `max` bound the plausible; at `saturates_at` the
    probe is at its upper end (ABOVE_RANGE), at `saturates_below` at its lower one (BELOW_RANGE). `resolution` is the
    smallest step, in `unit`. The value is the field's number times `scale`, over `divisor`, plus `add`; `take` says
    where the number is in a field that holds bytes or text. `urgent` asks that a frame carrying the field be delivered
    at once. `calibration_days` and `calibration` say how often the probe needs what. `ec_reference_c` is the
    temperature that a conductivity is compensated to; without it the value is at the water's own. `source` says where
    the facts come from.
    """

    field: str
    name: str
    unit: str
    min: float
    max: float
    resolution: float | None = None
    saturates_at: float | None = None
    saturates_below: float | None = None
    fault: tuple[Fault, ...] = ()
    present_if: Presence | None = None
    absent_if: Absence | tuple[Absence, ...] = ()
    urgent: bool = False
    scale: float = 1.0
    divisor: float = 1.0
    add: float = 0.0
    take: Take | None = None
    calibration_days: int | None = None
    calibration: str = ""
    ec_reference_c: float | None = None
    source: str = ""


class SalinityRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Salinity is to be computed from conductivity and temperature where the device gives none itself.

    With `compensation_per_k` the probe's own compensation (a share per kelvin) is undone first; without it a
    compensated conductivity is taken as what the water would conduct at the reference temperature.
    """

    name: str = "salinity"
    unit: str = "[ppth]"
    conductivity: str = "electrical_conductivity"
    temperature: str = "water_temperature"
    compensation_per_k: float | None = None
    source: str = ""


class Overlay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What the worker needs to know of a device with one codec: lengths by fPort, and the quantities in order.

    `firmware_fields` are the fields of an info frame whose numbers, joined by dots, are the device's firmware.
    """

    lengths: dict[int, tuple[int, ...] | Lengths]
    quantities: tuple[QuantityRule, ...]
    salinity: SalinityRule | None = None
    firmware_fields: tuple[str, ...] = ()


class Past(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One stored record of a history frame: when the device took it, by its own clock, and what it was."""

    observed_at_ms: int
    quantities: tuple[Quantity, ...] = ()
    undecoded: Undecoded | None = None
    problem: str = ""


def rule_problem(rule: QuantityRule, derived: SalinityRule | None) -> str:
    """Say what is wrong with a rule, beginning with its key; "" when nothing is."""
    if rule.take is not None and problem_of(rule.take):
        return f"take: {problem_of(rule.take)}"
    if rule.divisor == 0:
        return "divisor: must not be 0"
    if rule.min > rule.max:
        return "min: is above max"
    if not rule.name or not rule.unit:
        return "name and unit: must not be empty"
    if derived is not None and rule.name == derived.conductivity and rule.unit not in EC_UNITS:
        return f"unit: salinity is computed from {' or '.join(EC_UNITS)}, not from {rule.unit}"
    return ""


def check_payload(raw: bytes, f_port: int, overlay: Overlay) -> None:
    """Refuse a payload that this device cannot have sent; raises DecodeError (WRONG_PORT, WRONG_LENGTH)."""
    allowed = overlay.lengths.get(f_port, overlay.lengths.get(ANY_PORT))
    if allowed is None:
        ports = ", ".join(map(str, sorted(overlay.lengths)))
        raise DecodeError(Undecoded.WRONG_PORT, f"fPort {f_port}, expected {ports}")
    size = len(raw)
    if isinstance(allowed, Lengths):
        if not allowed.min <= size <= allowed.max:
            message = f"{size} bytes on fPort {f_port}, expected {allowed.min} to {allowed.max}"
            raise DecodeError(Undecoded.WRONG_LENGTH, message)
    elif size not in allowed:
        expected = " or ".join(map(str, allowed))
        raise DecodeError(Undecoded.WRONG_LENGTH, f"{size} bytes on fPort {f_port}, expected {expected}")


def read_quantities(data: Mapping[str, object], overlay: Overlay) -> tuple[tuple[Quantity, ...], bool]:
    """Return the quantities in the file's order, and whether one of them is urgent.

    Where several fields give one quantity (three EC probes on one node), the first good value counts, else the
    first. Raises DecodeError (BAD_OUTPUT) for a field that is not a finite number.
    """
    found: dict[str, Quantity] = {}
    chosen: dict[str, QuantityRule] = {}
    urgent = False
    for rule in overlay.quantities:
        if not _present(data, rule):
            continue
        quantity = _quantity(data, rule)
        known = found.get(rule.name)
        if known is None or (known.quality and not quantity.quality):
            found[rule.name], chosen[rule.name] = quantity, rule
        urgent = urgent or rule.urgent
    if overlay.salinity is not None:
        derived = _salinity(found, chosen, overlay.salinity)
        if derived is not None:
            found[derived.name] = derived
    return tuple(found.values()), urgent


def read_history(data: Mapping[str, object], overlay: Overlay, received_ms: int) -> tuple[Past, ...]:
    """Return the records that a frame brings from the device's memory, in its order.

    A codec gives them as `history: [{time, data}]`, time in ISO 8601 with its offset or in seconds since 1970. A record
    whose time cannot be true (before 2020, or later than this frame) has a reason instead of quantities, as has one
    that cannot be read. Raises DecodeError (BAD_OUTPUT) where `history` is no such list.
    """
    records = data.get(HISTORY)
    if records is None:
        return ()
    if not isinstance(records, list) or len(records) > _MOST_RECORDS:
        raise DecodeError(Undecoded.BAD_OUTPUT, f"{HISTORY} is no list of at most {_MOST_RECORDS} records")
    return tuple(_past(record, overlay, received_ms) for record in records)


def read_firmware(data: Mapping[str, object], overlay: Overlay) -> str:
    """Return the firmware that an info frame tells, such as "1.3.1", "" where this frame tells none."""
    numbers = [data.get(field) for field in overlay.firmware_fields]
    if not numbers or not all(type(number) is int for number in numbers):
        return ""
    return ".".join(map(str, numbers))


def shown(quantity: Quantity) -> str:
    """Write a quantity for people: `2025 mm`, `>= 20000 uS/cm`, `- mm (no_sensor)`."""
    if quantity.value is None:
        return f"- {quantity.unit} ({quantity.quality.name.lower()})"
    sign = {Quality.ABOVE_RANGE: ">= ", Quality.BELOW_RANGE: "<= "}.get(quantity.quality, "")
    mark = " (implausible)" if quantity.quality is Quality.IMPLAUSIBLE else ""
    return f"{sign}{quantity.value:.10g} {quantity.unit}{mark}"


def _past(record: object, overlay: Overlay, received_ms: int) -> Past:
    fields = record.get("data") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(fields, dict):
        return Past(0, (), Undecoded.BAD_OUTPUT, "a record of the history is not {time, data}")
    at_ms = _instant_ms(record.get("time"))
    # A gateway without a set clock cannot call a record late.
    latest_ms = received_ms + AHEAD_MS if received_ms >= EARLIEST_MS else math.inf
    if at_ms is None or not EARLIEST_MS <= at_ms <= min(latest_ms, _LATEST_MS):
        time = f"{record.get('time')!r:.40}"
        return Past(0, (), Undecoded.BAD_TIME, f"a record's time is {time}: before 2020, or later than its frame")
    try:
        return Past(at_ms, read_quantities(fields, overlay)[0])
    except DecodeError as error:
        return Past(0, (), error.reason, error.message)


def _instant_ms(time: object) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 text with an offset or of a number of seconds; None for anything else."""
    try:
        if type(time) is str:
            at = datetime.fromisoformat(time)
            return None if at.tzinfo is None else round(at.astimezone(UTC).timestamp() * 1000)
        if type(time) is int or type(time) is float:
            return round(time * 1000)
    except (ValueError, OverflowError):
        return None
    return None


def _present(data: Mapping[str, object], rule: QuantityRule) -> bool:
    if rule.field not in data and not _failed(data, rule):
        return False
    condition = rule.present_if
    return condition is None or data.get(condition.field) == condition.equals


def _failed(data: Mapping[str, object], rule: QuantityRule) -> bool:
    """A bridge says of a channel that it could not be read, in place of its value."""
    return data.get(f"{rule.field}_error") == 1


def _quantity(data: Mapping[str, object], rule: QuantityRule) -> Quantity:
    if _failed(data, rule):
        return Quantity(rule.name, rule.unit, None, Quality.SENSOR_FAULT)
    number = _number(take_number(data[rule.field], rule.field, rule.take), rule.field)
    fault = _fault(number, data, rule)
    if fault is not None:
        return Quantity(rule.name, rule.unit, None, _QUALITY[fault])
    return _ranged(number * rule.scale / rule.divisor + rule.add, rule)


def _number(value: object, field: str) -> float:
    # bool is an int to Python, but not a measurement. NaN and Infinity arrive as null: JSON has neither.
    if type(value) is float or type(value) is int:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise DecodeError(Undecoded.BAD_OUTPUT, f"{field} is {value!r:.40}, not a finite number")


def _fault(value: float, data: Mapping[str, object], rule: QuantityRule) -> FaultQuality | None:
    reasons = (rule.absent_if,) if isinstance(rule.absent_if, Absence) else rule.absent_if
    for absence in reasons:
        if absence.holds(data):
            return absence.quality
    for fault in rule.fault:
        if value == fault.value:
            return fault.quality
    return None


def _ranged(value: float, rule: QuantityRule) -> Quantity:
    """The value with its quality; at the end of the range the value is that end."""
    if not math.isfinite(value):
        raise DecodeError(Undecoded.BAD_OUTPUT, f"{rule.field} is out of all range after scaling")
    if rule.saturates_at is not None and value >= rule.saturates_at:
        return Quantity(rule.name, rule.unit, rule.saturates_at, Quality.ABOVE_RANGE)
    if rule.saturates_below is not None and value <= rule.saturates_below:
        return Quantity(rule.name, rule.unit, rule.saturates_below, Quality.BELOW_RANGE)
    quality = Quality.GOOD if rule.min <= value <= rule.max else Quality.IMPLAUSIBLE
    return Quantity(rule.name, rule.unit, value, quality)


def _salinity(found: Mapping[str, Quantity], chosen: Mapping[str, QuantityRule], rule: SalinityRule) -> Quantity | None:
    """Salinity by PSS-78, as good as what it comes from; None where the device gave it, or where something is missing.

    Three decimals: the scale itself is no better than some thousandths.
    """
    ec, water = found.get(rule.conductivity), found.get(rule.temperature)
    if rule.name in found or ec is None or ec.value is None or water is None or water.value is None:
        return None
    reference_c = chosen[rule.conductivity].ec_reference_c
    conductivity, at_c = ec.value, water.value
    if reference_c is not None and rule.compensation_per_k is None:
        at_c = reference_c
    elif reference_c is not None and rule.compensation_per_k is not None:
        conductivity = salinity.at_temperature(ec.value, water.value, reference_c, rule.compensation_per_k)
    value = salinity.practical_salinity(conductivity * EC_UNITS[ec.unit], at_c)
    return Quantity(rule.name, rule.unit, round(value, 3), _salinity_quality(value, ec, water))


def _salinity_quality(value: float, ec: Quantity, water: Quantity) -> Quality:
    outside = salinity.validity(value, water.value or 0.0) is salinity.Validity.OUTSIDE
    if outside or Quality.IMPLAUSIBLE in (ec.quality, water.quality):
        return Quality.IMPLAUSIBLE
    return ec.quality
