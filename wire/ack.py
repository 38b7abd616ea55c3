"""What the hub says back: the signed watermark that alone frees readings on a gateway."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Annotated

import msgspec

from wire import dsse
from wire.identity import Epoch, GatewayId, from_plain, to_plain
from wire.keys import SigningKey, Verifier

ACK_TYPE = "application/vnd.xom.ack.v1+json"
MAX_RANGES = 100  # an ack names at most this many holes; the next one names the rest
MAX_ACK_BYTES = 16 * 1024

Seq = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class AckError(ValueError):
    """An acknowledgement that must not be believed."""


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hub's log when it acknowledged: origin, number of leaves, root hash in base64 (evidence.md section 3)."""

    origin: str
    size: int
    root: str


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stored batch that an acknowledgement is bound to: its sequence, and the SHA-256 of its payload in hex."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


class Ack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The hub has committed every batch of `epoch` up to `highest`, except those in `missing`.

    `through` is the watermark: no unaccounted hole lies at or below it, and no broken link was passed. `anchor` is the
    highest stored batch there, None when none is. `broken` is the batch after `through` when it is stored and follows
    another predecessor than the stored one, else 0. `missing` are inclusive ranges between `through` and `highest`,
    which is the highest sequence stored or accounted for, or the last one before the holes that are too many to name.
    `incarnation` (ms UTC when this life of the hub began) rises when the hub is restored from a backup: only then may
    `through` be lower than before. Decisions 007 and 010.
    """

    gateway: GatewayId
    incarnation: Seq
    epoch: Epoch
    through: Seq
    highest: Seq
    missing: tuple[tuple[Seq, Seq], ...] = ()
    anchor: Anchor | None = None
    broken: Seq = 0
    checkpoint: Checkpoint | None = None


def seal_ack(ack: Ack, key: SigningKey) -> bytes:
    """Return the signed wire form."""
    return dsse.sign(ACK_TYPE, _encoder.encode(ack), key).encode()


def open_ack(data: bytes, gateway: GatewayId, verifier: Verifier) -> Ack:
    """Return an acknowledgement that the hub signed for this gateway; raises AckError."""
    if len(data) > MAX_ACK_BYTES:
        raise AckError(f"{len(data)} bytes; an acknowledgement has at most {MAX_ACK_BYTES}")
    try:
        ack = _decoder.decode(dsse.open_envelope(data, ACK_TYPE, verifier))
    except (dsse.EnvelopeError, msgspec.MsgspecError, ValueError) as error:
        raise AckError(f"not an acknowledgement of our hub: {error}") from error
    if ack.gateway != gateway:
        raise AckError(f"it is meant for {ack.gateway}, not for {gateway}")
    below = ack.through
    for first, last in (*ack.missing, (ack.highest, ack.highest)):
        if not (below < first <= last or below == first == ack.highest):
            raise AckError(f"its ranges do not rise from {ack.through} to {ack.highest}")
        below = last
    if ack.anchor is not None and ack.anchor.seq > ack.through:
        raise AckError(f"its anchor {ack.anchor.seq} lies above its watermark {ack.through}")
    if ack.broken and not ack.through < ack.broken <= ack.highest:
        raise AckError(f"its broken link {ack.broken} does not lie between {ack.through} and {ack.highest}")
    return ack


def holes(
    through: int, stored_above: Sequence[int], accounted: Sequence[tuple[int, int]] = ()
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return what an acknowledgement says beside `through`: the missing ranges, lowest first, and `highest`.

    `stored_above` are the stored sequences above `through`, `accounted` the inclusive ranges that a gateway has
    declared lost (decision 010); both ascending. What is accounted for is asked for no more.
    """
    ranges: list[tuple[int, int]] = []
    highest = through
    stored = ((seq, seq) for seq in stored_above)
    for first, last in heapq.merge(stored, accounted) if accounted else stored:
        if first > highest + 1:
            if len(ranges) == MAX_RANGES:
                break
            ranges.append((highest + 1, first - 1))
        highest = max(highest, last)
    return tuple(ranges), highest


_encoder = msgspec.json.Encoder(enc_hook=to_plain)
_decoder = msgspec.json.Decoder(Ack, dec_hook=from_plain)
