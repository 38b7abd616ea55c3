"""What the hub says of a batch that it will not store: why, and which bytes are meant. It frees nothing."""

from __future__ import annotations

import enum
import hashlib
from typing import Annotated

import msgspec

from wire import dsse
from wire.identity import GatewayId, from_plain, to_plain
from wire.keys import SigningKey, Verifier

REFUSAL_TYPE = "application/vnd.xom.refusal.v1+json"
MOST_REFUSED = 64  # one message names at most so many; the rest are told when they come again
MAX_REFUSAL_BYTES = 16 * 1024


class RefusalError(ValueError):
    """A message that is no refusal of our hub."""


class Reason(enum.StrEnum):
    """Why a batch is not stored. The words travel: never rename one."""

    BAD_SIGNATURE = "bad_signature"
    CONFLICT = "conflict"  # another content holds its number; the hub keeps this one as evidence
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNKNOWN_VERSION = "unknown_version"  # sealed by a newer gateway than this hub can read
    WRONG_TOPIC = "wrong_topic"


class Refused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One envelope, by the SHA-256 (hex) of the bytes that arrived."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
    reason: Reason


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Batches that came from `gateway` and were not stored (decision 010)."""

    gateway: GatewayId
    refused: tuple[Refused, ...]


def refused(envelope: bytes, reason: Reason) -> Refused:
    """Name an envelope as it arrived."""
    return Refused(hashlib.sha256(envelope).hexdigest(), reason)


def seal_refusal(refusal: Refusal, key: SigningKey) -> bytes:
    """Return the signed wire form."""
    return dsse.sign(REFUSAL_TYPE, _encoder.encode(refusal), key).encode()


def open_refusal(data: bytes, gateway: GatewayId, verifier: Verifier) -> Refusal:
    """Return a refusal that the hub signed for this gateway; raises RefusalError."""
    if len(data) > MAX_REFUSAL_BYTES:
        raise RefusalError(f"{len(data)} bytes; a refusal has at most {MAX_REFUSAL_BYTES}")
    try:
        refusal = _decoder.decode(dsse.open_envelope(data, REFUSAL_TYPE, verifier))
    except (dsse.EnvelopeError, msgspec.MsgspecError, ValueError) as error:
        raise RefusalError(f"not a refusal of our hub: {error}") from error
    if refusal.gateway != gateway:
        raise RefusalError(f"it is meant for {refusal.gateway}, not for {gateway}")
    return refusal


_encoder = msgspec.json.Encoder(enc_hook=to_plain)
_decoder = msgspec.json.Decoder(Refusal, dec_hook=from_plain)
