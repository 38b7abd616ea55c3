"""A migrated database for each test: copied on one embedded server, or made on the server in XOM_TEST_DSN."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hub.registry.files import EnrolledGateway, Registry
from hub.store.database import Database, open_database
from hub.store.embedded import embedded_postgres
from hub.store.migrate import migrate
from hub.store.registry import load_registry
from tests.hub.written import BEGAN, Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A PostgreSQL server, and the name of a migrated database to copy (None: migrate each anew)."""

    dsn: str
    template: str | None

    async def make(self, name: str) -> str:
        """Make a migrated database and return its DSN."""
        statement = "create database {name} template {template}" if self.template else "create database {name}"
        names = {"name": sql.Identifier(name), "template": sql.Identifier(self.template or "template1")}
        await self._execute(sql.SQL(statement).format(**names))
        dsn = make_conninfo(self.dsn, dbname=name)
        await migrate(dsn)
        return dsn

    async def drop(self, name: str) -> None:
        """Remove a database, whoever still uses it."""
        await self._execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    async def _execute(self, statement: sql.Composed) -> None:
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            await connection.execute(statement)


def fresh_name() -> str:
    """Return a name that no database has."""
    return f"xom_test_{secrets.token_hex(6)}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres() -> AsyncIterator[Server]:
    """The server that all tests share."""
    if given := os.environ.get("XOM_TEST_DSN"):
        # A TimescaleDB server keeps workers in each database, so none there can be a template.
        yield Server(dsn=given, template=None)
        return
    # Not under pytest's own folder: PostgreSQL's account may not enter it when we are root.
    home = Path(tempfile.mkdtemp(prefix="xom-test-"))
    home.chmod(0o755)  # noqa: ASYNC240 - one system call, before anything runs beside it
    try:
        async with embedded_postgres(home / "postgres") as dsn:
            plain = Server(dsn=dsn, template=None)
            template = fresh_name()
            await plain.make(template)
            yield Server(dsn=dsn, template=template)
    finally:
        shutil.rmtree(home)


@pytest.fixture
async def dsn(postgres: Server) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    name = fresh_name()
    yield await postgres.make(name)
    await postgres.drop(name)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """A pool on the test's own database."""
    async with open_database(dsn, pool_size=6) as opened:
        yield opened


async def enrol(database: Database, *logs: Log) -> None:
    """Put the writers of these logs into the registry."""
    gateways = {
        log.gateway: EnrolledGateway(gateway_id=log.gateway, key=log.key.public, enrolled_at=BEGAN) for log in logs
    }
    await load_registry(database, Registry(gateways=tuple(gateways.values())))
