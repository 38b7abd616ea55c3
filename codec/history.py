"""Records from a device's memory: what makes one the same sample as another, and the frame that it travels as. Pure.

A device that stores its samples sends them again, as records with its own time, when the network is back or when it is
asked. The same sample may so come live and stored, or stored twice; the hub is to have it once. Decision 012.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from codec.profiles import DeviceProfile
from codec.quantities import Past
from wire.reading import Frame, Kind, Quantity

KEY_BYTES: Final = 16
# Two times of one device's clock: the same second, or it is another record.
_SAME_RECORD_MS: Final = 999

_encode = msgspec.msgpack.Encoder().encode


class Known(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A sample that has been kept: its key, when it was taken, what was measured, whether it came from memory."""

    key: bytes
    observed_at_ms: int
    values: dict[str, float]
    stored: bool


class HistoryRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far a stored record may lie from the live sample that it repeats: in time, ms, and by property in value."""

    tolerance_ms: int
    resolution: dict[str, float]


def history_rule(profile: DeviceProfile, interval_s: float | None = None) -> HistoryRule | None:
    """The rule of a device, with its own interval where it differs; None for one that sends no records."""
    if not profile.history:
        return None
    half_interval_s = (profile.interval_s if interval_s is None else interval_s) / 2
    tolerance_s = half_interval_s if profile.history_tolerance_s is None else profile.history_tolerance_s
    resolution: dict[str, float] = {}
    for rule in profile.overlay.quantities:
        resolution[rule.name] = max(resolution.get(rule.name, 0.0), rule.resolution or 0.0)
    return HistoryRule(tolerance_ms=round(tolerance_s * 1000), resolution=resolution)


def past_frame(frame: Frame, past: Past) -> Frame:
    """The frame that a record travels as: nothing raw (its uplink has that), no radio, the device's time.

    Its key is a hash of source, second and content: a record that is sent again is known by it.
    """
    return msgspec.structs.replace(
        frame,
        kind=Kind.HISTORY,
        key=_key(frame, past),
        observed_at_ms=past.observed_at_ms,
        raw=b"",
        link=None,
    )


def known(key: bytes, observed_at_ms: int, quantities: Sequence[Quantity], *, stored: bool) -> Known:
    """What to remember of a sample that is kept."""
    return Known(key, observed_at_ms, {q.name: q.value for q in quantities if q.value is not None}, stored)


def repeats(record: Known, others: Sequence[Known], rule: HistoryRule) -> bool:
    """Whether a stored record is a sample that has already been kept.

    The record itself, redelivered, is none: its key says so, and the spool knows keys. A live sample is the same where
    time and every property that both have agree; another stored record must agree to the second.
    """
    if any(other.key == record.key for other in others):
        return False
    return any(_same(record, other, rule) for other in others)


def reach_ms(rule: HistoryRule) -> int:
    """How far from a record's time a sample may lie that has to be compared with it."""
    return max(rule.tolerance_ms, _SAME_RECORD_MS)


def _same(record: Known, other: Known, rule: HistoryRule) -> bool:
    apart_ms = abs(record.observed_at_ms - other.observed_at_ms)
    if apart_ms > (_SAME_RECORD_MS if other.stored else rule.tolerance_ms):
        return False
    return _agree(record.values, other.values, rule.resolution)


def _agree(left: Mapping[str, float], right: Mapping[str, float], resolution: Mapping[str, float]) -> bool:
    shared = left.keys() & right.keys()
    if not shared:
        return not left and not right  # two failed samples of one time
    return all(abs(left[name] - right[name]) <= resolution.get(name, 0.0) * 1.000001 for name in shared)


def _key(frame: Frame, past: Past) -> bytes:
    content = _encode((str(frame.source), past.observed_at_ms // 1000, past.quantities))
    return hashlib.blake2b(b"history\n" + content, digest_size=KEY_BYTES).digest()
