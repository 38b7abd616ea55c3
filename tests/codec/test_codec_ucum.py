"""Which texts are UCUM codes."""

import pytest

from codec.profiles import ProfileLibrary
from codec.ucum import problem_of

GOOD = """
    1 % mm Cel uS/cm mS/cm mg/L mg/l [pH] {NTU} [ppth] [ppm] V mV hPa kPa dB dB[SPL] m/s km/h deg W/m2 MJ/m2 mm/h L/min
    m3/h m3 kg.m-2 10*3/uL /min umol/(m2.s) ug/m3 lx klx kW.h B[10.nV] cm[H2O] mm[Hg] mg{CaCO3}/L {count}/min s-1 10*-6
    [degF] [in_i] min h d mA.h KiBy m[Hg] daPa
"""
BAD = """
    °C C° C NTU pH dBm mmHg m//s m( m) m{ {a }b 3.5m ppm RH kmin ph %RH µS/cm m^2 m² celsius (m mg/ mAh [ppth [] .m m.
"""


@pytest.mark.parametrize("unit", GOOD.split())
def test_a_code_is_accepted(unit: str) -> None:
    assert problem_of(unit) == ""


@pytest.mark.parametrize("unit", [*BAD.split(), "", "m s", "(" * 50])
def test_what_is_none_is_refused_with_a_reason(unit: str) -> None:
    assert problem_of(unit)


def test_every_bundled_unit_is_a_code() -> None:
    library = ProfileLibrary()
    units = {rule.unit for name in library.names() for rule in library.profile(name).overlay.quantities}
    assert {unit: problem_of(unit) for unit in units if problem_of(unit)} == {}
