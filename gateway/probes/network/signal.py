"""How strong a mobile network is heard, from a modem's lines. Pure. Conversions: 3GPP TS 27.007 8.5 and 8.69,
TS 36.133 9.1, TS 38.133 10.1; vendors' lines as in the reference, domain.md 6.2.

An unknown value (99, 255, "-", -32768) and one outside its sanity range is None: never no coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.probes.network.at import fields_of, number
from wire.reading import Quality, Quantity

_RSRP: Final = (-144.0, -44.0)
_NR_RSRP: Final = (-156.0, -31.0)
_RSRQ: Final = (-43.0, -3.0)
_NR_RSRQ: Final = (-43.0, 20.0)
_SINR: Final = (-23.0, 40.0)
_RSCP: Final = (-120.0, -24.0)
_RSSI: Final = (-120.0, -20.0)

# <AcT> of +COPS (TS 27.007 7.3) as generation.
_GENERATION: Final = {0: 2, 1: 2, 3: 2, 2: 3, 4: 3, 5: 3, 6: 3, 7: 4, 8: 2, 9: 4, 10: 5, 11: 5, 12: 5, 13: 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """dBm and dB; None is not known. `nr_*` are those of a 5G cell beside or in place of the LTE one."""

    rsrp_dbm: float | None = None
    rsrq_db: float | None = None
    rssi_dbm: float | None = None
    sinr_db: float | None = None
    rscp_dbm: float | None = None
    nr_rsrp_dbm: float | None = None
    nr_rsrq_db: float | None = None
    technology: str = ""
    no_service: bool = False
    below: bool = False  # rsrp_dbm is the end of the scale: the truth lies at or under it

    def filled(self, other: Signal) -> Signal:
        """Return this one, what it does not know being taken from another."""
        missing = {
            name: getattr(other, name)
            for name in self.__dataclass_fields__
            if getattr(self, name) in (None, "", False) and getattr(other, name) not in (None, "", False)
        }
        if self.rsrp_dbm is not None:
            missing.pop("below", None)
        return replace(self, **missing)

    @property
    def known(self) -> bool:
        """Whether any figure says how strong the network is."""
        return any(one is not None for one in (self.rsrp_dbm, self.rscp_dbm, self.nr_rsrp_dbm))

    def quantities(self) -> tuple[Quantity, ...]:
        """Return what is known."""
        rows = (
            ("rsrp", "dB[mW]", self.rsrp_dbm), ("rsrq", "dB", self.rsrq_db), ("rssi", "dB[mW]", self.rssi_dbm),
            ("sinr", "dB", self.sinr_db), ("rscp", "dB[mW]", self.rscp_dbm), ("nr_rsrp", "dB[mW]", self.nr_rsrp_dbm),
            ("nr_rsrq", "dB", self.nr_rsrq_db),
        )  # fmt: skip
        return tuple(
            Quantity(
                f"mobile_{name}",
                unit,
                round(value, 1),
                Quality.BELOW_RANGE if name == "rsrp" and self.below else Quality.GOOD,
            )
            for name, unit, value in rows
            if value is not None
        )


UNKNOWN: Final = Signal()


def read_csq(lines: Sequence[str]) -> Signal:
    """Read +CSQ: rssi 0..31 is -113 + 2n dBm, 99 unknown."""
    rssi = _value(_last(lines), 0)
    return Signal(rssi_dbm=-113.0 + 2 * rssi) if rssi is not None and 0 <= rssi <= 31 else UNKNOWN


def read_cesq(lines: Sequence[str]) -> Signal:
    """Read +CESQ: indexes of 1 dB or half a dB; what is given is the upper edge of the step."""
    values = _last(lines)
    rscp, rsrq, rsrp = _index(values, 2, 96), _index(values, 4, 34), _index(values, 5, 97)
    nr_rsrq, nr_rsrp = _index(values, 6, 126), _index(values, 7, 126)
    return Signal(
        rscp_dbm=None if rscp is None else -120.0 + rscp,
        rsrq_db=None if rsrq is None else -19.5 + rsrq / 2,
        rsrp_dbm=None if rsrp is None else -140.0 + rsrp,
        below=rsrp == 0,
        nr_rsrq_db=None if nr_rsrq is None else -43.0 + nr_rsrq / 2,
        nr_rsrp_dbm=None if nr_rsrp is None else -156.0 + nr_rsrp,
    )


def read_qeng(lines: Sequence[str], *, sinr: str = "") -> Signal:
    """Read Quectel's +QENG: "servingcell": one line, or with EN-DC one for the state and one for each cell.

    `sinr` is how this model writes it ("db", or "fifths": x/5 - 20); "" leaves it out, because models differ.
    """
    found = UNKNOWN
    for line in lines:
        values = fields_of(line)
        state = values[1] if values[:1] == ["servingcell"] and len(values) > 1 else ""
        if state == "SEARCH":
            found = replace(found, no_service=True)
        cell = values[2:] if state else values
        match cell[:1]:
            case ["LTE"]:
                found = replace(
                    found,
                    rsrp_dbm=_sane(_value(cell, 11), _RSRP),
                    rsrq_db=_sane(_value(cell, 12), _RSRQ),
                    rssi_dbm=_sane(_value(cell, 13), _RSSI),
                    sinr_db=_sinr(_value(cell, 14), sinr),
                    technology=found.technology or "LTE",
                )
            case ["NR5G-NSA"]:
                nr_rsrp, nr_rsrq = _sane(_value(cell, 4), _NR_RSRP), _sane(_value(cell, 6), _NR_RSRQ)
                technology = "NR5G-NSA" if nr_rsrp is not None else found.technology
                found = replace(found, nr_rsrp_dbm=nr_rsrp, nr_rsrq_db=nr_rsrq, technology=technology)
            case ["NR5G-SA"]:
                nr_rsrp, nr_rsrq = _sane(_value(cell, 10), _NR_RSRP), _sane(_value(cell, 11), _NR_RSRQ)
                found = replace(found, nr_rsrp_dbm=nr_rsrp, nr_rsrq_db=nr_rsrq, technology="NR5G-SA")
            case ["WCDMA"]:
                found = replace(found, rscp_dbm=_sane(_value(cell, 8), _RSCP), technology="WCDMA")
            case ["GSM"]:
                found = replace(found, technology="GSM")
    return found


def read_cpsi(lines: Sequence[str], model: str, *, sinr: str = "") -> Signal:
    """Read SIMCom's +CPSI. SIM7600 writes tenths, some A76xx write indexes; which it is, model and range must agree on.

    The sinr is that of the last field; no reference says its scale, so it needs `sinr`.
    """
    values = _last(lines)
    system = values[0] if values else ""
    if system.upper() in ("NO SERVICE", "NOSERVICE"):
        return Signal(no_service=True)
    if not system.startswith("LTE"):
        return Signal(technology=system[:16]) if system in ("WCDMA", "GSM", "TDS", "NR5G-SA", "NR5G-NSA") else UNKNOWN
    raw = [_value(values, at) for at in (10, 11, 12, 13)]
    if len(values) < 14:
        return Signal(technology="LTE")
    rsrq, rsrp, rssi = _scaled(raw[0], raw[1], raw[2], model)
    return Signal(rsrp_dbm=rsrp, rsrq_db=rsrq, rssi_dbm=rssi, sinr_db=_sinr(raw[3], sinr), technology="LTE")


def generation_of(act: int | None) -> int | None:
    """Return the generation, 2 to 5, of an access technology's number; None for one that is not known."""
    return None if act is None else _GENERATION.get(act)


