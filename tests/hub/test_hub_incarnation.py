"""The rule that tells a restored database from one that goes on, and the note that it goes by."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from hub.incarnation import Announced, enter, renew, restored
from hub.store.database import Database
from hub.store.identity import Mark, begin_incarnation
from hub.store.incidents import IncidentKind, list_incidents

MARK = Mark(incarnation=1_000, starts=4, batch_no=70, history="7/00000001")
NOW = datetime(2026, 1, 15, tzinfo=UTC)


@pytest.mark.parametrize("further", [{}, {"incarnation": 1_001}, {"starts": 9}, {"batch_no": 71}])
def test_a_database_at_or_ahead_of_the_note_goes_on(further: dict[str, int]) -> None:
    assert restored(MARK, replace(MARK, **further)) is None


@pytest.mark.parametrize("name", ["incarnation", "starts", "batch_no"])
def test_a_database_behind_the_note_was_restored(name: str) -> None:
    assert name in (restored(MARK, replace(MARK, **{name: getattr(MARK, name) - 1})) or "")


def test_another_history_is_a_restore_even_when_it_is_further() -> None:
    assert "another history" in (restored(MARK, replace(MARK, batch_no=99, history="7/00000002")) or "")


def test_without_a_note_only_an_empty_database_is_believed() -> None:
    assert restored(None, replace(MARK, batch_no=0)) is None
    assert "nothing notes" in (restored(None, MARK) or "")


def test_the_note_survives_the_process_and_a_torn_one_counts_as_none(tmp_path: Path) -> None:
    first = Announced(tmp_path / "announced.json")
    first.write(MARK)
    first.announce(60)
    first.announce(75)
    second = Announced(first.path)
    second.read()
    assert second.mark == replace(MARK, batch_no=75)
    first.path.write_bytes(b"{")
    second.read()
    assert second.mark is None


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    Announced(tmp_path / "gone" / "announced.json").write(MARK)


@pytest.mark.postgres
async def test_a_start_counts_and_a_restore_begins_a_life_above_all_announced(
    database: Database, tmp_path: Path
) -> None:
    announced = Announced(tmp_path / "announced.json")
    born = await enter(database, announced, NOW)
    assert await enter(database, announced, NOW) == born
    assert announced.mark is not None
    assert announced.mark.starts == 2
    # What a gone database had announced: a later life, more starts, more batches.
    announced.write(replace(announced.mark, incarnation=born + 500, starts=9, batch_no=40))
    assert await renew(database, announced, NOW) == born + 501
    assert await renew(database, announced, NOW) == born + 501
    [incident] = await list_incidents(database)
    assert (incident.kind, incident.gateway) == (IncidentKind.RESTORED, None)


@pytest.mark.postgres
async def test_an_operators_word_begins_a_life_too(database: Database, tmp_path: Path) -> None:
    announced = Announced(tmp_path / "announced.json")
    born = await enter(database, announced, NOW)
    begun = await begin_incarnation(database, NOW, "an operator asked for it")
    assert begun > born
    assert await renew(database, announced, NOW) == begun
