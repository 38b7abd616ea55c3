"""Water quality behind the tide, against PSS-78 and the bulletins of domain.md 2.4."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators import water
from simulators.tide import DAY_MS, Surge, Tide

TABLE = [  # salinity, EC at 25 °C, EC at 30 °C (mS/cm)
    (0.45, 0.92, 1.01),
    (0.5, 1.01, 1.12),
    (1, 1.97, 2.17),
    (2, 3.80, 4.19),
    (4, 7.28, 8.02),
    (5, 8.96, 9.88),
    (8, 13.86, 15.27),
    (10, 17.02, 18.75),
    (12, 20.13, 22.17),
    (15.6, 25.59, 28.18),
    (20, 32.09, 35.32),
    (25, 39.26, 43.20),
    (30, 46.25, 50.87),
]
DRY = round(dt.datetime(2025, 2, 23, tzinfo=dt.UTC).timestamp() * 1000)
WET = round(dt.datetime(2025, 9, 23, tzinfo=dt.UTC).timestamp() * 1000)
RIVER = water.River(tide=Tide(), surge=Surge.seeded(1))


def day_of(start_ms: int, km: float) -> list[float]:
    """Salinity every ten minutes of a fortnight."""
    return [water.salinity_g_kg(RIVER, start_ms + i * 600_000, km) for i in range(144 * 14)]


@pytest.mark.parametrize(("salinity", "at_25", "at_30"), TABLE)
def test_conductivity_matches_the_table(salinity: float, at_25: float, at_30: float) -> None:
    assert water.ec_pss78(salinity, 25.0) == pytest.approx(at_25, abs=0.006)
    assert water.ec_pss78(salinity, 30.0) == pytest.approx(at_30, abs=0.006)


def test_check_value_of_pss78() -> None:
    assert water.salinity_pss78(42.914, 15.0) == pytest.approx(35.0, abs=1e-6)


@given(salinity=st.floats(0.02, 42.0), temperature=st.floats(0.0, 35.0))
def test_inverse_and_forward_agree(salinity: float, temperature: float) -> None:
    ec = water.ec_pss78(salinity, temperature)
    assert water.salinity_pss78(ec, temperature) == pytest.approx(salinity, abs=1e-5)


def test_fresh_water_has_no_conductivity_below_zero() -> None:
    assert water.ec_pss78(0.0, 28.0) == 0.0
    assert 0.0 < water.ec_pss78(0.01, 28.0) < water.ec_pss78(0.02, 28.0)


def test_salinity_falls_upriver() -> None:
    means = [sum(day_of(DRY, km)) for km in (2, 10, 20, 40)]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize(("km", "lowest", "highest"), [(2, 11.0, 15.6), (15, 7.0, 11.7), (30, 2.4, 4.6)])
def test_dry_season_resembles_the_bulletin(km: float, lowest: float, highest: float) -> None:
    found = day_of(DRY, km)
    middle = sum(found) / len(found)
    assert lowest - 1.0 < middle < highest + 1.0
    assert max(found) - min(found) > 0.6 * (highest - lowest)


def test_wet_season_pushes_the_salt_out() -> None:
    assert max(day_of(WET, 5)) < 0.5 * min(day_of(DRY, 5))


def test_spring_tide_brings_more_salt_than_neap() -> None:
    tide = RIVER.tide
    days = [DRY + day * DAY_MS for day in range(15)]
    spring, neap = max(days, key=tide.springness), min(days, key=tide.springness)

    def peak(start_ms: int) -> float:
        return max(water.salinity_g_kg(RIVER, start_ms + i * 600_000, 15) for i in range(150))

    assert peak(spring) > peak(neap)


def test_salinity_peaks_after_high_water() -> None:
    times = [DRY + i * 300_000 for i in range(12 * 20)]
    high = max(times, key=lambda at: water.river_level_m(RIVER, at, 10))
    salt = max(times, key=lambda at: water.salinity_g_kg(RIVER, at, 10))
    assert 30 * 60_000 < salt - high < 3 * 3_600_000


@pytest.mark.parametrize(("celsius", "mg_l"), [(20, 9.09), (25, 8.26), (30, 7.56)])  # APHA 4500-O, fresh water
def test_oxygen_saturation(celsius: float, mg_l: float) -> None:
    assert water.do_saturation_mg_l(celsius) == pytest.approx(mg_l, abs=0.01)
    assert water.do_saturation_mg_l(celsius, 15.0) < mg_l


def test_oxygen_breathes_with_the_day() -> None:
    by_hour = {hour: water.dissolved_oxygen_mg_l(DRY + hour * 3_600_000, 5.0) for hour in range(24)}
    lowest, highest = min(by_hour, key=by_hour.__getitem__), max(by_hour, key=by_hour.__getitem__)
    assert (lowest + 7) % 24 in range(2, 6)  # before dawn in Viet Nam
    assert (highest + 7) % 24 in range(14, 18)
    assert all(3.5 < value < 8.5 for value in by_hour.values())


def test_batteries_only_fall() -> None:
    shares = [water.battery_left(age, 1826) for age in range(0, 2200, 20)]
    for curve in (water.lithium_mv, water.alkaline_mv):
        volts = [curve(share) for share in shares]
        assert volts == sorted(volts, reverse=True)
        assert 2000 < volts[-1] < volts[0] < 3700
