"""The schema's steps: names, order, and what is refused."""

from __future__ import annotations

import re

import psycopg
import pytest

from hub.store.database import Database
from hub.store.migrate import Migration, MigrationError, behind, migrate, migrations, outstanding

_ONE, _TWO = Migration(name="001_before_a.sql", text="select 1"), Migration(name="002_after_b.sql", text="select 2")


def test_file_names_number_the_steps_and_say_when_they_run() -> None:
    names = [step.name for step in migrations()]
    assert all(re.fullmatch(r"\d{3}_(before|after)_[a-z0-9_]+\.sql", name) for name in names)
    assert [int(name[:3]) for name in names] == list(range(1, len(names) + 1))


def test_only_what_is_missing_is_outstanding() -> None:
    assert outstanding([_ONE, _TWO], {_ONE.name: _ONE.sha256}) == [_TWO]


def test_a_changed_file_is_refused_by_name() -> None:
    with pytest.raises(MigrationError, match=r"001_before_a\.sql has changed"):
        outstanding([_ONE], {_ONE.name: "another hash"})


def test_a_newer_database_is_refused_by_the_name_of_its_step() -> None:
    with pytest.raises(MigrationError, match=r"newer than this hub: it has 002_after_b\.sql"):
        outstanding([_ONE], {_ONE.name: _ONE.sha256, _TWO.name: _TWO.sha256})


@pytest.mark.postgres
async def test_migrating_again_changes_nothing(dsn: str, database: Database) -> None:
    assert await migrate(dsn) == []
    assert await behind(database) == []


@pytest.mark.postgres
async def test_a_step_that_is_missing_or_unknown_is_seen(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("delete from migration where name = '002_before_observation.sql'")
        assert await behind(database) == ["002_before_observation.sql"]
        await connection.execute("insert into migration values ('999_before_later.sql', '')")
    with pytest.raises(MigrationError, match="999_before_later"):
        await behind(database)


@pytest.mark.postgres
async def test_a_failing_step_is_rolled_back(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Migration(name="900_before_bad.sql", text="create table half (a int); create table gateway (a int)")
    monkeypatch.setattr("hub.store.migrate.migrations", lambda: [*migrations(), bad])
    with pytest.raises(MigrationError, match="900_before_bad"):
        await migrate(dsn)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        assert await (await connection.execute("select to_regclass('half')")).fetchone() == (None,)
