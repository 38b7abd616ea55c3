"""How well each device is heard: frames lost by the frame counter, signal margin, joins, replays. Pure.

Operational definition OD-8 (criteria.md 1.7): delivery is the distinct frame counters received over their span, within
one session; sessions end at a join. A report accounts for what was heard since the last one, so that reports add up.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.clock import Instant
from gateway.health.readings import own_reading
from wire.identity import DevEui, SourceId
from wire.reading import Frame, Kind, Quality, Quantity, Reading

STORM_JOINS: Final = 6  # joins of one device between two reports: it does not get through, and jams those that do
_MOST_DEVICES: Final = 5_000  # strangers' frames count too: memory is bounded whatever is on the air
_MOST_SAMPLES: Final = 256  # signal figures kept between two reports, per device
_NONE: Final = -1
_SEEN: Final = 16  # events that a broker may hand over again
_LATE: Final = 32  # a frame counter so far back may still come late; further back it is a replay
# What a LoRa receiver needs at 125 kHz, dB, by spreading factor (SX1276 data sheet, rev. 7, table 13, SNR limits).
SNR_FLOOR_DB: Final = {7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}


@dataclass(slots=True)
class _Device:
    """One device since the last report, and where its session stands."""

    session: str = ""
    highest: int = _NONE
    recent: set[int] = field(default_factory=set)  # counters heard close below `highest`
    behind: int = _NONE  # the last frame's counter, where it lay far below `highest`
    seen: deque[bytes] = field(default_factory=lambda: deque(maxlen=_SEEN))
    expected: int = 0
    received: int = 0
    repeated: int = 0  # the same counter on air again: an unconfirmed repeat, or a replay of the last frame
    replayed: int = 0  # a counter of long ago in the same session
    joins: int = 0
    rssi_dbm: list[int] = field(default_factory=list)
    snr_db: list[float] = field(default_factory=list)
    margin_db: list[float] = field(default_factory=list)
    spreading_factor: list[int] = field(default_factory=list)

    def going_on(self) -> _Device:
        """Return the account after this one: the same session, nothing counted yet."""
        return _Device(self.session, self.highest, self.recent, self.behind, self.seen)

    @property
    def heard_anything(self) -> bool:
        return bool(self.expected or self.received or self.repeated or self.replayed or self.joins)


class RadioHealth:
    """Listens to every frame; `report` closes the account."""

    def __init__(self) -> None:
        self._devices: dict[DevEui, _Device] = {}
        self.strangers = 0  # devices beyond the limit, not counted

    def hear(self, frame: Frame, spreading_factor: int = 0) -> None:
        """Take one frame. An event that the broker hands over again is one frame."""
        dev_eui = frame.source.dev_eui
        if dev_eui is None or frame.kind not in (Kind.UPLINK, Kind.JOIN):
            return
        device = self._device(dev_eui)
        if device is None or frame.key in device.seen:
            return
        device.seen.append(frame.key)
        if frame.kind is Kind.JOIN:
            device.joins += 1
            device.session = ""  # the next uplink begins a session, whatever address it comes from
        elif frame.link is not None and _count(device, frame.link.dev_addr, frame.link.f_cnt):
            _sample(device, frame.link.rssi_dbm, frame.link.snr_db, spreading_factor)

    def _device(self, dev_eui: DevEui) -> _Device | None:
        device = self._devices.get(dev_eui)
        if device is None:
            if len(self._devices) >= _MOST_DEVICES:
                self.strangers += 1
                return None
            device = self._devices[dev_eui] = _Device()
        return device

    def report(self, now: Instant) -> Iterator[Reading]:
        """Yield one reading for each device that was heard since the last report, and begin anew."""
        for dev_eui, device in self._devices.items():
            if device.heard_anything:
                yield _reading(dev_eui, device, now)
                self._devices[dev_eui] = _Device(
                    device.session, device.highest, device.recent, device.behind, device.seen
                )

    def storming(self) -> list[DevEui]:
        """The devices that join again and again since the last report."""
        return [dev_eui for dev_eui, device in self._devices.items() if device.joins >= STORM_JOINS]


def _count(device: _Device, session: str, f_cnt: int) -> bool:
    """Account for one counter; returns whether the frame was new."""
    if session != device.session or _goes_on_from(device.behind, f_cnt):
        # A fresh session, or a counter that was reset (ABP): what came before its first frame nobody can know.
        device.session, device.highest, device.recent, device.behind = session, f_cnt, {f_cnt}, _NONE
        device.expected += 1
        device.received += 1
        return True
    if f_cnt > device.highest:
        device.expected += f_cnt - device.highest
        device.received += 1
        device.highest = f_cnt
        device.recent = {seen for seen in device.recent if seen > f_cnt - _LATE} | {f_cnt}
        device.behind = _NONE
        return True
    if f_cnt in device.recent:
        device.repeated += 1
        return False
    if f_cnt > device.highest - _LATE:
        device.received += 1  # late: its place was counted as expected when a later one came
        device.recent.add(f_cnt)
        return True
    device.replayed += 1
    device.behind = f_cnt
    return False


def _goes_on_from(behind: int, f_cnt: int) -> bool:
    """Whether two old counters in a row rise: nobody replays like that, the device began to count anew."""
    return behind != _NONE and behind < f_cnt <= behind + _LATE


def _sample(device: _Device, rssi_dbm: int, snr_db: float, spreading_factor: int) -> None:
    if len(device.rssi_dbm) >= _MOST_SAMPLES:
        return
    device.rssi_dbm.append(rssi_dbm)
    device.snr_db.append(snr_db)
    floor = SNR_FLOOR_DB.get(spreading_factor)
    if floor is not None:
        device.margin_db.append(snr_db - floor)
        device.spreading_factor.append(spreading_factor)


def _reading(dev_eui: DevEui, device: _Device, now: Instant) -> Reading:
    lost = max(0, device.expected - device.received)
    facts: dict[str, object] = {
        "dev_addr": device.session,
        "f_cnt": device.highest,
        "expected": device.expected,
        "received": device.received,
        "repeated": device.repeated,
        "replayed": device.replayed,
        "joins": device.joins,
    }
    figures = [
        Quantity("frames_expected", "1", float(device.expected)),
        Quantity("frames_received", "1", float(device.received)),
        Quantity("frames_lost", "1", float(lost)),
        Quantity("frames_repeated", "1", float(device.repeated)),
        Quantity("frames_replayed", "1", float(device.replayed)),
        Quantity("joins", "1", float(device.joins)),
        _median("rssi", "dB[mW]", device.rssi_dbm),
        _median("snr", "dB", device.snr_db),
        _lowest("snr_margin", "dB", device.margin_db),
        _highest("spreading_factor", "1", device.spreading_factor),
    ]
    return own_reading(SourceId(f"radio:{dev_eui}"), now, facts, figures)


def _median(name: str, unit: str, samples: list[int] | list[float]) -> Quantity:
    return _figure(name, unit, round(statistics.median(samples), 2) if samples else None)


def _lowest(name: str, unit: str, samples: list[float]) -> Quantity:
    return _figure(name, unit, round(min(samples), 2) if samples else None)


def _highest(name: str, unit: str, samples: list[int]) -> Quantity:
    return _figure(name, unit, float(max(samples)) if samples else None)


def _figure(name: str, unit: str, value: float | None) -> Quantity:
    """Without a sample there is no figure: joins alone say nothing of the signal."""
    return Quantity(name, unit, value) if value is not None else Quantity(name, unit, None, Quality.INVALID)
