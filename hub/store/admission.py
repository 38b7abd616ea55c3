"""What becomes of each batch of a group: stored, duplicate or conflict, and how it stands in its chain. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hub.store.incidents import Incident, IncidentKind
from wire.batch import Batch, genesis
from wire.identity import Epoch, GatewayId
from wire.keys import PublicKey

Key = tuple[GatewayId, Epoch, int]


class Outcome(enum.Enum):
    """What became of a batch. CONFLICT: another content holds its number already; that one stays."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Chain(enum.IntEnum):
    """Whether a batch names its predecessor rightly. Numbers are stored: never reuse one."""

    PENDING = 0  # the predecessor is not here yet
    LINKED = 1
    BROKEN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A batch whose signature has been verified with its gateway's enrolled key, and the envelope it came in."""

    gateway: GatewayId
    envelope: bytes
    batch: Batch

    @property
    def key(self) -> Key:
        """What a batch is stored under, once."""
        return (self.gateway, self.batch.epoch, self.batch.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the store holds under a key: hashes and standing, all that a newcomer is compared with."""

    payload_sha256: bytes
    prev_sha256: bytes
    chain: Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do with a group: `outcomes` in its order, `new` (by index) to be stored, `relinked` stored ones."""

    outcomes: tuple[Outcome, ...]
    new: tuple[tuple[int, Chain], ...]
    relinked: tuple[tuple[Key, Chain], ...]
    incidents: tuple[Incident, ...]


def neighbours(admitted: Sequence[Admitted]) -> set[Key]:
    """Return the keys that `judge` must know what is held under: each batch's own, the one before, the one after."""
    return {
        (gateway, epoch, seq + step) for gateway, epoch, seq in (one.key for one in admitted) for step in (-1, 0, 1)
    }


def judge(admitted: Sequence[Admitted], held: Mapping[Key, Held], keys: Mapping[GatewayId, PublicKey]) -> Verdict:
    """Judge a group against what is held and against itself, in its order.

    `keys` are the enrolled keys of the gateways whose first batch is in the group.
    """
    hashes = {key: one.payload_sha256 for key, one in held.items()}
    outcomes, fresh, incidents = [], [], []
    for at, one in enumerate(admitted):
        there = hashes.get(one.key)
        if there is None:
            outcomes.append(Outcome.STORED)
            hashes[one.key] = one.batch.payload_sha256
            fresh.append(at)
        elif there == one.batch.payload_sha256:
            outcomes.append(Outcome.DUPLICATE)
        else:
            outcomes.append(Outcome.CONFLICT)
            incidents.append(_conflict(one, there))
    new = tuple((at, _standing(admitted[at].key, admitted[at].batch.body.prev, hashes, keys)) for at in fresh)
    relinked = tuple(_relinked([admitted[at] for at in fresh], held, hashes))
    incidents += [
        _chain_break(admitted[at].key, admitted[at].batch.body.prev, hashes, keys)
        for at, chain in new
        if chain is Chain.BROKEN
    ]
    incidents += [
        _chain_break(key, held[key].prev_sha256, hashes, keys) for key, chain in relinked if chain is Chain.BROKEN
    ]
    return Verdict(outcomes=tuple(outcomes), new=new, relinked=relinked, incidents=tuple(incidents))


def _predecessor(key: Key, hashes: Mapping[Key, bytes], keys: Mapping[GatewayId, PublicKey]) -> bytes | None:
    gateway, epoch, seq = key
    if seq == 1:
        return genesis(gateway, epoch, keys[gateway])
    return hashes.get((gateway, epoch, seq - 1))


def _standing(key: Key, prev: bytes, hashes: Mapping[Key, bytes], keys: Mapping[GatewayId, PublicKey]) -> Chain:
    before = _predecessor(key, hashes, keys)
    if before is None:
        return Chain.PENDING
    return Chain.LINKED if before == prev else Chain.BROKEN


def _relinked(
    fresh: Sequence[Admitted], held: Mapping[Key, Held], hashes: Mapping[Key, bytes]
) -> Iterator[tuple[Key, Chain]]:
    """Yield the stored batches that were waiting for one of these to arrive before them."""
    for one in fresh:
        after = (one.gateway, one.batch.epoch, one.batch.seq + 1)
        waiting = held.get(after)
        if waiting is not None and waiting.chain is Chain.PENDING:
            yield after, _standing(after, waiting.prev_sha256, hashes, {})


def _conflict(one: Admitted, there: bytes) -> Incident:
    return Incident(
        kind=IncidentKind.CONFLICT,
        gateway=one.gateway,
        detail=f"sequence {one.batch.seq} of epoch {one.batch.epoch} came with another content: "
        f"stored is {there.hex()}, this is {one.batch.payload_sha256.hex()}",
        epoch=one.batch.epoch,
        seq=one.batch.seq,
        evidence=one.envelope,
    )


def _chain_break(key: Key, prev: bytes, hashes: Mapping[Key, bytes], keys: Mapping[GatewayId, PublicKey]) -> Incident:
    gateway, epoch, seq = key
    expected = _predecessor(key, hashes, keys) or b""
    before = f"sequence {seq - 1}" if seq > 1 else "the enrolment"
    return Incident(
        kind=IncidentKind.CHAIN_BREAK,
        gateway=gateway,
        detail=f"sequence {seq} of epoch {epoch} follows {prev.hex()}, but {before} is {expected.hex()}",
        epoch=epoch,
        seq=seq,
    )
