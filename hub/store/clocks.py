"""What is known of gateways' clocks: settings told by events, batches sealed before one, those to be dated anew."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from hub.store.database import Connection, Database
from hub.store.dating import Boot, Dating, Setting
from hub.store.series import int_array, moment
from hub.store.statements import statements
from wire.identity import GatewayId

PAGE: Final = 50  # batches that are dated anew in one transaction

_SQL: Final = statements("clocks")


async def known_settings(connection: Connection, boots: Collection[Boot]) -> dict[Boot, list[Setting]]:
    """Return the settings that are stored of these boots."""
    cursor = await connection.execute(_SQL["settings"], _boots(sorted(boots)))
    known: dict[Boot, list[Setting]] = {boot: [] for boot in boots}
    for gateway, boot, monotonic_ms, wall_ms in await cursor.fetchall():
        known[GatewayId(gateway), boot].append(Setting(monotonic_ms, wall_ms))
    return known


async def keep_clocks(
    connection: Connection, settings: Sequence[tuple[int, Boot, Setting]], datings: Mapping[int, Dating]
) -> None:
    """Write, by batch number, what new batches tell of clocks and how they were dated, in the caller's transaction."""
    if settings:
        boots = [boot for _, boot, _ in settings]
        values = _boots(boots) | {
            "monotonic_ms": int_array(one.monotonic_ms for _, _, one in settings),
            "wall_ms": int_array(one.wall_ms for _, _, one in settings),
            "batch_no": int_array(number for number, _, _ in settings),
        }
        await connection.execute(_SQL["told"], values)
        await connection.execute(_SQL["queue_told"], _boots(sorted(set(boots))))
    if datings:
        await keep_datings(connection, datings)
        await connection.execute(_SQL["queue_unset"], {"batch_no": list(datings)})


async def keep_datings(connection: Connection, datings: Mapping[int, Dating]) -> None:
    """Write how batches are dated, in place of what was written of them before."""
    await connection.execute(_SQL["forget"], {"batch_no": list(datings)})
    async with connection.pipeline():
        for number, dating in datings.items():
            await connection.execute(_SQL["unset"], _dating(number, dating))
            if dating.originals:
                originals = {
                    "batch_no": number,
                    "reading_index": int_array(dating.originals),
                    "at_ms": int_array(dating.originals.values()),
                }
                await connection.execute(_SQL["originals"], originals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A batch written with an unset clock: its bytes, where its observations stand, and whether it was dated before.

    `readings` are those that it has been redecoded to (hub.store.derived), None: as it was sealed.
    """

    batch_no: int
    envelope: bytes
    readings: bytes | None
    dated: bool
    dated_from: datetime
    dated_to: datetime


async def queued(connection: Connection) -> tuple[Boot, int] | None:
    """Return a boot with batches to be dated anew, and after which of them to go on; None when there is none."""
    row = await (await connection.execute(_SQL["queued"])).fetchone()
    return None if row is None else ((GatewayId(row[0]), row[1]), row[2])


async def due(connection: Connection, boot: Boot, after: int) -> list[Due]:
    """Return the next page of a boot's batches that a setting may date otherwise."""
    cursor = await connection.execute(_SQL["due"], _boot(boot) | {"after": after, "page": PAGE})
    return [_due(row) for row in await cursor.fetchall()]


async def standing(connection: Connection, batch_no: int) -> Due | None:
    """Return where a batch's observations stand, None when it was written with a set clock."""
    row = await (await connection.execute(_SQL["standing"], {"batch_no": batch_no})).fetchone()
    return None if row is None else _due(row)


def _due(row: Sequence[Any]) -> Due:
    number, envelope, readings, settings, start, end = row
    return Due(
        batch_no=number,
        envelope=bytes(envelope),
        readings=None if readings is None else bytes(readings),
        dated=settings > 0,
        dated_from=start,
        dated_to=end,
    )


async def progress(connection: Connection, boot: Boot) -> int | None:
    """Return after which batch a boot's redating goes on, None when somebody else has finished it."""
    row = await (await connection.execute(_SQL["progress"], _boot(boot))).fetchone()
    return None if row is None else int(row[0])


async def advance(connection: Connection, boot: Boot, page: Sequence[Due]) -> None:
    """Note how far redating has come; a page that is not full was the last."""
    if len(page) == PAGE:
        await connection.execute(_SQL["advance"], _boot(boot) | {"after": page[-1].batch_no})
    else:
        await connection.execute(_SQL["done"], _boot(boot))


async def remove(connection: Connection, one: Due, datastreams: Iterable[int]) -> None:
    """Delete the observations of a batch, to be derived anew."""
    values = {
        "datastreams": int_array(datastreams),
        "dated_from": one.dated_from,
        "dated_to": one.dated_to,
        "batch_no": one.batch_no,
    }
    await connection.execute(_SQL["remove"], values)


async def recount_extents(connection: Connection, datastreams: Iterable[int]) -> None:
    """Find first and last observation of datastreams from the observations themselves."""
    await connection.execute(_SQL["extents"], {"datastreams": int_array(sorted(datastreams))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A setting, and which batch told of it."""

    monotonic_ms: int
    wall: datetime
    epoch: str
    seq: int


@dataclass(slots=True, kw_only=True)
class UnsetBoot:
    """One boot of a gateway that sealed batches before its clock was set: the times as written and as dated now.

    `undated` of its `batches` hold readings whose time is not known.
    """

    gateway_id: str
    boot: str
    batches: int
    undated: int
    written_from: datetime
    written_to: datetime
    dated_from: datetime
    dated_to: datetime
    settings: list[Told] = field(default_factory=list)


async def list_unset(database: Database, gateway: str | None = None) -> list[UnsetBoot]:
    """Return the boots that were on the air with an unset clock; raises StoreUnavailable."""
    async with database.snapshot() as connection:
        rows = await (await connection.execute(_SQL["boots"], {"gateway": gateway})).fetchall()
        told = await (await connection.execute(_SQL["settings_of"], {"gateway": gateway})).fetchall()
    boots = {
        (row[0], row[1]): UnsetBoot(
            gateway_id=row[0], boot=row[1], batches=row[2], undated=row[3],
            written_from=row[4], written_to=row[5], dated_from=row[6], dated_to=row[7],
        )
        for row in rows
    }  # fmt: skip
    for name, boot, monotonic_ms, wall, epoch, seq in told:
        if (name, boot) in boots:
            boots[name, boot].settings.append(Told(monotonic_ms=monotonic_ms, wall=wall, epoch=epoch, seq=seq))
    return list(boots.values())


def _boot(boot: Boot) -> dict[str, object]:
    return {"gateway": str(boot[0]), "boot": boot[1]}


def _boots(boots: Sequence[Boot]) -> dict[str, object]:
    return {"gateway": [str(gateway) for gateway, _ in boots], "boot": [boot for _, boot in boots]}


def _dating(number: int, dating: Dating) -> dict[str, object]:
    settled = dating.settled
    return _boot(dating.boot) | {
        "batch_no": number,
        "first_ms": dating.first_monotonic_ms,
        "settled_monotonic_ms": settled and settled.monotonic_ms,
        "settled_wall_ms": settled and settled.wall_ms,
        "settings": dating.settings,
        "written_from": moment(min(dating.written_ms)),
        "written_to": moment(max(dating.written_ms)),
        "dated_from": moment(min(dating.times_ms)),
        "dated_to": moment(max(dating.times_ms)),
    }
