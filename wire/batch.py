"""A batch: readings sealed, signed, sent and acknowledged together; one sequence number of its epoch.

The body is MessagePack in columns, deflated with a preset dictionary, then signed as DSSE with the compressed bytes as
payload. Decision 003 has the measured table behind this choice. Batches of one epoch form a hash chain: `prev` is the
SHA-256 of the previous payload, and of the enrolment record for the first.
"""

from __future__ import annotations

import enum
import hashlib
import operator
import zlib
from collections.abc import Sequence
from typing import Annotated

import msgspec

from wire import columns, dsse
from wire.columns import Column, Columns, ColumnsError, column, spread
from wire.dictionary import BATCH_DICTIONARY
from wire.identity import Epoch, GatewayId, IdentityError, SourceId, to_plain
from wire.keys import PublicKey, SigningKey, Verifier
from wire.reading import ClockState, Reading

BATCH_TYPE = "application/vnd.xom.batch.v1"
VERSION = 1
MAX_ENVELOPE_BYTES = 255 * 1024  # with topic and header it fits a broker's packet limit of 256 KiB
MAX_BODY_BYTES = 4 * 1024 * 1024  # a decompressed body; deflate reaches 1:1032, so this is a bomb's cap
MAX_READINGS = 5_000
_LATEST_MS = 4_102_444_800_000  # 2100-01-01: beyond it a time is a fault, not a date
HASH_BYTES = 32
GAP = "gap"  # the event that carries a Gap

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=_LATEST_MS)]


class BatchError(ValueError):
    """Bytes that are not a batch: `reason` is a word for counters, the message names cause and place."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the gateway knew of its clock: who set it, the estimated error, when it was last set (ms UTC, 0 never)."""

    state: ClockState
    error_ms: int | None = None
    synced_at_ms: Milliseconds = 0


class Due(msgspec.Struct, frozen=True, gc=False):
    """What one source owed in the window: samples expected, received, and missed with the reason where one is known."""

    source: SourceId
    expected: int
    received: int
    missed: int = 0
    reason: str = ""


