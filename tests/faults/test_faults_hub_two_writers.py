"""B13 at the hub: in whatever order two writers' batches come, no acknowledgement lets one free what is not here."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from hub.store.admission import Admitted
from hub.store.batches import BatchStore
from hub.store.database import Database
from hub.store.deliveries import Delivery
from tests.faults import harness, hub_broken
from tests.hub.written import BEGAN_MS, Log, series
from tests.hub_database import enrol
from wire.identity import GatewayId

pytestmark = pytest.mark.postgres
SHARED, OWN = 3, 5  # batches before the card was copied, and of each writer after
QUICK = 25


@dataclass
class Writer:
    """One of two that write under one name, as decision 010 has it read an acknowledgement."""

    name: str
    batches: list[Admitted]
    warned: bool = False
    hashes: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        self.hashes = {one.batch.seq: one.batch.payload_sha256.hex() for one in self.batches}

    def sees_a_fork(self, told: Delivery) -> bool:
        _, highest = told.holes()
        other = told.anchor is not None and self.hashes.get(told.anchor.seq) != told.anchor.sha256
        return bool(other or told.broken or highest > max(self.hashes))

    def frees(self, told: Delivery) -> set[str]:
        """What it would let go: everything at or below the watermark, unless it is not alone."""
        self.warned = self.sees_a_fork(told)
        return set() if self.warned else {payload for seq, payload in self.hashes.items() if seq <= told.through}


def two_writers(name: str) -> tuple[Log, Writer, Writer]:
    """Copy a card after some batches; each writer then seals its own under the same numbers."""
    log = Log(GatewayId(name))
    past = log.many(SHARED)
    clone = log.fork()
    ours = [*past, *log.many(OWN)]
    theirs = [*past, *(clone.seal(series(2, start_ms=BEGAN_MS + 7 * at)) for at in range(OWN))]
    return log, Writer("original", ours), Writer("clone", theirs)


def arrivals(writers: tuple[Writer, Writer], chance: random.Random) -> Iterator[list[Admitted]]:
    """Bring both logs in small groups, mostly in order, with repetitions and overtaking; in the end, all of it."""
    queue = [[*writer.batches] for writer in writers]
    while any(queue):
        group = []
        for _ in range(chance.randint(1, 4)):
            log = chance.choice([one for one in queue if one] or [[]])
            if log:
                at = chance.randrange(min(len(log), 3))
                group.append(log[at] if chance.random() < 0.2 else log.pop(at))
        yield group
    yield writers[0].batches + writers[1].batches


async def stored_payloads(database: Database) -> set[str]:
    async with database.connection() as connection:
        rows: list[Any] = await (
            await connection.execute("select encode(payload_sha256, 'hex') from batch order by 1")
        ).fetchall()
    return {row[0] for row in rows}


async def write_side_by_side(case: harness.Case, database: Database) -> None:
    """Let two writers send in every trial; what one would free and the hub does not hold is lost."""
    chance = case.random
    store = BatchStore(database)
    for trial in range(case.trials):
        log, original, clone = two_writers(f"gw-{trial}")
        await enrol(database, log)
        for group in arrivals((original, clone), chance):
            [told] = (await store.commit(group)).deliveries
            stored = await stored_payloads(database)
            for writer in (original, clone):
                case.lost += len(writer.frees(told) - stored)
        case.stored = len(stored)
        for writer in (original, clone):
            # Whoever has something that the hub did not take must know by now that it is not alone.
            if not set(writer.hashes.values()) <= stored:
                case.reached["fork_seen"] += writer.warned
                if not writer.warned:
                    case.notes.append(f"{writer.name} of trial {trial} was not warned")


async def test_b13_no_acknowledgement_frees_the_other_writers_batches(database: Database) -> None:
    case = harness.Case(id="B13-acks", seed=harness.seed(13), trials=harness.trials(QUICK))
    await write_side_by_side(case, database)
    case.close(points=["fork_seen"])


@pytest.mark.parametrize(
    "throw", [hub_broken.broken_links_ignored, hub_broken.numbers_only], ids=lambda throw: throw.__name__
)
async def test_b13_fails_when_the_acknowledgement_is_not_bound_to_content(
    database: Database, monkeypatch: pytest.MonkeyPatch, throw: Callable[[hub_broken.Patch], None]
) -> None:  # fmt: skip
    throw(monkeypatch.setattr)
    case = harness.Case(id=f"B13-broken-{throw.__name__}", seed=13, trials=QUICK)
    await write_side_by_side(case, database)
    case.print()
    assert case.lost > 0
