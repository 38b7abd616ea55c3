"""What the spool says of itself: where it stands, how full it is, whom it has heard."""

from __future__ import annotations

import msgspec

from wire.batch import Event
from wire.identity import Epoch
from wire.reading import Reading


class Position(msgspec.Struct, frozen=True):
    """Where the chain and the delivery stand."""

    epoch: Epoch
    last_seq: int
    last_hash: bytes
    window_to_ms: int
    through: int
    incarnation: int


class Older(msgspec.Struct, frozen=True):
    """An epoch before this one, whose salvaged batches are still here."""

    epoch: Epoch
    last_seq: int
    through: int
    incarnation: int


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """How full the spool is. `oldest_unsent_ms` is when the first batch that the hub has not confirmed was sealed."""

    unsealed: int
    unconfirmed: int
    unconfirmed_readings: int
    kept: int
    oldest_unsent_ms: int | None
    bytes_used: int
    bytes_on_disk: int


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One source's tally."""

    source: str
    frames: int
    undecoded: int
    last_reason: str
    first_at_ms: int
    last_at_ms: int


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The head of the queue: readings of one boot and clock state that go into the next batch, and pending events."""

    last_id: int
    readings: list[Reading]
    events: list[Event]
