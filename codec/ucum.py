"""Whether a unit is a code of UCUM (The Unified Code for Units of Measure), case sensitive form. Pure.

The grammar is whole: prefixes, exponents, products and quotients, parentheses, numbers, annotations in braces. The
atoms are those of field monitoring, not all of UCUM's; an unknown one is refused by name, and added here when a device
needs it.
"""

from __future__ import annotations

import re
from typing import Final

_PREFIXES: Final = ("da", "Y", "Z", "E", "P", "T", "G", "M", "k", "h", "d", "c", "m", "u", "n", "p", "f", "a", "z", "y")
_PREFIXES_BINARY: Final = ("Ki", "Mi", "Gi", "Ti")

_METRIC_TEXT: Final = """
    m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb T H lm lx Bq Gy Sv Cel l L bar ar t u eV kat cal bit By
    Bd B B[V] B[mV] B[uV] B[10.nV] B[W] B[kW] B[SPL] Np m[H2O] m[Hg] eq osm st pc G R [iU] [IU] dyn erg P
"""
_METRIC: Final = frozenset(_METRIC_TEXT.split())
_PLAIN_TEXT: Final = """
    10* 10^ [pi] % [ppth] [ppm] [ppb] [pptr] [pH] min h d wk mo mo_j a a_j gon deg ' '' atm att [g] [degF]
    [degR] [in_i] [ft_i] [yd_i] [mi_i] [nmi_i] [kn_i] [acr_us] [gal_us] [lb_av] [oz_av] [psi] [in_i'H2O]
    [in_i'Hg] [Btu] [HP] [CFU]
"""
_PLAIN: Final = frozenset(_PLAIN_TEXT.split())
_ANNOTATION: Final = re.compile(r"\{[!-z|~]*\}")
_NUMBER: Final = re.compile(r"[0-9]+")
_EXPONENT: Final = re.compile(r"[+-]?[0-9]+")
# An atom: letters and bracketed names; quotes, per cent, 10* and 10^.
_ATOM: Final = re.compile(r"10\*|10\^|%|''|'|(?:[A-Za-z_]|\[[!-Z\\^-z|~]+\])+")


# Codes of UCUM that nobody who measures water and weather means.
_MIXED_UP: Final = {
    "pH": "is the picohenry; acidity is [pH]",
    "C": "is the coulomb; the degree Celsius is Cel",
    "F": "is the farad; the degree Fahrenheit is [degF]",
}


def problem_of(unit: str) -> str:
    """Say why a unit is no UCUM code, "" if it is one. "1" and an annotation alone ("{NTU}") are dimension one."""
    if not unit:
        return "empty: dimension one is written 1 or as an annotation"
    if unit in _MIXED_UP:
        return f"{unit!r} {_MIXED_UP[unit]}"
    if not (unit.isascii() and unit.isprintable()) or " " in unit:
        return f"{unit!r}: UCUM codes are printable ASCII without spaces"
    try:
        end = _term(unit, 1 if unit.startswith("/") else 0, 0)
    except _NoCodeError as error:
        return f"{unit!r}: {error}"
    return "" if end == len(unit) else f"{unit!r}: cannot go on at {unit[end:]!r}"


class _NoCodeError(ValueError):
    pass


_DEEPEST: Final = 20


def _term(unit: str, at: int, depth: int) -> int:
    if depth > _DEEPEST:
        raise _NoCodeError("too many parentheses")
    at = _component(unit, at, depth)
    while unit[at : at + 1] in {".", "/"}:
        at = _component(unit, at + 1, depth)
    return at


def _component(unit: str, at: int, depth: int) -> int:
    if unit[at : at + 1] == "(":
        at = _term(unit, at + 1, depth + 1)
        if unit[at : at + 1] != ")":
            raise _NoCodeError("a parenthesis is not closed")
        return at + 1
    if unit[at : at + 1] == "{":
        return _annotation(unit, at)
    atom = _ATOM.match(unit, at)
    number = _NUMBER.match(unit, at)
    if atom is not None:
        if not _is_atom(atom[0]):
            raise _NoCodeError(f"{atom[0]!r} is no unit that is known here")
        at = atom.end()
        exponent = _EXPONENT.match(unit, at)
        at = exponent.end() if exponent is not None else at
    elif number is not None:
        at = number.end()
    else:
        raise _NoCodeError(f"a unit is missing at {unit[at:]!r}" if at < len(unit) else "a unit is missing at the end")
    return _annotation(unit, at) if unit[at : at + 1] == "{" else at


def _annotation(unit: str, at: int) -> int:
    found = _ANNOTATION.match(unit, at)
    if found is None:
        raise _NoCodeError("a brace is not closed")
    return found.end()


def _is_atom(text: str) -> bool:
    if text in _PLAIN or text in _METRIC:
        return True
    prefixes = [prefix for prefix in _PREFIXES if text.startswith(prefix)]
    if any(text[len(prefix) :] in _METRIC for prefix in prefixes):
        return True
    return text[:2] in _PREFIXES_BINARY and text[2:] in {"By", "bit"}
