"""What each source has sent so far: frames, those that were not decoded, the first and the last time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw
import msgspec

from gateway.spool.views import Heard
from wire.reading import Kind, Reading

ALL: Final = "SELECT source, frames, undecoded, last_reason, first_at_ms, last_at_ms FROM heard ORDER BY source"

_TALLY = """
INSERT INTO heard
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?) WHERE true
ON CONFLICT (source) DO UPDATE SET
    frames = frames + excluded.frames,
    undecoded = undecoded + excluded.undecoded,
    last_reason = CASE WHEN excluded.last_reason = '' THEN last_reason ELSE excluded.last_reason END,
    last_at_ms = max(last_at_ms, excluded.last_at_ms)
"""


def count(db: apsw.Connection, readings: Sequence[Reading]) -> None:
    """Add readings to the tallies, in the caller's transaction."""
    db.execute(_TALLY, (msgspec.json.encode(_tallies(readings)).decode(),))


def told(rows: Iterable[tuple[Any, ...]]) -> list[Heard]:
    """Return the rows of `ALL` as what they mean."""
    return [Heard(**dict(zip(Heard.__struct_fields__, row, strict=True))) for row in rows]


def _tallies(readings: Sequence[Reading]) -> list[tuple[Any, ...]]:
    """Sum a pack per source: one upsert each instead of one per frame."""
    packs: dict[str, list[Reading]] = {}
    for reading in readings:
        packs.setdefault(reading.frame.source, []).append(reading)
    return [_tally(source, pack) for source, pack in packs.items()]


def _tally(source: str, pack: list[Reading]) -> tuple[Any, ...]:
    reasons = [str(reading.undecoded) for reading in pack if reading.undecoded]
    times = [reading.frame.received_at_ms for reading in pack]
    frames = sum(reading.frame.kind is not Kind.HISTORY for reading in pack)
    return (str(source), frames, len(reasons), reasons[-1] if reasons else "", min(times), max(times))
