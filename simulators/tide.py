"""A simulated tide in the style of the mouth of the Hậu river: exercise for the system, NOT a prediction.

The harmonic constants are those of Vũng Tàu (UHSLC 383b, 2007-2024, TICON-4, CC-BY-4.0; domain.md 3.2), the
nearest open station, 134 km from Cù Lao Dung. Nobody may plan a sowing or a crossing by it.

Levels are metres above local mean sea level, times are integer milliseconds UTC. Each constituent contributes
f·A·cos(V0 + u - g): V0 the Doodson argument at Greenwich, f and u the slow correction for the 18.6-year
regression of the Moon's node, g the Greenwich phase lag (Schureman 1940, SP 98; Pugh 1987, section 4.2).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final, NamedTuple

DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_J2000_MS: Final = 946_728_000_000  # 2000-01-01T12:00Z, the epoch of the mean longitudes below
_CENTURY_MS: Final = 36_525 * DAY_MS
_FULL_TURN: Final = 2.0 * math.pi


class Constituent(NamedTuple):
    """One harmonic: amplitude (m), Greenwich phase (degrees), Doodson multipliers of (tau, s, h, p), constant
    (degrees).

    `node` names the row of the nodal table; constituents of the Sun alone have none.
    """

    name: str
    amplitude_m: float
    phase_deg: float
    doodson: tuple[int, int, int, int]
    offset_deg: float
    node: str


# tau is the mean lunar time counted from midnight, so diurnal terms carry +90 or -90 degrees (Pugh 1987,
# table 4.1). Sa counts h alone, as Schureman and the NOAA tables do; its yearly high water then falls around
# the turn of the year.
VUNG_TAU: Final = (
    Constituent("M2", 0.7756, 194.3, (2, 0, 0, 0), 0.0, "M2"),
    Constituent("K1", 0.5955, 206.9, (1, 1, 0, 0), 90.0, "K1"),
    Constituent("O1", 0.4476, 165.2, (1, -1, 0, 0), -90.0, "O1"),
    Constituent("S2", 0.3022, 229.4, (2, 2, -2, 0), 0.0, ""),
    Constituent("Sa", 0.2137, 277.8, (0, 0, 1, 0), 0.0, ""),
    Constituent("P1", 0.1893, 203.3, (1, 1, -2, 0), -90.0, ""),
    Constituent("N2", 0.1645, 174.6, (2, -1, 0, 1), 0.0, "M2"),
    Constituent("K2", 0.0940, 241.6, (2, 2, 0, 0), 0.0, "K2"),
    Constituent("Q1", 0.0850, 148.3, (1, -2, 0, 1), -90.0, "O1"),
    Constituent("Ssa", 0.0547, 93.3, (0, 0, 2, 0), 0.0, ""),
)


class NodalTerm(NamedTuple):
    """Low-order nodal modulation: f = f0 + f1·cos N, u = u1·sin N (degrees), N the Moon's node."""

    f0: float
    f1: float
    u1_deg: float


NODAL: Final[dict[str, NodalTerm]] = {  # Pugh 1987, table 4.3; Schureman 1940, table 14 agrees to 0.01
    "": NodalTerm(1.0, 0.0, 0.0),
    "M2": NodalTerm(1.000, -0.037, -2.1),
    "K2": NodalTerm(1.024, 0.286, -17.7),
    "K1": NodalTerm(1.006, 0.115, -8.9),
    "O1": NodalTerm(1.009, 0.187, 10.8),
}


class Longitudes(NamedTuple):
    """Mean longitudes in degrees: Moon s, Sun h, lunar perigee p, lunar node N (Meeus 1998, ch. 25, 47)."""

    s: float
    h: float
    p: float
    n: float


def mean_longitudes(at_ms: int) -> Longitudes:
    """Mean longitudes at a UTC instant; linear terms only, wrong by less than 0.01 degree in this century."""
    t = (at_ms - _J2000_MS) / _CENTURY_MS
    return Longitudes(
        s=218.3164477 + 481267.88123421 * t,
        h=280.46646 + 36000.76983 * t,
        p=83.3532465 + 4069.0137287 * t,
        n=125.04452 - 1934.136261 * t,
    )


def argument_deg(constituent: Constituent, at_ms: int) -> float:
    """Doodson's V0 (degrees, not reduced) of a constituent at Greenwich."""
    s, h, p, _ = mean_longitudes(at_ms)
    tau = 360.0 * (at_ms % DAY_MS) / DAY_MS + h - s
    a, b, c, d = constituent.doodson
    return a * tau + b * s + c * h + d * p + constituent.offset_deg


