"""The loss ledger: every hole has a line, and a cause where one is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from hub.cli import _ledger_lines
from hub.store.admission import Admitted
from hub.store.batches import BatchStore
from hub.store.database import Database
from hub.store.gaps import UNKNOWN, Accounted, Gaps, MissingRange, completeness, list_gaps
from tests.hub.written import BEGAN_MS, SOURCE, Log, gap
from wire.batch import Clock, Draft, Due, Event, Software, genesis, open_batch, seal
from wire.identity import GatewayId, SourceId
from wire.reading import ClockState

MINUTE = 60_000
OTHER = SourceId("lorawan:a840410000000002")


def batch(
    log: Log, seq: int, start: int, end: int, *, due: Sequence[Due] = (), events: Sequence[Event] = ()
) -> Admitted:
    """Seal an empty batch over these minutes."""
    draft = Draft(
        gateway=log.gateway, epoch=log.epoch, seq=seq, prev=genesis(log.gateway, log.epoch, log.key.public),
        from_ms=BEGAN_MS + start * MINUTE, to_ms=BEGAN_MS + end * MINUTE, boot="b", clock=Clock(ClockState.NTP),
        software=Software("1"), readings=(), due=due, events=events,
    )  # fmt: skip
    made = seal(draft, log.key)
    return Admitted(
        gateway=log.gateway, envelope=made.envelope, batch=open_batch(made.envelope, log.key.public.verifier())
    )


def at(minute: int) -> datetime:
    return datetime.fromtimestamp(BEGAN_MS / 1000 + minute * 60, UTC)


@pytest.mark.postgres
async def test_every_kind_of_hole_is_listed(database: Database, log: Log) -> None:
    dues = [Due(SOURCE, 10, 7, 3, "radio"), Due(OTHER, 5, 4, 1)]
    told = gap(log.epoch, 3, 4, readings=40)
    group = [
        batch(log, 1, 0, 1, due=dues),
        batch(log, 5, 10, 11, due=dues, events=[told, Event(BEGAN_MS, "gap", "?"), Event(BEGAN_MS, "start", "")]),
        batch(log, 6, 20, 21),
    ]
    await BatchStore(database).commit(group)
    [ledger] = await list_gaps(database)
    assert [(one.first, one.last) for one in ledger.missing] == [(2, 2)]
    assert [(one.seq, one.start, one.end) for one in ledger.silences] == [(6, at(11), at(20))]
    assert (ledger.batches, ledger.expected, ledger.received) == (2, 30, 22)
    assert ledger.missed == {"radio": 6, UNKNOWN: 2}
    assert [(one.cause, one.first, one.last, one.readings, one.told_seq) for one in ledger.accounts] == [
        (UNKNOWN, None, None, None, 5),
        ("evicted", 3, 4, 40, 5),
    ]
    assert (ledger.lost_batches, ledger.uncertain_batches, ledger.lost_readings) == (2, 0, 40)
    assert msgspec.json.decode(msgspec.json.encode(ledger))["missing"] == [{"epoch": log.epoch, "first": 2, "last": 2}]


def test_the_ledger_in_words_has_a_line_for_each_hole() -> None:
    account = Accounted(
        epoch="00112233445566ff", cause="evicted", certain=True, first=2, last=5, readings=12, missing=3, arrived=1,
        start=None, end=None, told_epoch="00112233445566ff", told_seq=9, told_at=at(0),
    )  # fmt: skip
    closed = replace(account, certain=False, cause="damaged", readings=None, missing=0, arrived=4)
    unheld = replace(account, cause="damaged", first=None, last=None, readings=5, missing=0, arrived=0)
    ledger = Gaps(
        gateway_id="gw-a", missing=[MissingRange(epoch="00112233445566ff", first=6, last=7)],
        accounts=[account, closed, unheld], lost_batches=3, lost_readings=14,
    )  # fmt: skip
    assert _ledger_lines(ledger) == [
        "gw-a: 0 of 0 samples in 0 batches",
        "  missing  batches 6 to 7 of epoch 00112233445566ff",
        "  account  2026-01-15 00:00:00Z evicted: batches 2 to 5 of epoch 00112233445566ff, 12 readings: "
        "3 lost, 1 arrived all the same",
        "  account  2026-01-15 00:00:00Z damaged, uncertain: batches 2 to 5 of epoch 00112233445566ff, "
        "an unknown number of readings: closed, 4 arrived all the same",
        "  account  2026-01-15 00:00:00Z damaged: 5 readings that no batch held",
        "  lost     3 batches, 0 more uncertain; 14 readings or more",
    ]


@pytest.mark.postgres
async def test_a_period_selects_by_the_batches_windows(database: Database, log: Log) -> None:
    due = [Due(SOURCE, 1, 1)]
    await BatchStore(database).commit([batch(log, seq, seq * 10, seq * 10 + 5, due=due) for seq in (1, 2, 3)])
    [ledger] = await list_gaps(database, gateway=log.gateway, start=at(16), end=at(26))
    assert (ledger.batches, [one.seq for one in ledger.silences]) == (1, [2, 3])
    assert await list_gaps(database, gateway="gw-nobody") == []


@pytest.mark.postgres
async def test_an_account_belongs_to_the_time_that_is_lost_or_else_to_its_telling(database: Database, log: Log) -> None:
    timed = gap(log.epoch, 2, 3, from_ms=BEGAN_MS + 20 * MINUTE, to_ms=BEGAN_MS + 25 * MINUTE)
    events = [timed, gap(log.epoch, 4, 5)]
    await BatchStore(database).commit([batch(log, 9, 60, 61, events=events)])

    async def firsts(start: int, end: int) -> list[int | None]:
        [ledger] = await list_gaps(database, start=at(start), end=at(end))
        return [one.first for one in ledger.accounts]

    assert [await firsts(0, 20), await firsts(19, 21), await firsts(25, 60), await firsts(59, 70)] == [[], [2], [], [4]]
    [whole] = await list_gaps(database)
    assert [(one.start, one.end) for one in whole.accounts] == [(at(20), at(25)), (None, None)]


@pytest.mark.postgres
async def test_a_batch_that_comes_twice_is_accounted_once(database: Database, log: Log) -> None:
    one = batch(log, 1, 0, 1, due=[Due(SOURCE, 10, 7, 3)])
    store = BatchStore(database)
    await store.commit([one])
    await store.commit([one])
    [ledger] = await list_gaps(database)
    assert (ledger.expected, ledger.missed) == (10, {UNKNOWN: 3})


def test_a_batch_that_says_nothing_of_its_sources_has_no_row() -> None:
    assert completeness(Log(GatewayId("gw-a")).seal().batch) is None
