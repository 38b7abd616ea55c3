"""The schema's steps: files `NNN_before_<what>.sql` and `NNN_after_<what>.sql`, in order, a transaction each.

`before` steps run before the new code starts and leave the old code working; `after` steps clean up behind it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import psycopg
from psycopg import sql

from hub.store.database import Connection, Database, lost_line

_FILE_NAME: Final = re.compile(r"(\d{3})_(before|after)_[a-z0-9_]+\.sql")
_LOCK: Final = 0x584F4D_4D494752  # "XOM MIGR": two hubs that start together migrate one after the other


class MigrationError(Exception):
    """The database and the code do not fit together: the message names the file and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step: its file name and its text."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the file, so that an edited one is noticed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return every step in order; raises MigrationError for a file whose name does not say when it runs."""
    found = []
    for file in sorted((files("hub.store") / "migrations").iterdir(), key=lambda file: file.name):
        if not _FILE_NAME.fullmatch(file.name):
            raise MigrationError(f"{file.name}: a migration is called NNN_before_<what>.sql or NNN_after_<what>.sql")
        found.append(Migration(name=file.name, text=file.read_text(encoding="utf-8")))
    return found


def outstanding(known: list[Migration], applied: dict[str, str]) -> list[Migration]:
    """Return the steps that are not applied yet; raises MigrationError when file and database disagree.

    `applied` maps file name to hash.
    """
    newer = sorted(applied.keys() - {step.name for step in known})
    if newer:
        raise MigrationError(
            f"the database is newer than this hub: it has {', '.join(newer)}. "
            "Install the hub that made it, or a later one."
        )
    for step in known:
        if applied.get(step.name, step.sha256) != step.sha256:
            raise MigrationError(
                f"{step.name} has changed since it was applied here. "
                "Restore the file and put the change into a new migration."
            )
    return [step for step in known if step.name not in applied]


async def migrate(dsn: str) -> list[str]:
    """Bring the database up to the code and return the names applied; raises MigrationError, StoreUnavailable."""
    with lost_line():
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute("select pg_advisory_lock(%s)", [_LOCK])
            await connection.execute(
                "create table if not exists migration (name text primary key, sha256 text not null, "
                "applied_at timestamptz not null default clock_timestamp())"
            )
            steps = outstanding(migrations(), await _applied(connection))
            if steps:
                await _enable_timescale(connection)
            for step in steps:
                await _apply(connection, step)
            return [step.name for step in steps]


async def behind(database: Database) -> list[str]:
    """Return the names of the steps that this database still lacks; raises MigrationError, StoreUnavailable."""
    async with database.connection() as connection:
        cursor = await connection.execute("select to_regclass('migration') is not null")
        known = migrations()
        if (await cursor.fetchone()) != (True,):
            return [step.name for step in known]
        return [step.name for step in outstanding(known, await _applied(connection))]


async def _applied(connection: Connection) -> dict[str, str]:
    cursor = await connection.execute("select name, sha256 from migration")
    return dict(await cursor.fetchall())


async def _apply(connection: Connection, step: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(step.text.encode())
            await connection.execute("insert into migration (name, sha256) values (%s, %s)", [step.name, step.sha256])
    except (psycopg.ProgrammingError, psycopg.IntegrityError, psycopg.DataError, psycopg.NotSupportedError) as error:
        raise MigrationError(f"{step.name} fails and was rolled back: {error}") from error


async def _enable_timescale(connection: Connection) -> None:
    """Create the extension where the server has it loaded: one that merely has the files would hang up on us."""
    cursor = await connection.execute(
        "select exists (select from pg_available_extensions where name = 'timescaledb')"
        " and coalesce(current_setting('shared_preload_libraries', true), '') like '%timescaledb%'"
    )
    if (await cursor.fetchone()) == (True,):
        await connection.execute(sql.SQL("create extension if not exists timescaledb"))
