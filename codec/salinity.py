"""Practical salinity from conductivity: the 1978 scale (PSS-78), with its low-salinity extension. Pure.

Fofonoff and Millard, Algorithms for computation of fundamental properties of seawater, UNESCO Technical Papers in
Marine Science 44 (1983), section 1; below 2: Hill, Dauphinee and Woods, The extension of the Practical Salinity Scale
1978 to low salinities, IEEE Journal of Oceanic Engineering 11 (1986). Both hold for water whose salts are the sea's:
brackish water of an estuary is such water, waste water is not.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Final

# Conductivity of standard sea water, mS/cm: S 35, 15 Cel, 0 dbar.
CONDUCTIVITY_35_15: Final = 42.914

_A: Final = (0.0080, -0.1692, 25.3851, 14.0941, -7.0261, 2.7081)
_B: Final = (0.0005, -0.0056, -0.0066, -0.0375, 0.0636, -0.0144)
_C: Final = (0.6766097, 2.00564e-2, 1.104259e-4, -6.9698e-7, 1.0031e-9)
_D: Final = (3.426e-2, 4.464e-4, 4.215e-1, -3.107e-3)
_E: Final = (2.070e-5, -6.370e-10, 3.989e-15)
_K: Final = 0.0162

_COLDEST, _WARMEST = -2.0, 35.0
_FRESHEST, _SALTIEST = 2.0, 42.0


class Validity(enum.Enum):
    """Where on the scale a salinity lies."""

    STANDARD = "standard"  # PSS-78: 2 to 42, -2 to 35 Cel
    EXTENDED = "extended"  # below 2, by the extension
    OUTSIDE = "outside"  # beyond what either was fitted to: the number is extrapolated


def practical_salinity(ec_ms_cm: float, temperature_c: float, pressure_dbar: float = 0.0) -> float:
    """Return the practical salinity of water with this conductivity (mS/cm) at this, its actual, temperature (Cel)."""
    return salinity_of_ratio(max(ec_ms_cm, 0.0) / CONDUCTIVITY_35_15, temperature_c, pressure_dbar)


def salinity_of_ratio(ratio: float, temperature_c: float, pressure_dbar: float = 0.0) -> float:
    """Return the practical salinity for a conductivity ratio R = C(S, t, p) / C(35, 15, 0)."""
    rt = ratio / (_pressure_effect(ratio, temperature_c, pressure_dbar) * _polynomial(_C, temperature_c))
    root = math.sqrt(rt)
    warmth = (temperature_c - 15.0) / (1.0 + _K * (temperature_c - 15.0))
    salinity = _polynomial(_A, root) + warmth * _polynomial(_B, root)
    if salinity >= _FRESHEST:
        return salinity
    return max(salinity - _low_salinity_correction(rt, warmth), 0.0)


def validity(salinity: float, temperature_c: float) -> Validity:
    """Say whether the scale was made for such water."""
    if not _COLDEST <= temperature_c <= _WARMEST or salinity > _SALTIEST:
        return Validity.OUTSIDE
    return Validity.STANDARD if salinity >= _FRESHEST else Validity.EXTENDED


def at_temperature(ec: float, temperature_c: float, reference_c: float, per_kelvin: float) -> float:
    """Undo a probe's linear compensation: the conductivity at the actual temperature, in the unit it came in."""
    return ec * (1.0 + per_kelvin * (temperature_c - reference_c))


def _pressure_effect(ratio: float, temperature_c: float, pressure_dbar: float) -> float:
    if pressure_dbar == 0.0:
        return 1.0
    p, t = pressure_dbar, temperature_c
    above = p * (_E[0] + p * (_E[1] + p * _E[2]))
    return 1.0 + above / (1.0 + t * (_D[0] + t * _D[1]) + (_D[2] + t * _D[3]) * ratio)


def _low_salinity_correction(rt: float, warmth: float) -> float:
    x, y = 400.0 * rt, 100.0 * rt
    return _A[0] / (1.0 + 1.5 * x + x * x) + _B[0] * warmth / (1.0 + math.sqrt(y) + y * math.sqrt(y))


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    value = 0.0
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value
