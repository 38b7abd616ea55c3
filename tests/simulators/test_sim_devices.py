"""Every encoder against the golden vectors of domain.md 4.4, and every fault on demand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.devices import Device, DlCtd10, DlMbx, Em500Udl, Firmware, Ldds75, Probe, Sample, WqsLb
from simulators.faults import DeviceFault

WQS = Sample(
    battery_mv=3300,
    air_temperature_c=27.0,
    temperature_c=27.1,
    do_mg_l=5.30,
    ph=7.30,
    ec25_us_cm=25599,
    salinity_g_kg=15.6,
)
FOUR_EC = WqsLb(firmware=Firmware.V1_3_1, probes=Probe.FOUR_EC)
MBX = DlMbx(device_id=303)
GOLDEN = [
    (Em500Udl(), Sample(battery_pct=100, distance_mm=30), 85, "01756403821e00"),
    (Ldds75(), Sample(battery_mv=3338, distance_mm=2025), 2, "0d0a07e900000001"),
    (MBX, Sample(distance_mm=1234, valid_samples=1, battery_mv=2993), 1, "02012f000304d200010bb1"),
    (
        DlCtd10(device_id=2009),
        Sample(depth_mm=4232, temperature_c=12.9, ec25_us_cm=100, battery_mv=3168),
        1,
        "0207d9000390888081006400000c60",
    ),
    (WqsLb(firmware=Firmware.V1_0), WQS, 2, "0ce4010e11021202da"),
    (WqsLb(firmware=Firmware.V1_2), WQS, 2, "0ce4010e1102120a9602da010f"),
    (WqsLb(firmware=Firmware.V1_3_1), WQS, 2, "0ce4010e001102120a9602da010f"),
    (FOUR_EC, WQS, 2, "0ce4010e01000063ff009c010f"),
]
ALL: list[Device] = [
    Em500Udl(),
    Ldds75(),
    MBX,
    DlCtd10(device_id=1),
    *(WqsLb(firmware=firmware) for firmware in Firmware),
]


@pytest.mark.parametrize(("device", "sample", "f_port", "expected"), GOLDEN)
def test_golden_vectors(device: Device, sample: Sample, f_port: int, expected: str) -> None:
    encoded = device.encode(sample)
    assert (encoded.f_port, encoded.data.hex()) == (f_port, expected)
    assert not encoded.faults


def test_truth_is_what_the_vendor_decoder_reads() -> None:
    assert WqsLb(firmware=Firmware.V1_2).encode(WQS).quantities == {
        "battery_mv": 3300,
        "temperature_c": 27.0,
        "do_mg_l": 5.30,
        "do_temperature_c": 27.1,
        "ph": 7.30,
        "ph_temperature_c": 27.1,
    }
    truth = FOUR_EC.encode(WQS).quantities
    assert (truth["ec_us_cm"], truth["salinity_g_kg"], truth["ec_temperature_c"]) == (25599, 15.6, 27.1)


@pytest.mark.parametrize(
    ("device", "fault", "battery", "expected"),
    [
        (Ldds75(), DeviceFault.NO_SENSOR, 3338, "0d0a000000000000"),
        (Ldds75(), DeviceFault.INVALID_READING, 3338, "0d0a001400000001"),
        (MBX, DeviceFault.BATTERY_ONLY, 2993, "02012f00020bb1"),
    ],
)
def test_golden_faults(device: Device, fault: DeviceFault, battery: int, expected: str) -> None:
    encoded = device.encode(Sample(battery_mv=battery, distance_mm=1500), frozenset({fault}))
    assert encoded.data.hex() == expected
    assert encoded.faults == {fault}
    assert encoded.quantities == {"battery_mv": battery}


def test_failed_collection_is_ffff() -> None:
    encoded = Em500Udl().encode(Sample(battery_pct=88, distance_mm=900), frozenset({DeviceFault.COLLECTION_FAILED}))
    assert encoded.data.hex() == "0175580382ffff"
    assert encoded.quantities == {"battery_pct": 88}


@pytest.mark.parametrize("firmware", list(Firmware))
def test_missing_probe_takes_flag_bytes_and_truth_with_it(firmware: Firmware) -> None:
    device = WqsLb(firmware=firmware)
    encoded = device.encode(WQS, frozenset({DeviceFault.PROBE_MISSING}))
    flags = encoded.data[5] if firmware is Firmware.V1_3_1 else encoded.data[4]
    assert flags == Probe.DO
    assert "ph" not in encoded.quantities
    assert len(encoded.data) < len(device.encode(WQS).data)


def test_ldds75_cannot_see_closer_or_farther_than_its_range() -> None:
    for distance in (100, 279, 7501):
        encoded = Ldds75().encode(Sample(distance_mm=distance, battery_mv=3300))
        assert encoded.faults == {DeviceFault.INVALID_READING}
        assert encoded.data[2:4] == b"\x00\x14"


def test_k10_probe_saturates_where_the_reference_says() -> None:
    device = WqsLb(firmware=Firmware.V1_2, probes=Probe.EC_K10)
    assert device.encode(WQS).quantities["ec_us_cm"] == 20_000


def test_info_frame_is_golden() -> None:
    greeting = WqsLb(firmware=Firmware.V1_3_1).greet(WQS)
    assert greeting is not None
    assert (greeting.f_port, greeting.data.hex()) == (5, "3c013109ff0ce4")


def test_old_firmware_refuses_the_four_electrode_probe() -> None:
    with pytest.raises(ValueError, match=r"1\.3\.1"):
        WqsLb(firmware=Firmware.V1_2, probes=Probe.FOUR_EC)


@pytest.mark.parametrize("firmware", list(Firmware))
def test_flags_fix_the_length(firmware: Firmware) -> None:
    sizes = {Probe.TURBIDITY: 2, Probe.ORP: 2, Probe.DO: 4, Probe.EC_K10: 4, Probe.EC_K1: 4, Probe.PH: 4}
    if firmware is Firmware.V1_0:
        sizes = dict.fromkeys(sizes, 2)
    head = 6 if firmware is Firmware.V1_3_1 else 5
    probes = Probe(0x3F)
    encoded = WqsLb(firmware=firmware, probes=probes).encode(WQS)
    assert len(encoded.data) == head + sum(sizes.values())


numbers = st.floats(-1e7, 1e7)


@pytest.mark.parametrize("device", ALL)
@given(distance=numbers, temperature=numbers, ec=numbers, faults=st.frozensets(st.sampled_from(DeviceFault)))
def test_any_water_and_any_fault_encode(
    device: Device, distance: float, temperature: float, ec: float, faults: frozenset[DeviceFault]
) -> None:
    sample = Sample(distance_mm=distance, depth_mm=distance, temperature_c=temperature, ec25_us_cm=ec)
    encoded = device.encode(sample, faults)
    assert encoded.faults - {DeviceFault.INVALID_READING} <= device.possible_faults & faults
    assert len(encoded.data) <= 53
