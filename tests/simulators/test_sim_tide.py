"""The simulated tide: right arithmetic, right character, smooth across days."""

import datetime as dt
import itertools
import random
import statistics

import pytest

from simulators.tide import (
    DAY_MS,
    NODAL,
    VUNG_TAU,
    Surge,
    Tide,
    argument_deg,
    harmonics_of_day,
    mean_longitudes,
    river_damping,
    river_lag_ms,
    waves_m,
)

MINUTE_MS = 60_000


def utc_ms(*when: int) -> int:
    return round(dt.datetime(*when, tzinfo=dt.UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


START = utc_ms(2025, 2, 1)


def highs(start_ms: int, days: int) -> list[tuple[int, float]]:
    tide = Tide()
    times = range(start_ms, start_ms + days * DAY_MS, 10 * MINUTE_MS)
    levels = [tide.level_m(at) for at in times]
    return [
        (times[i], levels[i])
        for i in range(1, len(levels) - 1)
        if levels[i - 1] < levels[i] and levels[i] >= levels[i + 1]
    ]


def test_form_factor_is_mixed_mainly_semidiurnal() -> None:
    amplitude = {one.name: one.amplitude_m for one in VUNG_TAU}
    factor = (amplitude["K1"] + amplitude["O1"]) / (amplitude["M2"] + amplitude["S2"])
    assert factor == pytest.approx(0.97, abs=0.005)


@pytest.mark.parametrize(
    ("name", "degrees_per_hour"),  # Schureman 1940, table 2
    [
        ("M2", 28.9841042),
        ("S2", 30.0),
        ("N2", 28.4397295),
        ("K2", 30.0821373),
        ("K1", 15.0410686),
        ("O1", 13.9430356),
        ("P1", 14.9589314),
        ("Q1", 13.3986609),
        ("Sa", 0.0410686),
        ("Ssa", 0.0821373),
    ],
)
def test_constituents_turn_at_their_published_speeds(name: str, degrees_per_hour: float) -> None:
    constituent = next(one for one in VUNG_TAU if one.name == name)
    turned = argument_deg(constituent, START + DAY_MS // 4) - argument_deg(constituent, START)
    assert turned / 6 == pytest.approx(degrees_per_hour, abs=2e-6)


def test_the_moon_is_full_when_the_longitudes_say_so() -> None:
    full = utc_ms(2025, 3, 14, 6, 55)  # total lunar eclipse of 14 March 2025
    s, h, _, _ = mean_longitudes(full)
    assert abs((s - h) % 360 - 180) < 8  # mean longitudes; the true Moon strays up to 6 degrees from them


def test_spring_tide_follows_the_full_moon_within_three_days() -> None:
    tide = Tide()
    start = utc_ms(2025, 3, 10)
    peak = max(range(start, start + 12 * DAY_MS, DAY_MS // 24), key=tide.springness)
    assert 0 <= peak - utc_ms(2025, 3, 14, 7) <= 3 * DAY_MS


def test_most_days_have_two_highs() -> None:
    per_day = len(highs(START, 120)) / 120
    assert 1.7 < per_day < 2.0  # the mean of a mixed tide; a purely semidiurnal one has 1.93


def test_range_breathes_from_spring_to_neap() -> None:
    tide = Tide()

    def day_range(day: int) -> float:
        levels = [tide.level_m(START + day * DAY_MS + i * 10 * MINUTE_MS) for i in range(150)]
        return max(levels) - min(levels)

    ranges = [day_range(day) for day in range(30)]
    assert max(ranges) > 1.4 * min(ranges)
    assert 2.5 < max(ranges) < 4.5  # HAT - LAT is 4.52 m (domain.md 3.2)


def test_levels_stay_between_the_published_extremes() -> None:
    tide = Tide()
    levels = [tide.level_m(START + i * 30 * MINUTE_MS) for i in range(365 * 48)]
    assert -2.95 < min(levels) < -1.8  # LAT is 2.905 m below mean sea level
    assert 1.2 < max(levels) < 1.67  # HAT is 1.619 m above
    assert abs(statistics.fmean(levels)) < 0.02


def test_nothing_jumps_at_midnight() -> None:
    tide = Tide()
    for day in range(1, 400, 7):
        midnight = START + day * DAY_MS
        assert abs(tide.level_m(midnight) - tide.level_m(midnight - 1)) < 0.001


def test_nodal_factors_average_to_one_and_swing_as_published() -> None:
    assert NODAL["M2"].f1 < 0 < NODAL["K1"].f1  # lunar tides weaken when the declinational ones grow
    for row in NODAL.values():
        assert row.f0 == pytest.approx(1.0, abs=0.03)


def test_node_weakens_m2_when_the_moon_rides_high() -> None:
    high = harmonics_of_day(utc_ms(2025, 1, 29) // DAY_MS)  # N = 0: major lunar standstill of early 2025
    low = harmonics_of_day(utc_ms(2015, 10, 1) // DAY_MS)
    assert high[0].amplitude_m < 0.7756 < low[0].amplitude_m
    assert high[1].amplitude_m > 0.5955 > low[1].amplitude_m


def test_high_water_travels_up_the_river() -> None:
    assert river_lag_ms(25.0) == 60 * MINUTE_MS  # Trần Đề to Đại Ngãi, about an hour
    assert 0.8 < river_damping(25.0) < river_damping(5.0) < 1.0


def test_surge_is_bounded_smooth_and_seeded() -> None:
    surge = Surge.seeded(3, bound_m=0.25)
    levels = [surge.level_m(START + i * DAY_MS // 24) for i in range(24 * 90)]
    assert max(map(abs, levels)) <= 0.25
    assert statistics.pstdev(levels) > 0.03
    assert max(abs(b - a) for a, b in itertools.pairwise(levels)) < 0.05
    assert Surge.seeded(3) == Surge.seeded(3) != Surge.seeded(4)


def test_raised_water_is_a_flood() -> None:
    calm, flood = Surge.seeded(3), Surge.seeded(3, raised_m=1.2)
    assert flood.level_m(START) - calm.level_m(START) == pytest.approx(1.2)


def test_waves_have_the_height_asked_for() -> None:
    rng = random.Random(1)
    samples = [waves_m(rng, height_m=0.2) for _ in range(2000)]
    assert 4 * statistics.pstdev(samples) == pytest.approx(0.2, rel=0.1)
