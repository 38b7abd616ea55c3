"""The air between a device and its concentrators: who hears it, how loud, at which data rate. AS923-2, 125
kHz LoRa.

Distances are kilometres, levels dBm and dB. Path loss is a log-distance model for flat delta land, chosen,
not measured.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

NOISE_FLOOR_DBM: Final = -117  # thermal noise in 125 kHz plus 6 dB of receiver noise figure
# Demodulation limit (dB) by spreading factor: Semtech SX1276 datasheet, table 13.
SNR_LIMIT_DB: Final = {7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
# Largest application payload (bytes) under the 400 ms dwell time, by data rate (domain.md 4.1); DR5 is SF7.
DWELL_PAYLOAD: Final = {5: 242, 4: 125, 3: 53, 2: 11}
# The usual eight channels in 920-923 MHz (domain.md 4.1), Hz.
CHANNELS_HZ: Final = tuple(921_400_000 + 200_000 * index for index in (0, 1, 2, 3, 4, 5, 6, 7))
_MARGIN_DB: Final = 5.0  # installation margin of ChirpStack's ADR algorithm, halved for a flat river
_MOST_CONCENTRATORS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A point in WGS84 degrees."""

    latitude: float
    longitude: float

    def km_to(self, other: Position) -> float:
        """Distance on a flat earth, good to a part in a thousand within a commune (km)."""
        north = (other.latitude - self.latitude) * 111.2
        east = (other.longitude - self.longitude) * 111.2 * math.cos(math.radians(self.latitude))
        return math.hypot(north, east)

    def moved(self, *, north_km: float, east_km: float) -> Position:
        """The point so many kilometres away, rounded to a metre."""
        east_deg = east_km / (111.2 * math.cos(math.radians(self.latitude)))
        return Position(
            latitude=round(self.latitude + north_km / 111.2, 5), longitude=round(self.longitude + east_deg, 5)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Concentrator:
    """A LoRa receiver of one of our gateways: its EUI (sixteen hex digits), position, antenna height (m)."""

    lora_gateway_id: str
    position: Position
    altitude_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The mean signal between one device and one concentrator."""

    concentrator: Concentrator
    rssi_dbm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One reception: level (dBm), signal to noise (dB, in quarters as the chip reports)."""

    concentrator: Concentrator
    rssi: int
    snr: float


def mean_rssi_dbm(km: float) -> float:
    """Mean level at a distance: 14 dBm sent, -104 dBm at 1 km, exponent 2.8."""
    return -104.0 - 28.0 * math.log10(max(km, 0.02))


def links(position: Position, concentrators: tuple[Concentrator, ...], *, shade_db: float) -> tuple[Link, ...]:
    """The device's links, best first; `shade_db` is what trees and walls around the device take."""
    found = [Link(concentrator=c, rssi_dbm=mean_rssi_dbm(position.km_to(c.position)) - shade_db) for c in concentrators]
    return tuple(sorted(found, key=lambda link: -link.rssi_dbm))


def data_rate(best: Link, payload_bytes: int) -> int:
    """The data rate ADR settles on: the fastest the best link carries with margin and the payload fits."""
    snr = best.rssi_dbm - NOISE_FLOOR_DBM
    carried = [dr for dr in DWELL_PAYLOAD if snr - _MARGIN_DB >= SNR_LIMIT_DB[12 - dr]]
    fits = min(dr for dr, room in DWELL_PAYLOAD.items() if room >= payload_bytes)
    return max([fits, *carried])


def hear(found: tuple[Link, ...], spreading_factor: int, rng: random.Random) -> tuple[Heard, ...]:
    """Receptions of one frame by one to three concentrators, best link first.

    The best link always hears: frames that nobody hears are decided by `Faults.loss`, not by chance in here.
    """
    limit = SNR_LIMIT_DB[spreading_factor]
    heard = [_reception(link, rng) for link in found[:_MOST_CONCENTRATORS]]
    return (heard[0], *(h for h in heard[1:] if h.snr >= limit))


def _reception(link: Link, rng: random.Random) -> Heard:
    rssi = round(link.rssi_dbm + rng.gauss(0.0, 3.0))
    snr = min(rssi - NOISE_FLOOR_DBM + rng.gauss(0.0, 1.0), 12.0)
    return Heard(concentrator=link.concentrator, rssi=rssi, snr=round(snr * 4) / 4)
