"""How far each gateway's log has arrived: what an acknowledgement says.

A watermark moves over stored batches that follow their predecessor, and over what the gateway has declared lost
(decision 010). Within one life of the hub it never goes back: a late batch that does not fit what was passed already is
stored, and becomes an incident; the anchor tells each writer whose content it is that was passed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hub.store.database import Connection, Database
from hub.store.statements import statements
from wire.ack import Anchor, holes
from wire.identity import Epoch, GatewayId

PAGE: Final = 10_000  # sequences read at once above a watermark
Log = tuple[GatewayId, Epoch]
Range = Sequence[int]  # first and last sequence, inclusive

_SQL: Final = statements("deliveries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One epoch of one gateway: everything up to `through` is stored or accounted for.

    `above` is what is stored beyond, ascending, at most the PAGE lowest: enough for an acknowledgement, whose holes are
    filled from below. `accounted` are the declared ranges that reach beyond `through`, no further than `above` was
    read. `broken` is the batch after `through` when it is stored and does not follow its predecessor, else 0. `anchor`
    is the highest stored batch at or below `through`.
    """

    gateway: GatewayId
    epoch: Epoch
    through: int
    highest: int
    above: tuple[int, ...] = ()
    accounted: tuple[tuple[int, int], ...] = ()
    broken: int = 0
    anchor: Anchor | None = None

    def holes(self) -> tuple[tuple[tuple[int, int], ...], int]:
        """Return what an acknowledgement says beside `through`: the missing ranges, and the `highest` they reach to."""
        return holes(self.through, self.above, self.accounted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reached:
    """Where a walk ended: the watermark, and what was read above it. `above` is signed as `advance` takes it."""

    log: Log
    through: int
    above: Sequence[int] = ()
    accounted: Sequence[Range] = ()


def advance(through: int, above: Sequence[int], accounted: Sequence[Range] = ()) -> tuple[int, int]:
    """Return the watermark that this moves to, and how many of `above` lie at or below it.

    `above` are the stored sequences above `through`, ascending, negative where the chain is broken; `accounted` the
    declared ranges that end above it, by their first. A stored batch within one is looked at all the same.
    """
    at, declared, reach = 0, 0, 0
    while True:
        while declared < len(accounted) and accounted[declared][0] <= through + 1:
            reach = max(reach, accounted[declared][1])
            declared += 1
        following = above[at] if at < len(above) else None
        if following == through + 1:
            through, at = through + 1, at + 1
        elif reach > through and following != -(through + 1):
            through = reach if following is None else min(reach, abs(following) - 1)
        else:
            return through, at


async def list_deliveries(database: Database, gateway: GatewayId | None = None) -> list[Delivery]:
    """Return the delivery of every epoch of every gateway, or of one; raises StoreUnavailable."""
    async with database.snapshot() as connection:
        if gateway is None:
            cursor = await connection.execute(_SQL["all"])
        else:
            cursor = await connection.execute(_SQL["of_gateway"], {"gateway": str(gateway)})
        rows = {(GatewayId(g), Epoch(e)): (through, high) for g, e, through, high in await cursor.fetchall()}
        reached = {log: _Reached(log=log, through=through) for log, (through, _) in rows.items()}
        # A delivery that has nothing above its watermark needs no walk.
        reached |= await _walk(connection, [log for log, (through, high) in rows.items() if high > through])
        anchors = await _anchors(connection, reached.values())
    return [_delivery(one, anchors, rows[log][1]) for log, one in reached.items()]


async def settle(connection: Connection, logs: Collection[Log]) -> list[Delivery]:
    """Move the watermarks of these logs to what the tables hold, in the caller's transaction.

    Returns them in the order of `logs`. A log that only an account speaks of gets its delivery here.
    """
    walked = await _walk(connection, logs)
    reached = [walked[log] for log in logs]
    values = _columns(reached) | {"highest": [_highest(one) for one in reached]}
    async with connection.pipeline():
        kept = await connection.execute(_SQL["keep"], values)
        anchors = await _anchors(connection, reached)
    highest = {(gateway, epoch): high for gateway, epoch, high in await kept.fetchall()}
    return [_delivery(one, anchors, highest[one.log]) for one in reached]


async def _walk(connection: Connection, logs: Collection[Log]) -> dict[Log, _Reached]:
    """Return where each log's watermark gets to, reading on as long as a full page has no hole."""
    done: dict[Log, _Reached] = {}
    ahead = [_Reached(log=log, through=0) for log in logs]
    while ahead:
        rows = await (await connection.execute(_SQL["above"], _columns(ahead) | {"page": PAGE})).fetchall()
        ahead = []
        for gateway, epoch, old, page, declared in rows:
            log = (GatewayId(gateway), Epoch(epoch))
            full = len(page) == PAGE
            accounted = _cut(declared, abs(page[-1])) if full else declared
            through, passed = advance(old, page, accounted)
            if full and passed == PAGE:
                ahead.append(_Reached(log=log, through=through))
            else:
                done[log] = _Reached(log=log, through=through, above=page[passed:], accounted=accounted)
    return done


def _cut(accounted: Iterable[Range], end: int) -> list[Range]:
    """Leave out what lies beyond the last batch that was read: nobody knows yet what is stored there."""
    return [(first, min(last, end)) for first, last in accounted if first <= end]


async def _anchors(connection: Connection, reached: Iterable[_Reached]) -> dict[Log, Anchor]:
    rows = await (await connection.execute(_SQL["anchors"], _columns(list(reached)))).fetchall()
    return {(gateway, epoch): Anchor(seq, sha256) for gateway, epoch, seq, sha256 in rows}


def _columns(reached: Sequence[_Reached]) -> dict[str, object]:
    return {
        "gateway": [str(one.log[0]) for one in reached],
        "epoch": [bytes.fromhex(one.log[1]) for one in reached],
        "through": [one.through for one in reached],
    }


def _highest(one: _Reached) -> int:
    stored = abs(one.above[-1]) if one.above else 0
    return max(one.through, stored, max((last for _, last in one.accounted), default=0))


def _delivery(one: _Reached, anchors: Mapping[Log, Anchor], highest: int) -> Delivery:
    after = one.through + 1
    return Delivery(
        gateway=one.log[0],
        epoch=one.log[1],
        through=one.through,
        highest=highest,
        above=tuple(map(abs, one.above)),
        accounted=tuple((first, last) for first, last in one.accounted if last > one.through),
        broken=after if one.above and one.above[0] == -after else 0,
        anchor=anchors.get(one.log),
    )
