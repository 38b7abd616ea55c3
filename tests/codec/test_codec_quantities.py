"""Faults are flagged and never measured; ranges, saturation, conditions, urgency."""

import msgspec
import pytest

from codec.engine import Engine, Limits
from codec.errors import DecodeError
from codec.profiles import ProfileLibrary
from codec.quantities import Overlay, QuantityRule, check_payload, read_quantities
from wire.reading import Quality, Quantity, Undecoded

LIBRARY = ProfileLibrary()


def decode(name: str, frame: str, f_port: int) -> tuple[dict[str, Quantity], bool]:
    profile = LIBRARY.profile(name)
    raw = bytes.fromhex(frame)
    check_payload(raw, f_port, profile.overlay)
    data = Engine(profile.script or "", Limits()).decode(raw, f_port, 0).data
    quantities, urgent = read_quantities(data, profile.overlay)
    return {quantity.name: quantity for quantity in quantities}, urgent


def overlay(**changes: object) -> Overlay:
    rule = {"field": "x", "name": "depth", "unit": "mm", "min": 0, "max": 100} | changes
    return Overlay(lengths={1: (1,)}, quantities=(msgspec.convert(rule, QuantityRule),))


@pytest.mark.parametrize(
    ("name", "frame", "f_port", "quantity", "quality"),
    [
        ("dragino/ldds75", "0d0a000000000000", 2, "water_distance", Quality.NO_SENSOR),
        ("dragino/ldds75", "0d0a07e900000000", 2, "water_distance", Quality.NO_SENSOR),
        ("dragino/ldds75", "0d0a001400000001", 2, "water_distance", Quality.INVALID),
        ("dragino/ldds75", "0d0a07e900000001", 2, "air_temperature", Quality.NO_SENSOR),
        ("milesight/em500-udl", "0382ffff", 85, "water_distance", Quality.INVALID),
        ("milesight/em500-udl", "83e9ffff000001", 85, "water_distance", Quality.INVALID),
        ("decentlab/dl-mbx", "02012f000304d200000bb1", 1, "water_distance", Quality.INVALID),
        ("decentlab/dl-ctd10", "0207d9000390887ff5006400010c60", 1, "water_depth", Quality.INVALID),
    ],
)
def test_a_fault_code_is_a_quality_without_a_value(
    name: str, frame: str, f_port: int, quantity: str, quality: Quality
) -> None:
    found = decode(name, frame, f_port)[0][quantity]
    assert (found.value, found.quality) == (None, quality)


def test_a_good_frame_gives_values_with_units() -> None:
    found, urgent = decode("dragino/ldds75", "0d0a07e900011d01", 2)
    assert list(found.values()) == [
        Quantity("water_distance", "mm", 2025.0),
        Quantity("air_temperature", "Cel", 28.5),
        Quantity("battery_voltage", "V", 3.338),
    ]
    assert not urgent


def test_an_alarm_frame_is_urgent_and_its_own_distance_counts() -> None:
    found, urgent = decode("milesight/em500-udl", "83e9d207640001 03825e07", 85)
    assert urgent
    assert found["water_distance"].value == 2002


def test_history_is_not_taken_for_the_live_value() -> None:
    assert decode("milesight/em500-udl", "20ced0e3a468d207", 85) == ({}, False)


def test_a_probe_at_its_end_is_censored_and_a_better_probe_goes_before_it() -> None:
    # EC K10 with 30 000 uS/cm, then the same frame with a K1 probe in range.
    saturated = decode("dragino/wqs-lb@1.2", "0ce4010e040bb8010e", 2)[0]["electrical_conductivity"]
    assert (saturated.value, saturated.quality) == (20000, Quality.ABOVE_RANGE)
    better = decode("dragino/wqs-lb@1.2", "0ce4010e060bb8010e058c010e", 2)[0]["electrical_conductivity"]
    assert (better.value, better.quality) == (1420, Quality.GOOD)


@pytest.mark.parametrize(
    ("firmware", "frame"),
    [
        ("1.0", "0ce4010e1102120a9602da010f"),
        ("1.0", "0ce4010e001102120a9602da010f"),
        ("1.0", "0ce4010e01000063ff009c010f"),
        ("1.2", "0ce4010e11021202da"),
        ("1.2", "0ce4010e001102120a9602da010f"),
        ("1.2", "0ce4010e01000063ff009c010f"),
        ("1.3.1", "0ce4010e11021202da"),
        ("1.3.1", "0ce4010e1102120a9602da010f"),
    ],
)
def test_a_frame_of_another_wqs_firmware_is_refused(firmware: str, frame: str) -> None:
    with pytest.raises(DecodeError):
        decode(f"dragino/wqs-lb@{firmware}", frame, 2)


@pytest.mark.parametrize("value", [None, "3", True, [1], {}, float("nan"), float("inf"), 10**400])
def test_what_is_not_a_finite_number_is_bad_output(value: object) -> None:
    with pytest.raises(DecodeError) as caught:
        read_quantities({"x": value}, overlay())
    assert caught.value.reason is Undecoded.BAD_OUTPUT


def test_an_implausible_value_is_kept_and_marked() -> None:
    assert read_quantities({"x": 101}, overlay())[0] == (Quantity("depth", "mm", 101.0, Quality.IMPLAUSIBLE),)


def test_a_quantity_whose_condition_fails_is_left_out() -> None:
    conditional = overlay(present_if={"field": "flag", "equals": 1})
    assert read_quantities({"x": 5, "flag": 0}, conditional)[0] == ()
    assert len(read_quantities({"x": 5, "flag": 1}, conditional)[0]) == 1


@pytest.mark.parametrize(("size", "f_port", "reason"), [(2, 1, "wrong_length"), (1, 2, "wrong_port")])
def test_length_and_port_are_checked_before_the_codec(size: int, f_port: int, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        check_payload(bytes(size), f_port, overlay())
    assert caught.value.reason == reason
