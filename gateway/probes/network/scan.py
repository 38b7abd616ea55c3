"""What `iw` prints of networks around us and of the one we are in. Pure.

Its text is not promised to be stable: what is not recognised is left out, never guessed.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_MOST_CELLS: Final = 256
_MOST_RADIOS: Final = 16
_CELL: Final = re.compile(r"BSS ([0-9a-f]{2}(?::[0-9a-f]{2}){5})\b")
_SIGNAL: Final = re.compile(r"signal:\s*(-?[0-9]{1,3}(?:\.[0-9]+)?) dBm")
_LINK_SIGNAL: Final = re.compile(r"signal:\s*(-?[0-9]{1,3})\b")
_SUITES: Final = re.compile(r"\* Authentication suites: (.*)")


class Security(enum.Enum):
    """What a guest needs to come in. Numbers travel as the figure wifi_security: never reuse one."""

    OPEN = 0
    OWE = 1
    PSK = 2
    ENTERPRISE = 3
    WEP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One access point as it is heard. `signal_dbm` None where only a share of 100 is told."""

    bssid: str
    ssid: str
    security: Security
    signal_dbm: float | None = None
    strength_percent: float | None = None
    sae_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """The network that a radio is in."""

    bssid: str
    ssid: str
    signal_dbm: float | None
    sent_packets: int | None = None
    failed_packets: int | None = None


def read_scan(text: str) -> list[Cell]:
    """Read `iw dev <radio> scan`."""
    pieces = re.split(r"(?m)^(?=BSS [0-9a-f]{2}:)", text)
    return [cell for piece in pieces[: _MOST_CELLS + 1] if (cell := _cell(piece)) is not None]


def read_radios(text: str) -> list[tuple[str, str]]:
    """Read `iw dev`: each interface and its type, "managed" for a client, "AP" for an access point."""
    pieces = re.split(r"(?m)^\s*(?=Interface )", text)
    found = []
    for piece in pieces[: _MOST_RADIOS + 1]:
        name, kind = (
            re.match(r"Interface (\S{1,15})$", piece, re.MULTILINE),
            re.search(r"(?m)^\s*type (.{1,30})$", piece),
        )
        if name is not None:
            found.append((name[1], kind[1].strip() if kind else ""))
    return found


def read_link(text: str) -> Association | None:
    """Read `iw dev <radio> link`; None for "Not connected."."""
    found = re.search(r"Connected to ([0-9a-f:]{17})", text)
    ssid = re.search(r"(?m)^\s*SSID: (.*)$", text)
    if found is None or ssid is None:
        return None
    signal = _LINK_SIGNAL.search(text)
    return Association(bssid=found[1], ssid=unescape(ssid[1]), signal_dbm=_dbm(signal[1]) if signal else None)


def read_station(text: str) -> tuple[int, int] | None:
    """Read `iw dev <radio> station dump` of a client: packets sent, and how many of them failed; None without them."""
    sent, failed = re.search(r"tx packets:\s*([0-9]{1,18})\b", text), re.search(r"tx failed:\s*([0-9]{1,18})\b", text)
    return (int(sent[1]), int(failed[1])) if sent and failed else None


def strongest(cells: Iterable[Cell], ssid: str) -> Cell | None:
    """Return the best heard cell of a network."""
    own = [cell for cell in cells if cell.ssid == ssid]
    return max(own, key=lambda one: (one.signal_dbm or -200.0, one.strength_percent or 0.0)) if own else None


def unescape(text: str) -> str:
    """Return an ssid as it is: iw writes bytes outside ASCII as \\xNN, Vietnamese names among them."""
    raw = re.sub(rb"\\x([0-9a-fA-F]{2})", lambda found: bytes([int(found[1], 16)]), text.encode("utf-8"))
    return raw.decode("utf-8", "replace")


def security_of(suites: str, *, protected: bool) -> Security:
    """Return what the authentication suites of an RSN or WPA element ask for; without any, privacy means WEP."""
    if "802.1X" in suites or "FILS" in suites:
        return Security.ENTERPRISE
    if "OWE" in suites:
        return Security.OWE
    if "PSK" in suites or "SAE" in suites:
        return Security.PSK
    return Security.WEP if protected else Security.OPEN


def _cell(piece: str) -> Cell | None:
    head, ssid = _CELL.match(piece), re.search(r"(?m)^\s*SSID: (.*)$", piece)
    if head is None or ssid is None:
        return None
    signal = _SIGNAL.search(piece)
    suites = " ".join(_SUITES.findall(piece))
    capability = re.search(r"(?m)^\s*capability: (.*)$", piece)
    return Cell(
        bssid=head[1],
        ssid=unescape(ssid[1]),
        security=security_of(suites, protected=bool(capability and "Privacy" in capability[1])),
        signal_dbm=_dbm(signal[1]) if signal else None,
        sae_only="SAE" in suites and "PSK" not in suites,
    )


def _dbm(text: str) -> float | None:
    value = float(text)
    return value if -120.0 <= value < 0.0 else None
