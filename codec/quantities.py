"""What a codec's numbers mean: from decoded data to quantities with UCUM units and a quality. Pure.

The rules come from `device_profiles/quantities/<vendor>/<device>.toml`. A fault code of the device becomes a quality
without a value; it is never a measurement. An unknown key in the file is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from codec.errors import DecodeError
from wire.reading import Quality, Quantity, Undecoded

FaultQuality = Literal["no_sensor", "invalid", "sensor_fault"]

_QUALITY: Final[dict[str, Quality]] = {
    "no_sensor": Quality.NO_SENSOR,
    "invalid": Quality.INVALID,
    "sensor_fault": Quality.SENSOR_FAULT,
}


class Lengths(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Any payload length from `min` to `max` bytes; the codec checks the exact one."""

    min: int
    max: int


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A number that the device sends instead of a measurement."""

    value: float
    quality: FaultQuality


class Presence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The quantity exists only while another field has this value."""

    field: str
    equals: float


class Absence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Another field says that there is no value, and why."""

    field: str
    equals: float
    quality: FaultQuality


class QuantityRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One field of the codec's data and the quantity it is.

    `min` and `max` bound the plausible; from `saturates_at` on the probe is at its end (ABOVE_RANGE). `urgent` asks
    that a frame carrying the field be delivered at once.
    """

    field: str
    name: str
    unit: str
    min: float
    max: float
    saturates_at: float | None = None
    fault: tuple[Fault, ...] = ()
    present_if: Presence | None = None
    absent_if: Absence | None = None
    urgent: bool = False


class Overlay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What the worker needs to know of one device with one codec: lengths by fPort, and the quantities in order."""

    lengths: dict[int, tuple[int, ...] | Lengths]
    quantities: tuple[QuantityRule, ...]


def check_payload(raw: bytes, f_port: int, overlay: Overlay) -> None:
    """Refuse a payload that this device cannot have sent; raises DecodeError (WRONG_PORT, WRONG_LENGTH)."""
    allowed = overlay.lengths.get(f_port)
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
    urgent = False
    for rule in overlay.quantities:
        if rule.field not in data or not _present(data, rule.present_if):
            continue
        quantity = _quantity(data, rule)
        known = found.get(rule.name)
        if known is None or (known.quality and not quantity.quality):
            found[rule.name] = quantity
        urgent = urgent or rule.urgent
    return tuple(found.values()), urgent


def _present(data: Mapping[str, object], condition: Presence | None) -> bool:
    return condition is None or data.get(condition.field) == condition.equals


def _quantity(data: Mapping[str, object], rule: QuantityRule) -> Quantity:
    value = _number(data[rule.field], rule.field)
    fault = _fault(value, data, rule)
    if fault is not None:
        return Quantity(rule.name, rule.unit, None, _QUALITY[fault])
    return Quantity(rule.name, rule.unit, value, _range_quality(value, rule))


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
    absence = rule.absent_if
    if absence is not None and data.get(absence.field) == absence.equals:
        return absence.quality
    for fault in rule.fault:
        if value == fault.value:
            return fault.quality
    return None


def _range_quality(value: float, rule: QuantityRule) -> Quality:
    if rule.saturates_at is not None and value >= rule.saturates_at:
        return Quality.ABOVE_RANGE
    return Quality.GOOD if rule.min <= value <= rule.max else Quality.IMPLAUSIBLE
