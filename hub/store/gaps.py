"""The loss ledger: what is not here, and why, as far as anybody knows. Per gateway and period.

Four kinds of holes: batches that have not arrived, times that no batch accounts for, samples that a source owed, and
gaps that the gateway itself has recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from hub.store.database import Connection, Database
from hub.store.deliveries import list_deliveries
from hub.store.series import int_array
from hub.store.statements import statements
from wire.batch import Batch
from wire.columns import spread
from wire.identity import GatewayId

LIMIT: Final = 10_000  # silences and told gaps in one answer
UNKNOWN: Final = "unknown"
GAP_EVENT: Final = "gap"
_MOST_EVENTS: Final = 100  # of one batch: what is beyond stands in its body

_SQL: Final = statements("gaps")


class ToldGap(msgspec.Struct, frozen=True, kw_only=True):
    """A gap as a gateway's event tells it: the cause, and what it took."""

    cause: str = UNKNOWN
    first_seq: int | None = None
    last_seq: int | None = None
    readings: int | None = None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch says of its own completeness. `missed` counts samples by reason."""

    expected: int
    received: int
    missed: dict[str, int]
    gaps: list[ToldGap]


def account(batch: Batch) -> Account | None:
    """Return what a batch says of its completeness, None where it says nothing. Pure."""
    due, told = batch.body.due, [event.detail for event in batch.body.ev if event.name == GAP_EVENT]
    n = len(due.source)
    if not n and not told:
        return None
    missed: dict[str, int] = {}
    reasons = dict(due.reason)
    for at, number in enumerate(spread(due.missed, n)):
        if number:
            reason = reasons.get(at) or UNKNOWN
            missed[reason] = missed.get(reason, 0) + number
    return Account(
        expected=sum(spread(due.expected, n)),
        received=sum(spread(due.received, n)),
        missed=missed,
        gaps=[_read(detail) for detail in told[:_MOST_EVENTS]],
    )


def _read(detail: str) -> ToldGap:
    """Read an event's detail; one of another form is still a gap, of unknown cause."""
    try:
        return _decode(detail)
    except msgspec.MsgspecError:
        return ToldGap()


async def keep(connection: Connection, accounts: Mapping[int, Account]) -> None:
    """Write accounts by batch number, in the caller's transaction."""
    if not accounts:
        return
    values = accounts.values()
    await connection.execute(
        _SQL["keep"],
        {
            "batch_no": list(accounts),
            "expected": int_array(one.expected for one in values),
            "received": int_array(one.received for one in values),
            "missed": [_json(one.missed) if one.missed else "{}" for one in values],
            "gaps": [_json(one.gaps) if one.gaps else "[]" for one in values],
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRange:
    """Batches of one epoch that have not arrived, though later ones have."""

    epoch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A time that no batch accounts for: between the window of `seq` and that of its predecessor."""

    epoch: str
    seq: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A gap that the gateway recorded, and the batch that tells of it."""

    epoch: str
    seq: int
    at: datetime
    gap: ToldGap


@dataclass(slots=True, kw_only=True)
class Gaps:
    """One gateway's ledger."""

    gateway_id: str
    missing: list[MissingRange] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    batches: int = 0
    expected: int = 0
    received: int = 0
    missed: dict[str, int] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)


async def list_gaps(
    database: Database,
    *,
    gateway: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[Gaps]:
    """Return the ledgers of the gateways that were ever heard, or of one; raises StoreUnavailable.

    Missing batches have no time of their own: they are listed whatever the period.
    """
    ledgers: dict[str, Gaps] = {}
    for delivery in await list_deliveries(database, GatewayId(gateway) if gateway is not None else None):
        ledger = ledgers.setdefault(delivery.gateway, Gaps(gateway_id=delivery.gateway))
        ranges = delivery.holes()[0]
        ledger.missing += [MissingRange(epoch=delivery.epoch, first=first, last=last) for first, last in ranges]
    values = {"gateway": gateway, "start": start, "end": end, "limit": LIMIT}
    async with database.snapshot() as connection:
        for name, epoch, seq, ended, began in await _rows(connection, "silent", values):
            ledgers[name].silences.append(Silence(epoch=epoch, seq=seq, start=ended, end=began))
        for name, batches, expected, received in await _rows(connection, "due", values):
            ledger = ledgers[name]
            ledger.batches, ledger.expected, ledger.received = batches, expected, received
        for name, reason, number in await _rows(connection, "missed", values):
            ledgers[name].missed[reason] = number
        for name, epoch, seq, at, gap in await _rows(connection, "told", values):
            ledgers[name].told.append(Told(epoch=epoch, seq=seq, at=at, gap=msgspec.convert(gap, ToldGap)))
    return list(ledgers.values())


async def _rows(connection: Connection, name: str, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
    return await (await connection.execute(_SQL[name], values)).fetchall()


_decode = msgspec.json.Decoder(ToldGap).decode


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode().replace("\\u0000", "\ufffd")  # jsonb has no NUL
