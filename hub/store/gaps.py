"""The loss ledger: what is not here, and why, as far as anybody knows. Per gateway and period.

Four kinds of holes: batches that have not arrived, times that no batch accounts for, samples that a source owed, and
what the gateway itself has declared lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from hub.store.database import Connection, Database
from hub.store.deliveries import list_deliveries
from hub.store.losses import Declared, Held, held_within, loss, pieces
from hub.store.series import int_array
from hub.store.statements import statements
from wire.batch import Batch
from wire.columns import spread
from wire.identity import GatewayId

LIMIT: Final = 10_000  # silences in one answer; accounts have a limit per gateway
UNKNOWN: Final = "unknown"

_SQL: Final = statements("gaps")
_ACCOUNTS: Final = statements("accounts")


class Completeness(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch says of its sources: samples due and received. `missed` counts samples by reason."""

    expected: int
    received: int
    missed: dict[str, int]


def completeness(batch: Batch) -> Completeness | None:
    """Return what a batch says of its sources' samples, None where it says nothing. Pure."""
    due = batch.body.due
    n = len(due.source)
    if not n:
        return None
    missed: dict[str, int] = {}
    reasons = dict(due.reason)
    for at, number in enumerate(spread(due.missed, n)):
        if number:
            reason = reasons.get(at) or UNKNOWN
            missed[reason] = missed.get(reason, 0) + number
    return Completeness(expected=sum(spread(due.expected, n)), received=sum(spread(due.received, n)), missed=missed)


async def keep(connection: Connection, said: Mapping[int, Completeness]) -> None:
    """Write what batches say, by batch number, in the caller's transaction."""
    if not said:
        return
    values = said.values()
    await connection.execute(
        _SQL["keep"],
        {
            "batch_no": list(said),
            "expected": int_array(one.expected for one in values),
            "received": int_array(one.received for one in values),
            "missed": [_json(one.missed) if one.missed else "{}" for one in values],
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRange:
    """Batches of one epoch that have not arrived, though later ones have, and that nothing accounts for."""

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
class Accounted:
    """What the gateway declared lost: batches `first` to `last` of an epoch, or (None) readings that no batch held.

    `missing` of these batches are not here, `arrived` are all the same. `certain` False: they may be lost. `start` and
    `end` are the time that is lost, where it is known. `told_*` is the batch that declares it.
    """

    epoch: str
    cause: str
    certain: bool
    first: int | None
    last: int | None
    readings: int | None
    missing: int
    arrived: int
    start: datetime | None
    end: datetime | None
    told_epoch: str
    told_seq: int
    told_at: datetime


@dataclass(slots=True, kw_only=True)
class Gaps:
    """One gateway's ledger. `lost_*` and `uncertain_batches` sum up `accounts`, each number once."""

    gateway_id: str
    missing: list[MissingRange] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    batches: int = 0
    expected: int = 0
    received: int = 0
    missed: dict[str, int] = field(default_factory=dict)
    accounts: list[Accounted] = field(default_factory=list)
    lost_batches: int = 0
    uncertain_batches: int = 0
    lost_readings: int = 0


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
        ledger = ledgers.setdefault(delivery.gateway, Gaps(gateway_id=str(delivery.gateway)))
        ranges = delivery.holes()[0]
        ledger.missing += [MissingRange(epoch=str(delivery.epoch), first=first, last=last) for first, last in ranges]
    values = {"gateway": gateway, "start": start, "end": end, "limit": LIMIT}
    async with database.snapshot() as connection:
        for name, epoch, seq, ended, began in await _rows(connection, "silent", values):
            ledgers[name].silences.append(Silence(epoch=epoch, seq=seq, start=ended, end=began))
        for name, batches, expected, received in await _rows(connection, "due", values):
            ledger = ledgers[name]
            ledger.batches, ledger.expected, ledger.received = batches, expected, received
        for name, reason, number in await _rows(connection, "missed", values):
            ledgers[name].missed[reason] = number
        await _account(connection, ledgers, values)
    return list(ledgers.values())


async def _rows(connection: Connection, name: str, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
    return await (await connection.execute(_SQL[name], values)).fetchall()


# ---- what gateways declared lost


@dataclass(frozen=True, slots=True)
class _Told:
    """A row of the accounts: what is declared, and what the ledger says beside it."""

    gateway: str
    epoch: str
    cause: str
    declared: Declared
    told_epoch: str
    told_seq: int
    told_at: datetime
    start: datetime | None
    end: datetime | None


async def _account(connection: Connection, ledgers: Mapping[str, Gaps], values: Mapping[str, Any]) -> None:
    """Put the accounts into the ledgers, each with what is here of it all the same, and their sum."""
    by_log: dict[tuple[str, str], list[_Told]] = {}
    cursor = await connection.execute(_ACCOUNTS["list"], values)
    for gateway, epoch, cause, first, last, readings, certain, *told in await cursor.fetchall():
        declared = Declared(first=first, last=last, readings=readings, certain=certain)
        by_log.setdefault((gateway, epoch), []).append(_Told(gateway, epoch, cause, declared, *told))
    held = await _held(connection, {log: _ranges(told) for log, told in by_log.items()})
    for log, told in by_log.items():
        _put(ledgers[log[0]], told, held[log])


def _ranges(told: Iterable[_Told]) -> list[Declared]:
    return [one.declared for one in told if one.declared.first]


async def _held(
    connection: Connection, declared: Mapping[tuple[str, str], Sequence[Declared]]
) -> dict[tuple[str, str], list[Held]]:
    """Return what is stored of each log's pieces."""
    cut = [(log, first, last) for log, ranges in declared.items() for first, last in pieces(ranges)]
    columns = {
        "gateway": [gateway for (gateway, _), _, _ in cut],
        "epoch": [bytes.fromhex(epoch) for (_, epoch), _, _ in cut],
        "first": int_array(first for _, first, _ in cut),
        "last": int_array(last for _, _, last in cut),
    }
    held: dict[tuple[str, str], list[Held]] = {log: [] for log in declared}
    rows = await (await connection.execute(_ACCOUNTS["held"], columns)).fetchall()
    for (log, _, _), (_, batches, readings) in zip(cut, rows, strict=True):
        held[log].append(Held(batches=batches, readings=readings))
    return held


def _put(ledger: Gaps, told: Sequence[_Told], held: Sequence[Held]) -> None:
    """Add one epoch's accounts to the ledger."""
    ranges = _ranges(told)
    within = iter(held_within(ranges, held))
    for one in told:
        ledger.accounts.append(_line(one, next(within) if one.declared.first else None))
        if not one.declared.first:
            ledger.lost_readings += one.declared.readings or 0
    lost = loss(ranges, held)
    ledger.lost_batches += lost.batches
    ledger.uncertain_batches += lost.uncertain
    ledger.lost_readings += lost.readings


def _line(one: _Told, there: Held | None) -> Accounted:
    """Return one line; `there` is None for readings that no batch held."""
    declared = one.declared
    return Accounted(
        epoch=one.epoch,
        cause=one.cause,
        certain=declared.certain,
        first=declared.first if there else None,
        last=declared.last if there else None,
        readings=declared.readings,
        missing=declared.last - declared.first + 1 - there.batches if there else 0,
        arrived=there.batches if there else 0,
        start=one.start,
        end=one.end,
        told_epoch=one.told_epoch,
        told_seq=one.told_seq,
        told_at=one.told_at,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode().replace("\\u0000", "\ufffd")  # jsonb has no NUL
