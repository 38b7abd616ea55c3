"""What went wrong on the line, with its evidence: kept once, counted always, capped in number."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hub.store.database import Connection, Database
from hub.store.locks import incident_lock
from hub.store.statements import statements
from wire.batch import MAX_ENVELOPE_BYTES
from wire.identity import Epoch, GatewayId

MAX_DETAIL: Final = 1_000  # characters
DEFAULT_CAP: Final = 100

_SQL: Final = statements("incidents")


class IncidentKind(enum.StrEnum):
    """What happened. The words are stored and shown: never rename one."""

    CONFLICT = "conflict"
    CHAIN_BREAK = "chain_break"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_GATEWAY = "unknown_gateway"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    WRONG_TOPIC = "wrong_topic"
    RESTORED = "restored"
    NEW_EPOCH = "new_epoch"  # a gateway began a new log: its card was changed or damaged, or somebody else writes
    SALVAGED = "salvaged"  # a gateway's spool was damaged, and what could be read was saved
    TOO_MANY_GAPS = "too_many_gaps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something to keep evidence of.

    `gateway` is None where nobody enrolled is concerned: a claimed name belongs into `detail`, since anyone can claim
    as many as they like. Of `evidence` the first 255 KiB are kept.
    """

    kind: IncidentKind
    gateway: GatewayId | None
    detail: str
    epoch: Epoch | None = None
    seq: int | None = None
    evidence: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An incident as it stands in the store: first and last time, how often, its evidence by hash and size."""

    number: int
    at: datetime
    last_at: datetime
    gateway: GatewayId | None
    kind: IncidentKind
    detail: str
    epoch: Epoch | None
    seq: int | None
    count: int
    evidence_sha256: bytes | None
    evidence_bytes: int | None


async def record(database: Database, incidents: Iterable[Incident], *, cap: int = DEFAULT_CAP) -> None:
    """Keep incidents in a transaction of their own; raises StoreUnavailable.

    At most `cap` rows stand per gateway and kind; beyond, the latest one's count rises.
    """
    async with database.transaction() as connection:
        await record_within(connection, incidents, cap=cap)


async def record_within(connection: Connection, incidents: Iterable[Incident], *, cap: int) -> None:
    """Keep incidents in the caller's transaction."""
    # In the order of their locks: two recorders of several incidents each must not wait for each other crosswise.
    for lock, incident in sorted(((incident_lock(i.gateway, i.kind), i) for i in incidents), key=lambda pair: pair[0]):
        await connection.execute(_SQL["lock"], {"lock": lock})
        await _record_one(connection, incident, cap)


async def _record_one(connection: Connection, incident: Incident, cap: int) -> None:
    values = {
        "gateway": incident.gateway and str(incident.gateway),
        "kind": str(incident.kind),
        "detail": incident.detail[:MAX_DETAIL].replace("\0", "\ufffd"),  # PostgreSQL's text has no NUL
        "epoch": bytes.fromhex(incident.epoch) if incident.epoch else None,
        "seq": incident.seq,
        "evidence": incident.evidence and incident.evidence[:MAX_ENVELOPE_BYTES],
        "evidence_sha256": incident.evidence and hashlib.sha256(incident.evidence).digest(),
        "cap": cap,
    }
    for name in ("repeat", "insert", "overflow"):
        if (await connection.execute(_SQL[name], values)).rowcount:
            return


async def list_incidents(
    database: Database,
    *,
    gateway: GatewayId | None = None,
    kind: IncidentKind | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Recorded]:
    """Return incidents, latest first, those numbered below `before`; raises StoreUnavailable."""
    values = {"gateway": gateway and str(gateway), "kind": kind and str(kind), "before": before, "limit": limit}
    async with database.snapshot() as connection:
        rows = await (await connection.execute(_SQL["list"], values)).fetchall()
    return [
        Recorded(
            number=number, at=at, last_at=last_at, gateway=gateway_id and GatewayId(gateway_id),
            kind=IncidentKind(kind_), detail=detail, epoch=epoch and Epoch(epoch), seq=seq, count=count,
            evidence_sha256=sha256, evidence_bytes=size,
        )
        for number, at, last_at, gateway_id, kind_, detail, epoch, seq, count, sha256, size in rows
    ]  # fmt: skip