class Harmonic(NamedTuple):
    """One constituent made ready for one day: amplitude f·A (m), phase at midnight (rad), speed (rad/ms)."""

    amplitude_m: float
    phase_rad: float
    speed: float


def harmonics_of_day(day: int) -> tuple[Harmonic, ...]:
    """The Vũng Tàu constituents for one UTC day (days since 1970); f and u are frozen at noon.

    In a day u moves by less than 0.02 degree, so the seam at midnight stays below a millimetre.
    """
    return tuple(_ready(constituent, day * DAY_MS) for constituent in VUNG_TAU)


def _ready(constituent: Constituent, midnight_ms: int) -> Harmonic:
    node = math.radians(mean_longitudes(midnight_ms + DAY_MS // 2).n)
    f0, f1, u1 = NODAL[constituent.node]
    start = argument_deg(constituent, midnight_ms)
    # Six hours later tau has not yet wrapped at midnight, and no constituent here is faster than two turns a
    # day.
    turned = argument_deg(constituent, midnight_ms + 6 * _HOUR_MS) - start
    return Harmonic(
        amplitude_m=constituent.amplitude_m * (f0 + f1 * math.cos(node)),
        phase_rad=math.radians(start + u1 * math.sin(node) - constituent.phase_deg) % _FULL_TURN,
        speed=math.radians(turned) / (6 * _HOUR_MS),
    )


class Tide:
    """The astronomical tide at the mouth. Remembers the days it prepared, nothing else."""

    def __init__(self) -> None:
        self._days: dict[int, tuple[Harmonic, ...]] = {}

    def level_m(self, at_ms: int) -> float:
        """Level in metres above local mean sea level at a UTC instant (ms)."""
        day, into_day = divmod(at_ms, DAY_MS)
        cos = math.cos
        level = 0.0
        for amplitude, phase, speed in self._of(day):
            level += amplitude * cos(phase + speed * into_day)
        return level

    def springness(self, at_ms: int) -> float:
        """Where the fortnight stands: 1 at spring tide, -1 at neap (cosine of the phase of M2 against S2)."""
        day, into_day = divmod(at_ms, DAY_MS)
        m2, _, _, s2, *_ = self._of(day)
        return math.cos(m2.phase_rad - s2.phase_rad + (m2.speed - s2.speed) * into_day)

    def _of(self, day: int) -> tuple[Harmonic, ...]:
        harmonics = self._days.get(day)
        if harmonics is None:
            harmonics = self._days[day] = harmonics_of_day(day)
        return harmonics


def river_lag_ms(km: float) -> int:
    """How long high water takes to travel `km` up the river: 2.4 min/km.

    Trần Đề has its high water about one hour before Đại Ngãi, some 25 km upriver (domain.md 3.1).
    """
    return round(km * 2.4 * 60_000)


def river_damping(km: float) -> float:
    """Share of the tidal amplitude left `km` above the mouth (friction; 150 km e-folding, our choice)."""
    return math.exp(-km / 150.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surge:
    """The slow part that no tide table knows: storm surge and river discharge, metres, `raised_m` +-
    `bound_m`.

    A sum of sines with seeded periods of 1.5 to 12 days: smooth, bounded, the same for the same seed at any
    instant, in whatever order it is asked. Each wave is (share of the bound, speed in rad/ms, phase in rad).
    """

    bound_m: float
    raised_m: float
    waves: tuple[tuple[float, float, float], ...]

    @classmethod
    def seeded(cls, seed: int, *, bound_m: float = 0.25, raised_m: float = 0.0) -> Surge:
        """Draw a surge; the shares add up to one, which keeps the bound. Raise the water for a flood."""
        rng = random.Random(f"{seed}:surge")
        weights = [rng.uniform(0.5, 1.0) for _ in range(6)]
        total = sum(weights)
        waves = tuple(_wave(rng, weight / total) for weight in weights)
        return cls(bound_m=bound_m, raised_m=raised_m, waves=waves)

    def level_m(self, at_ms: int) -> float:
        """Addition to the tide in metres at a UTC instant (ms)."""
        swing = sum(share * math.sin(speed * at_ms + phase) for share, speed, phase in self.waves)
        return self.raised_m + self.bound_m * swing


def _wave(rng: random.Random, share: float) -> tuple[float, float, float]:
    period_ms = rng.uniform(1.5, 12.0) * DAY_MS
    return share, _FULL_TURN / period_ms, rng.uniform(0.0, _FULL_TURN)


def waves_m(rng: random.Random, *, height_m: float = 0.04) -> float:
    """What wind waves and wakes add to one sample: normal noise whose 4 sigma is the wave height (m)."""
    return rng.gauss(0.0, height_m / 4.0)