class DueColumns(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """Dues as they travel. A source that has readings in this batch is the index of its first stream."""

    source: list[int | str]
    expected: Column
    received: Column
    missed: Column
    reason: list[tuple[int, str]]


class Software(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ran: version, hash over the codecs and quantities in use, hash of the configuration."""

    version: str
    codecs: str = ""
    config: str = ""


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest hub checkpoint that the gateway has verified: it brackets the sealing time from below."""

    origin: str
    size: int
    root: str


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happened to the gateway itself: `start`, `gap`, `clock_step`, `new_epoch`, `codec_disabled`."""

    at_ms: int
    name: str
    detail: str = ""


class Cause(enum.StrEnum):
    """Why something is missing."""

    EVICTED = "evicted"  # the spool was full, and this was the oldest routine batch
    DAMAGED = "damaged"  # the card gave other bytes back, or none
    EXPIRED = "expired"  # a hub had confirmed it, and it went behind the retention floor


class Gap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is missing and why, as an event's detail (JSON): batches `first` to `last` of an epoch.

    `readings` is how many they held; None: that is lost too. `first` 0: readings that no batch held yet.
    `certain` False: they may be missing; what arrives all the same was not.
    """

    epoch: str
    cause: Cause
    first: int = 0
    last: int = 0
    readings: int | None = None
    from_ms: int = 0
    to_ms: int = 0
    certain: bool = True

    def event(self, at_ms: int) -> Event:
        """Return the event that carries it."""
        return Event(at_ms, GAP, msgspec.json.encode(self).decode())

    @staticmethod
    def of(event: Event) -> Gap:
        """Return what an event of this name says; raises BatchError."""
        try:
            return msgspec.json.decode(event.detail, type=Gap)
        except msgspec.MsgspecError as error:
            raise BatchError("malformed", f"the event is no gap record: {error}") from error


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_ms": "from", "to_ms": "to"}):
    """What is signed. The window is half-open: it accounts for [from, to); an empty batch proves silence."""

    v: int
    gw: str
    epoch: bytes
    seq: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    prev: bytes
    from_ms: Milliseconds
    to_ms: Milliseconds
    boot: str
    clock: Clock
    sw: Software
    due: DueColumns
    r: Columns
    ev: list[Event] = []
    seen: Seen | None = None


class Batch(msgspec.Struct, frozen=True):
    """A batch as both sides hold it: the checked body and the exact bytes that were signed."""

    gateway: GatewayId
    epoch: Epoch
    seq: int
    body: Body
    payload: bytes
    payload_sha256: bytes

    @property
    def columns(self) -> Columns:
        """The readings as they travel."""
        return self.body.r

    def due(self) -> list[Due]:
        """What each source owed in the window."""
        return _unfold_due(self.body)

    def readings(self) -> list[Reading]:
        """Unfold the readings, equal to the sealed ones but for the frames' keys, which do not travel."""
        return columns.to_readings(self.body.r, boot=self.body.boot, clock=self.body.clock.state)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a batch says before it is signed. `readings` share one boot and one clock state."""

    gateway: GatewayId
    epoch: Epoch
    seq: int
    prev: bytes
    from_ms: int
    to_ms: int
    boot: str
    clock: Clock
    software: Software
    readings: Sequence[Reading]
    due: Sequence[Due] = ()
    events: Sequence[Event] = ()
    seen: Seen | None = None


class Sealed(msgspec.Struct, frozen=True):
    """A signed batch: its bytes never change. The next one's `prev` is `payload_sha256`."""

    seq: int
    envelope: bytes
    payload_sha256: bytes


def genesis(gateway: GatewayId, epoch: Epoch, key: PublicKey) -> bytes:
    """Return what the first batch's `prev` must be: SHA-256 of the enrolment record (evidence.md section 2)."""
    record = f"xom enrolment v1\n{gateway}\n{epoch}\n{key.algorithm}\n{key.encoded.hex()}\n"
    return hashlib.sha256(record.encode()).digest()


def seal(draft: Draft, key: SigningKey, largest: int = MAX_ENVELOPE_BYTES) -> Sealed:
    """Turn a draft into signed bytes; raises BatchError("too_large") when a broker or the hub would refuse them.

    `largest` is what the broker at hand takes, in bytes.
    """
    if len(draft.readings) > MAX_READINGS:
        raise BatchError("too_large", f"{len(draft.readings)} readings; a batch holds at most {MAX_READINGS}")
    body = _body_encoder.encode(_body(draft))
    if len(body) > MAX_BODY_BYTES:  # the hub's cap against bombs: what it must refuse is never sealed
        raise BatchError("too_large", f"a body of {len(body)} bytes; a batch's has at most {MAX_BODY_BYTES}")
    payload = compress(body)
    envelope = dsse.sign(BATCH_TYPE, payload, key).encode()
    if len(envelope) > min(largest, MAX_ENVELOPE_BYTES):
        raise BatchError(
            "too_large", f"{len(envelope)} bytes; at most {min(largest, MAX_ENVELOPE_BYTES)} go in a batch"
        )
    return Sealed(draft.seq, envelope, hashlib.sha256(payload).digest())


def _body(draft: Draft) -> Body:
    folded = columns.from_readings(draft.readings)
    return Body(
        v=VERSION,
        gw=draft.gateway,
        epoch=bytes.fromhex(draft.epoch),
        seq=draft.seq,
        prev=draft.prev,
        from_ms=draft.from_ms,
        to_ms=draft.to_ms,
        boot=draft.boot,
        clock=draft.clock,
        sw=draft.software,
        due=_fold_due(draft.due, folded),
        r=folded,
        ev=list(draft.events),
        seen=draft.seen,
    )


def _fold_due(dues: Sequence[Due], folded: Columns) -> DueColumns:
    first_stream = {stream.source_id: at for at, stream in reversed(list(enumerate(folded.streams)))}
    return DueColumns(
        source=[first_stream.get(due.source, due.source) for due in dues],
        expected=column([due.expected for due in dues]),
        received=column([due.received for due in dues]),
        missed=column([due.missed for due in dues]),
        reason=[(at, due.reason) for at, due in enumerate(dues) if due.reason],
    )


def _unfold_due(body: Body) -> list[Due]:
    due, n = body.due, len(body.due.source)
    reasons = dict(due.reason)
    rows = zip(due.source, spread(due.expected, n), spread(due.received, n), spread(due.missed, n), strict=True)
    return [
        Due(_due_source(source, body.r), expected, received, missed, reasons.get(at, ""))
        for at, (source, expected, received, missed) in enumerate(rows)
    ]


def _due_source(source: int | str, folded: Columns) -> SourceId:
    if isinstance(source, str):
        return SourceId.parse(source)
    if not 0 <= source < len(folded.streams):
        raise ColumnsError(f"due: stream {source} does not exist")
    return folded.streams[source].source_id


def open_batch(data: bytes, verifier: Verifier) -> Batch:
    """Verify, decompress under a cap, parse and check a batch; raises BatchError.

    The order matters: nothing is decompressed or parsed before the signature has been verified.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise BatchError("too_large", f"{len(data)} bytes; a batch has at most {MAX_ENVELOPE_BYTES}")
    try:
        payload = dsse.open_envelope(data, BATCH_TYPE, verifier)
    except dsse.EnvelopeError as error:
        raise BatchError("bad_signature", str(error)) from error
    return parse_payload(payload)


def parse_payload(payload: bytes) -> Batch:
    """Parse and check a payload whose signature has been verified; raises BatchError."""
    try:
        body = _body_decoder.decode(decompress(payload))
        gateway, epoch = GatewayId.parse(body.gw), Epoch.parse(body.epoch.hex())
        _check(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, IdentityError, ColumnsError) as error:
        raise BatchError("malformed", f"the body is not a batch: {error}") from error
    return Batch(gateway, epoch, body.seq, body, payload, hashlib.sha256(payload).digest())


def _check(body: Body) -> None:
    if body.v != VERSION:
        raise BatchError("unknown_version", f"body version {body.v}; this hub reads {VERSION}")
    if len(body.prev) != HASH_BYTES:
        raise ColumnsError(f"prev has {len(body.prev)} bytes, a SHA-256 has {HASH_BYTES}")
    if body.from_ms > body.to_ms:
        raise ColumnsError(f"the window ends ({body.to_ms}) before it starts ({body.from_ms})")
    if body.r.n < 0:
        raise ColumnsError(f"{body.r.n} readings")
    if body.r.n > MAX_READINGS:
        raise BatchError("too_large", f"{body.r.n} readings; a batch holds at most {MAX_READINGS}")
    columns.check(body.r)
    _check_due(body)
    observed = columns.observed_at_ms(body.r)
    received = list(map(operator.add, observed, spread(body.r.lag, body.r.n)))
    for what, times in (("an observation", observed), ("a reception", received)):
        if times and not 0 <= min(times) <= max(times) <= _LATEST_MS:
            raise ColumnsError(f"{what} time lies outside 1970 to 2100")


def _check_due(body: Body) -> None:
    dues = _unfold_due(body)
    if any(min(due.expected, due.received, due.missed) < 0 for due in dues):
        raise ColumnsError("due: a count is negative")
    if any(not 0 <= at < len(dues) for at, _ in body.due.reason):
        raise ColumnsError(f"due: a reason points outside {len(dues)} entries")


def compress(body: bytes) -> bytes:
    """Deflate at level 9 with the preset dictionary (RFC 1950, FDICT)."""
    deflater = zlib.compressobj(9, zdict=BATCH_DICTIONARY)
    return deflater.compress(body) + deflater.flush()


def decompress(payload: bytes, limit: int = MAX_BODY_BYTES) -> bytes:
    """Inflate at most `limit` bytes; raises BatchError on a bomb, a cut stream or anything after its end."""
    inflater = zlib.decompressobj(zdict=BATCH_DICTIONARY)
    try:
        body = inflater.decompress(payload, limit + 1)
    except zlib.error as error:
        raise BatchError("malformed", f"the payload does not inflate: {error}") from error
    if len(body) > limit:
        raise BatchError("too_large", f"the payload inflates past {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise BatchError("malformed", "the compressed body is cut short, or bytes follow it")
    return body


_body_encoder = msgspec.msgpack.Encoder(enc_hook=to_plain)
_body_decoder = msgspec.msgpack.Decoder(Body)
