"""Water behind the tide: salinity, conductivity, temperature, oxygen, pH, turbidity. Simulated, shaped after
domain.md 2.4.

Distances are kilometres upriver from the mouth, times integer milliseconds UTC, salinity g/kg (practical
salinity and g/kg are not told apart here), temperatures °C. Pure functions; what varies at random is passed
in by the caller.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from simulators.tide import DAY_MS, Surge, Tide, river_damping, river_lag_ms

_HOUR_MS: Final = 3_600_000
_LOCAL_MS: Final = 7 * _HOUR_MS  # Viet Nam: UTC+7, no daylight saving
_YEAR_DAYS: Final = 365.2425

# Logistic salinity profile S = OCEAN / (1 + exp((x - L) / WIDTH)), fitted to the maxima and minima of
# 23/2/2025 from Trần Đề (15.6-11.0) to An Lạc Tây (2.8-0.4 g/l), domain.md 2.4: the four stations lie on one
# line in the logit.
_OCEAN_G_KG: Final = 17.0
_WIDTH_KM: Final = 10.5
_EXCURSION_KM_PER_M: Final = 7.0  # how far one metre of tide pushes the profile inland
_SALT_LAG_MS: Final = 90 * 60_000  # salinity peaks near slack water, after the high water that drove it


class River(NamedTuple):
    """The branch of the Hậu that the commune lies on: its tide and its surge."""

    tide: Tide
    surge: Surge


def river_level_m(river: River, at_ms: int, km: float) -> float:
    """Still-water level (m above local mean sea level) `km` above the mouth: damped, late, plus surge."""
    return river_damping(km) * river.tide.level_m(at_ms - river_lag_ms(km)) + river.surge.level_m(at_ms)


def dryness(at_ms: int) -> float:
    """Season: 1 in mid March when the delta is saltiest, -1 in mid September at the flood."""
    return math.cos(2.0 * math.pi * (at_ms / DAY_MS - 73.0) / _YEAR_DAYS)


def intrusion_km(river: River, at_ms: int) -> float:
    """Distance from the mouth at which the salinity is half the ocean's, averaged over a tidal day (km, may
    be negative).

    Reaches further in the dry season and at spring tide.
    """
    return 18.0 * dryness(at_ms) + 2.0 * river.tide.springness(at_ms)


def salinity_g_kg(river: River, at_ms: int, km: float) -> float:
    """Salinity `km` above the mouth (g/kg), following the tide late, swinging as the bulletins show."""
    pushed_km = _EXCURSION_KM_PER_M * river.tide.level_m(at_ms - river_lag_ms(km) - _SALT_LAG_MS)
    return _OCEAN_G_KG / (1.0 + math.exp((km - intrusion_km(river, at_ms) - pushed_km) / _WIDTH_KM))


# PSS-78 at atmospheric pressure: UNESCO Technical Papers in Marine Science 36 (1981) and 44 (1983).
_A: Final = (0.0080, -0.1692, 25.3851, 14.0941, -7.0261, 2.7081)
_B: Final = (0.0005, -0.0056, -0.0066, -0.0375, 0.0636, -0.0144)
_K: Final = 0.0162
_RT: Final = (0.6766097, 2.00564e-2, 1.104259e-4, -6.9698e-7, 1.0031e-9)
_C_35_15_0: Final = 42.914  # mS/cm at S 35, 15 °C, 0 dbar
_SALTIEST_ROOT: Final = 1.2  # square root of the conductivity ratio; 1.2 is about S 52, above any river


def salinity_pss78(ec_ms_cm: float, temperature_c: float) -> float:
    """Practical salinity from conductivity at the actual temperature (mS/cm, °C). Valid for 2 <= S <= 42."""
    ratio = ec_ms_cm / (_C_35_15_0 * _polynomial(_RT, temperature_c))
    return _salinity_of_root(math.sqrt(ratio), temperature_c)


def ec_pss78(salinity: float, temperature_c: float) -> float:
    """Conductivity (mS/cm at the actual temperature) of a practical salinity: PSS-78 inverted by Newton's
    method.

    Below S = 2 the scale is extrapolated as the table of domain.md 2.4 does; below 0.02 the polynomial has no
    root and the result is proportional to the salinity.
    """
    target = max(salinity, 0.02)
    root = _newton_root(target, temperature_c)
    ec = _C_35_15_0 * _polynomial(_RT, temperature_c) * root * root
    return ec * max(salinity, 0.0) / target


def _newton_root(salinity: float, temperature_c: float) -> float:
    root = min(math.sqrt(salinity / 35.0), _SALTIEST_ROOT)
    for _ in range(8):  # quadratic convergence: three or four rounds in practice
        error = _salinity_of_root(root, temperature_c) - salinity
        if abs(error) < 1e-7:
            break
        root = max(root - error / _salinity_slope(root, temperature_c), 1e-3)
    return root


def _warmth(temperature_c: float) -> float:
    return (temperature_c - 15.0) / (1.0 + _K * (temperature_c - 15.0))


def _salinity_of_root(root: float, temperature_c: float) -> float:
    return _polynomial(_A, root) + _warmth(temperature_c) * _polynomial(_B, root)


def _salinity_slope(root: float, temperature_c: float) -> float:
    warmth = _warmth(temperature_c)
    a1, a2, a3, a4, a5 = (a + warmth * b for a, b in zip(_A[1:], _B[1:], strict=True))
    return a1 + root * (2 * a2 + root * (3 * a3 + root * (4 * a4 + root * 5 * a5)))


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    value = 0.0
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value


def local_hour(at_ms: int) -> float:
    """Hour of the day in Viet Nam, 0 <= h < 24."""
    return (at_ms + _LOCAL_MS) % DAY_MS / _HOUR_MS


def water_temperature_c(at_ms: int) -> float:
    """Surface water: 28.8 °C over the year, warmest in late April, +-0.8 °C by day, peaking at 15 h."""
    year = math.cos(2.0 * math.pi * (at_ms / DAY_MS - 115.0) / _YEAR_DAYS)
    day = math.cos(2.0 * math.pi * (local_hour(at_ms) - 15.0) / 24.0)
    return 28.8 + 1.3 * year + 0.8 * day


def do_saturation_mg_l(temperature_c: float, salinity: float = 0.0) -> float:
    """Dissolved oxygen in equilibrium with air at sea level (mg/l): Benson and Krause 1984, APHA 4500-O."""
    kelvin = temperature_c + 273.15
    fresh = -139.34411 + (1.575701e5 + (-6.642308e7 + (1.2438e10 - 8.621949e11 / kelvin) / kelvin) / kelvin) / kelvin
    salt = salinity * (0.017674 - (10.754 - 2140.7 / kelvin) / kelvin)
    return math.exp(fresh - salt)


def dissolved_oxygen_mg_l(at_ms: int, salinity: float) -> float:
    """Oxygen with its daily breath: 62 % of saturation before dawn, 98 % in mid afternoon."""
    day = math.cos(2.0 * math.pi * (local_hour(at_ms) - 15.5) / 24.0)
    return do_saturation_mg_l(water_temperature_c(at_ms), salinity) * (0.80 + 0.18 * day)


def ph(at_ms: int, salinity: float) -> float:
    """Acidity: 7.2 in fresh river water, up to 0.7 higher in salt water, +-0.12 with daylight."""
    day = math.cos(2.0 * math.pi * (local_hour(at_ms) - 16.0) / 24.0)
    return 7.2 + 0.7 * (1.0 - math.exp(-salinity / 8.0)) + 0.12 * day


def turbidity_ntu(river: River, at_ms: int, km: float) -> float:
    """Turbidity: brown in the flood season, stirred up by the tidal current (slope in half an hour)."""
    slope = river_level_m(river, at_ms, km) - river_level_m(river, at_ms - _HOUR_MS // 2, km)
    return 60.0 - 25.0 * dryness(at_ms) + 140.0 * abs(slope)


def orp_mv(oxygen_mg_l: float) -> float:
    """Redox potential: 180 mV at 2 mg/l of oxygen, 30 mV more for each mg/l (order of magnitude only)."""
    return 120.0 + 30.0 * oxygen_mg_l


def battery_left(age_days: float, life_days: float) -> float:
    """Share of the battery's charge left, 1 when new, never below 0."""
    return min(1.0, max(0.0, 1.0 - age_days / life_days))


def lithium_mv(left: float) -> float:
    """Terminal voltage (mV) of a 3.6 V Li-SOCl2 cell under load: a plateau, then a knee in the last tenth."""
    plateau = 3380.0 + 240.0 * left
    return plateau - 900.0 * max(0.0, 0.1 - left) / 0.1


def alkaline_mv(left: float) -> float:
    """Terminal voltage (mV) of two alkaline C cells in series: a slow slope from 3.15 V to 2.1 V."""
    return 2100.0 + 1050.0 * math.pow(left, 0.8)
