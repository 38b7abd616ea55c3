"""Accounts: what gateways have declared lost, from the `gap` events of stored batches (decision 010).

The batch is what counts: its accounts are written in its transaction, and come again with it when a restored hub is
refilled. One gateway has at most MOST_ACCOUNTS, however many it tells of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hub.store.database import Connection
from hub.store.deliveries import Log
from hub.store.incidents import Incident, IncidentKind
from hub.store.series import int_array
from hub.store.statements import statements
from wire.batch import GAP, Batch, BatchError, Event, Gap
from wire.identity import Epoch, GatewayId, IdentityError

MOST_ACCOUNTS: Final = 10_000  # of one gateway: alarms that nobody gives up may cut a long outage into thousands
UNKNOWN: Final = "unknown"  # the cause of a gap whose record nobody can read
_LARGEST: Final = 2**62
_LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01

_SQL: Final = statements("accounts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Batches `first` to `last` of an epoch that will not come; `first` 0: readings that no batch held yet.

    `told_ms` is the event's time where there is no range, else 0: with epoch and cause it says what is the same gap.
    """

    epoch: Epoch
    cause: str
    first: int = 0
    last: int = 0
    told_ms: int = 0
    readings: int | None = None
    from_ms: int = 0
    to_ms: int = 0
    certain: bool = True

    @property
    def identity(self) -> tuple[Epoch, str, int, int, int]:
        """What a gap told twice has in common."""
        return (self.epoch, self.cause, self.first, self.last, self.told_ms)


def accounts_of(batch: Batch) -> list[Account]:
    """Return what a batch declares lost, each gap once. Pure.

    An event that is no gap record still says that something is lost: unknown what, unknown why.
    """
    told: dict[tuple[Epoch, str, int, int, int], Account] = {}
    for event in [event for event in batch.body.ev if event.name == GAP][:MOST_ACCOUNTS]:
        one = _read(event, batch)
        told[one.identity] = _same(told[one.identity], one) if one.identity in told else one
    return list(told.values())


def _read(event: Event, batch: Batch) -> Account:
    try:
        gap = Gap.of(event)
        epoch = Epoch.parse(gap.epoch)
    except (BatchError, IdentityError):
        gap, epoch = None, batch.epoch
    told_ms = min(max(event.at_ms, 0), _LATEST_MS)
    if gap is None or not _is_sound(gap) or (epoch == batch.epoch and gap.last >= batch.seq):
        return Account(epoch=batch.epoch, cause=UNKNOWN, told_ms=told_ms)
    return Account(
        epoch=epoch,
        cause=str(gap.cause),
        first=gap.first,
        last=gap.last,
        told_ms=0 if gap.first else told_ms,
        readings=gap.readings,
        from_ms=gap.from_ms,
        to_ms=gap.to_ms,
        certain=gap.certain,
    )


def _is_sound(gap: Gap) -> bool:
    """Whether the numbers of a gap can be true. Those of its batch's own epoch also lie below the batch: `_read`."""
    in_order = 1 <= gap.first <= gap.last <= _LARGEST or gap.first == gap.last == 0
    counted = gap.readings is None or 0 <= gap.readings <= _LARGEST
    return in_order and counted and 0 <= gap.from_ms <= gap.to_ms <= _LATEST_MS


def _same(one: Account, other: Account) -> Account:
    """Return one account for a gap told twice; which came first makes no difference."""
    known = [readings for readings in (one.readings, other.readings) if readings is not None]
    return replace(
        one,
        readings=max(known, default=None),
        from_ms=max(one.from_ms, other.from_ms),
        to_ms=max(one.to_ms, other.to_ms),
        certain=one.certain or other.certain,
    )


async def keep_accounts(
    connection: Connection, told: Iterable[tuple[GatewayId, int, Sequence[Account]]]
) -> tuple[set[Log], list[Incident]]:
    """Write what batches (gateway, batch number, accounts) declare, in the caller's transaction.

    Returns the logs whose watermark may move by it, and an incident for each gateway that has told too much. The
    caller holds the gateways' locks.
    """
    rows: dict[tuple[GatewayId, object], tuple[GatewayId, int, Account]] = {}
    for gateway, batch_no, accounts in told:
        for one in accounts:
            there = rows.get((gateway, one.identity))
            rows[gateway, one.identity] = (
                (gateway, min(there[1], batch_no), _same(there[2], one)) if there else (gateway, batch_no, one)
            )
    if not rows:
        return set(), []
    cursor = await connection.execute(_SQL["counted"], {"gateway": sorted({str(gateway) for gateway, _ in rows})})
    counted: Mapping[str, int] = dict(await cursor.fetchall())
    kept, refused = _within_bounds(list(rows.values()), counted)
    await connection.execute(_SQL["keep"], _columns(kept))
    return {(gateway, one.epoch) for gateway, _, one in kept if one.first}, [_overflow(*pair) for pair in refused]


def _within_bounds(
    rows: Sequence[tuple[GatewayId, int, Account]], counted: Mapping[str, int]
) -> tuple[list[tuple[GatewayId, int, Account]], list[tuple[GatewayId, int]]]:
    """Return what there is room for, and by gateway how many there is no room for."""
    number, kept, refused = Counter(counted), [], Counter[GatewayId]()
    for row in rows:
        if number[row[0]] < MOST_ACCOUNTS:
            number[row[0]] += 1
            kept.append(row)
        else:
            refused[row[0]] += 1
    return kept, list(refused.items())


def _overflow(gateway: GatewayId, number: int) -> Incident:
    return Incident(
        kind=IncidentKind.TOO_MANY_GAPS,
        gateway=gateway,
        detail=f"{number} gaps more than the {MOST_ACCOUNTS} that are kept of one gateway: they stand in its batches, "
        "and what they concern goes on being missing",
    )


def _columns(rows: Sequence[tuple[GatewayId, int, Account]]) -> dict[str, object]:
    accounts = [account for _, _, account in rows]
    return {
        "gateway": [str(gateway) for gateway, _, _ in rows],
        "epoch": [bytes.fromhex(one.epoch) for one in accounts],
        "first": int_array(one.first for one in accounts),
        "last": int_array(one.last for one in accounts),
        "cause": [one.cause for one in accounts],
        "told_ms": int_array(one.told_ms for one in accounts),
        "readings": [one.readings for one in accounts],
        "from_ms": int_array(one.from_ms for one in accounts),
        "to_ms": int_array(one.to_ms for one in accounts),
        "certain": [one.certain for one in accounts],
        "batch_no": int_array(number for _, number, _ in rows),
    }
