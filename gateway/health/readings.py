"""What the gateway measures itself, as readings: the facts as JSON are the raw frame, the figures its quantities."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from gateway.clock import Instant
from wire.identity import SourceId
from wire.reading import Frame, Kind, Quantity, Reading

_KEY_BYTES = 16


def own_reading(source: SourceId, now: Instant, facts: Mapping[str, object], figures: Sequence[Quantity]) -> Reading:
    """Return a reading of the gateway's own: what was found out at `now`, with the figures derived from it."""
    raw = msgspec.json.encode(facts)
    identity = f"{source}\n{now.boot}\n{now.monotonic_ms}\n".encode() + raw
    frame = Frame(
        source=source,
        kind=Kind.PROBE,
        key=hashlib.blake2b(identity, digest_size=_KEY_BYTES).digest(),
        observed_at_ms=now.wall_ms,
        received_at_ms=now.wall_ms,
        monotonic_ms=now.monotonic_ms,
        boot=now.boot,
        clock=now.state,
        raw=raw,
    )
    return Reading(frame, quantities=tuple(figures))