def _scaled(
    rsrq: float | None, rsrp: float | None, rssi: float | None, model: str
) -> tuple[float | None, float | None, float | None]:
    """Find the scale by the RSRP: tenths, whole dB and indexes have ranges that do not meet."""
    indexes_allowed = not model.upper().replace("SIMCOM_", "").startswith(("SIM7500", "SIM7600"))
    if rsrp is None:
        return None, None, None
    if _RSRP[0] * 10 <= rsrp <= _RSRP[1] * 10:
        return _tenth(rsrq, _RSRQ), _sane(rsrp / 10, _RSRP), _tenth(rssi, _RSSI)
    if _RSRP[0] <= rsrp <= _RSRP[1]:
        return _sane(rsrq, _RSRQ), rsrp, _sane(rssi, _RSSI)
    if indexes_allowed and 0 <= rsrp <= 97:
        index = rsrq if rsrq is not None and 0 <= rsrq <= 34 else None
        return None if index is None else -19.5 + index / 2, -140.0 + rsrp, None
    return None, None, None


def _tenth(value: float | None, bounds: tuple[float, float]) -> float | None:
    return None if value is None else _sane(value / 10, bounds)


def _sinr(value: float | None, scale: str) -> float | None:
    if value is None or not scale:
        return None
    return _sane(value / 5 - 20 if scale == "fifths" else value, _SINR)


def _sane(value: float | None, bounds: tuple[float, float]) -> float | None:
    return value if value is not None and bounds[0] <= value <= bounds[1] else None


def _last(lines: Sequence[str]) -> list[str]:
    return fields_of(lines[-1]) if lines else []


def _value(values: Sequence[str], at: int) -> float | None:
    return number(values[at]) if at < len(values) else None


def _index(values: Sequence[str], at: int, most: int) -> int | None:
    value = number(values[at]) if at < len(values) else None
    return value if value is not None and 0 <= value <= most else None
