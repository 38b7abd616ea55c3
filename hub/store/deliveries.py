"""How far each gateway's log has arrived: what an acknowledgement says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hub.store.database import Connection, Database
from hub.store.statements import statements
from wire.ack import holes
from wire.identity import Epoch, GatewayId

PAGE: Final = 10_000  # sequences read at once above a watermark
Log = tuple[GatewayId, Epoch]

_SQL: Final = statements("deliveries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One epoch of one gateway: everything up to `through` is stored; `above` is what is stored beyond, ascending.

    `above` names at most the PAGE lowest ones: enough for an acknowledgement, whose holes are filled from below.
    """

    gateway: GatewayId
    epoch: Epoch
    through: int
    highest: int
    above: tuple[int, ...] = ()

    def holes(self) -> tuple[tuple[tuple[int, int], ...], int]:
        """Return what an acknowledgement says beside `through`: the missing ranges, and the `highest` they reach to."""
        return holes(self.through, self.above)


def advance(through: int, above: Sequence[int]) -> int:
    """Return the watermark that `above` (ascending, all above `through`) moves to: the last number before a hole."""
    for seq in above:
        if seq != through + 1:
            break
        through = seq
    return through


async def list_deliveries(database: Database, gateway: GatewayId | None = None) -> list[Delivery]:
    """Return the delivery of every epoch of every gateway, or of one; raises StoreUnavailable."""
    async with database.snapshot() as connection:
        if gateway is None:
            cursor = await connection.execute(_SQL["all"])
        else:
            cursor = await connection.execute(_SQL["of_gateway"], {"gateway": str(gateway)})
        rows = await cursor.fetchall()
        highest = {(GatewayId(g), Epoch(e)): high for g, e, _, high in rows}
        # A delivery that has no hole needs no walk.
        holed = [(GatewayId(g), Epoch(e)) for g, e, through, high in rows if high > through]
        above: dict[Log, tuple[int, Sequence[int]]] = {
            (gateway, epoch): (through, beyond) for gateway, epoch, through, beyond in await _walk(connection, holed)
        }
    stored = {(GatewayId(g), Epoch(e)): through for g, e, through, _ in rows}
    reached: dict[Log, tuple[int, Sequence[int]]] = {log: (through, ()) for log, through in stored.items()}
    return [_delivery(log, through, beyond, highest[log]) for log, (through, beyond) in (reached | above).items()]


async def settle(connection: Connection, logs: Collection[Log]) -> list[Delivery]:
    """Move the watermarks of these logs to what the batch table holds, in the caller's transaction, and return them."""
    walked = await _walk(connection, logs)
    settled = [
        _delivery((gateway, epoch), through, above, above[-1] if above else through)
        for gateway, epoch, through, above in walked
    ]
    cursor = await connection.execute(
        _SQL["keep"] + b" returning gateway_id, encode(epoch, 'hex'), highest",
        _columns(settled) | {"highest": [delivery.highest for delivery in settled]},
    )
    highest = {(gateway, epoch): high for gateway, epoch, high in await cursor.fetchall()}
    return [_delivery((d.gateway, d.epoch), d.through, d.above, highest[d.gateway, d.epoch]) for d in settled]


async def _walk(connection: Connection, logs: Iterable[Log]) -> list[tuple[GatewayId, Epoch, int, list[int]]]:
    """Return gateway, epoch, watermark and what lies above it, reading on as long as a full page has no hole."""
    done: list[tuple[GatewayId, Epoch, int, list[int]]] = []
    ahead = [Delivery(gateway=gateway, epoch=epoch, through=0, highest=0) for gateway, epoch in logs]
    while ahead:
        rows = await (await connection.execute(_SQL["above"], _columns(ahead) | {"page": PAGE})).fetchall()
        ahead = []
        for gateway, epoch, old, page in rows:
            through = advance(old, page)
            rest = page[through - old :]
            if len(page) == PAGE and not rest:
                ahead.append(Delivery(gateway=GatewayId(gateway), epoch=Epoch(epoch), through=through, highest=0))
            else:
                done.append((GatewayId(gateway), Epoch(epoch), through, rest))
    return done


def _columns(deliveries: Sequence[Delivery]) -> dict[str, object]:
    return {
        "gateway": [str(delivery.gateway) for delivery in deliveries],
        "epoch": [bytes.fromhex(delivery.epoch) for delivery in deliveries],
        "through": [delivery.through for delivery in deliveries],
    }


def _delivery(log: Log, through: int, above: Iterable[int], highest: int) -> Delivery:
    return Delivery(gateway=log[0], epoch=log[1], through=through, highest=highest, above=tuple(above))
