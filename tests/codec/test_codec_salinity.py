"""Practical salinity against the published check values; where the scale holds; when a device's salinity is derived."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.quantities import Overlay, QuantityRule, SalinityRule, read_quantities, shown
from codec.salinity import Validity, at_temperature, practical_salinity, salinity_of_ratio, validity
from wire.reading import Quality, Quantity


@pytest.mark.parametrize(
    ("ratio", "temperature_c", "pressure_dbar", "salinity"),
    [  # UNESCO technical papers in marine science 44, page 9
        (1.0, 15.0, 0.0, 35.000000),
        (1.2, 20.0, 2000.0, 37.245628),
        (0.65, 5.0, 1500.0, 27.995347),
    ],
)
def test_the_published_check_values_come_out(
    ratio: float, temperature_c: float, pressure_dbar: float, salinity: float
) -> None:
    assert salinity_of_ratio(ratio, temperature_c, pressure_dbar) == pytest.approx(salinity, abs=1e-6)


@pytest.mark.parametrize(
    ("salinity", "at_25", "at_30"),
    [(4, 7.28, 8.02), (8, 13.86, 15.27), (12, 20.13, 22.17), (15.6, 25.59, 28.18), (30, 46.25, 50.87)],
)
def test_the_table_of_the_delta_comes_out(salinity: float, at_25: float, at_30: float) -> None:
    assert practical_salinity(at_25, 25.0) == pytest.approx(salinity, abs=0.01)
    assert practical_salinity(at_30, 30.0) == pytest.approx(salinity, abs=0.01)


def test_no_salt_is_no_salinity_and_the_extension_joins_the_scale_at_two() -> None:
    assert practical_salinity(0.0, 25.0) == 0.0
    assert practical_salinity(-1.0, 25.0) == 0.0
    below, above = practical_salinity(3.7960, 25.0), practical_salinity(3.7965, 25.0)
    assert below < 2 < above
    assert above - below < 0.001


@given(low=st.floats(0.0, 60.0), more=st.floats(0.001, 5.0), temperature_c=st.floats(0.0, 35.0))
def test_more_conductivity_is_never_less_salt(low: float, more: float, temperature_c: float) -> None:
    assert practical_salinity(low + more, temperature_c) >= practical_salinity(low, temperature_c) - 1e-3


@pytest.mark.parametrize(
    ("salinity", "temperature_c", "says"),
    [
        (2.0, 25.0, Validity.STANDARD),
        (42.0, -2.0, Validity.STANDARD),
        (1.99, 25.0, Validity.EXTENDED),
        (42.1, 25.0, Validity.OUTSIDE),
        (20.0, 35.1, Validity.OUTSIDE),
        (20.0, -2.1, Validity.OUTSIDE),
    ],
)
def test_validity_is_said(salinity: float, temperature_c: float, says: Validity) -> None:
    assert validity(salinity, temperature_c) is says


def test_a_linear_compensation_is_undone() -> None:
    assert at_temperature(10.0, 30.0, 25.0, 0.02) == pytest.approx(11.0)


def overlay(ec_unit: str = "uS/cm", compensation: float | None = None, reference: float | None = 25.0) -> Overlay:
    return Overlay(
        lengths={},
        quantities=(
            QuantityRule(
                field="ec",
                name="electrical_conductivity",
                unit=ec_unit,
                min=0,
                max=60_000,
                saturates_at=50_000,
                ec_reference_c=reference,
            ),
            QuantityRule(field="t", name="water_temperature", unit="Cel", min=-5, max=40),
            QuantityRule(field="s", name="salinity", unit="[ppth]", min=0, max=45),
        ),
        salinity=SalinityRule(compensation_per_k=compensation),
    )


def derived(data: dict[str, object], rules: Overlay) -> Quantity | None:
    return {quantity.name: quantity for quantity in read_quantities(data, rules)[0]}.get("salinity")


def test_salinity_is_derived_from_conductivity_and_temperature() -> None:
    compensated = derived({"ec": 25_590, "t": 29.0}, overlay())
    raw = derived({"ec": 28_180, "t": 30.0}, overlay(reference=None))
    linear = derived({"ec": 28_180 / 1.1, "t": 30.0}, overlay(compensation=0.02))
    for found in (compensated, raw, linear):
        assert found is not None
        assert (found.unit, found.quality) == ("[ppth]", Quality.GOOD)
        assert found.value == pytest.approx(15.6, abs=0.01)


def test_what_the_device_says_itself_goes_before() -> None:
    assert derived({"ec": 25_590, "t": 29.0, "s": 3.0}, overlay()) == Quantity("salinity", "[ppth]", 3.0)


@pytest.mark.parametrize("data", [{"ec": 25_590}, {"t": 25.0}, {}])
def test_nothing_is_derived_from_half_of_it(data: dict[str, object]) -> None:
    assert derived(data, overlay()) is None


def test_a_probe_at_its_end_gives_a_salinity_that_is_censored_too() -> None:
    found = derived({"ec": 55_000, "t": 25.0}, overlay())
    assert found is not None
    assert found.quality is Quality.ABOVE_RANGE
    assert found.value == pytest.approx(practical_salinity(50.0, 25.0), abs=0.001)
    assert shown(found).startswith(">= 3")


@pytest.mark.parametrize("data", [{"ec": 25_590, "t": 36.0}, {"ec": 25_590, "t": 41.0}, {"ec": -5.0, "t": 25.0}])
def test_outside_the_scale_or_from_an_implausible_value_it_is_marked(data: dict[str, object]) -> None:
    found = derived(data, overlay())
    assert found is not None
    assert found.quality is Quality.IMPLAUSIBLE
    assert found.value is not None
    assert math.isfinite(found.value)
