"""The embedded server: starts, keeps what it was given, refuses to share its directory, says what is in the way."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from hub.store.database import StoreUnavailable, open_database
from hub.store.embedded import EmbeddedError, embedded_postgres

pytestmark = pytest.mark.postgres


@pytest.fixture
def home() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="xom-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


async def test_data_outlives_the_server_and_a_second_hub_is_told_the_pid(home: Path) -> None:
    async with embedded_postgres(home / "postgres") as dsn:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute("create table kept as select 1 as one")
            names = ("fsync", "synchronous_commit", "listen_addresses")
            settings = "select current_setting(%s), current_setting(%s), current_setting(%s)"
            assert await (await connection.execute(settings, names)).fetchone() == ("on", "on", "")
        pid = (home / "postgres/postmaster.pid").read_text().split()[0]
        with pytest.raises(EmbeddedError, match=f"pid {pid}"):
            async with embedded_postgres(home / "postgres"):
                pass
    with pytest.raises(StoreUnavailable, match="dsn"):
        async with open_database(dsn):
            pass
    # What a crash leaves: a pid file, whose number is by now another program's (ours).
    (home / "postgres/postmaster.pid").write_text(f"{os.getpid()}\n{home}/postgres\n1\n5432\n/nowhere\n\n0 0\nready\n")
    async with embedded_postgres(home / "postgres") as dsn, await psycopg.AsyncConnection.connect(dsn) as connection:
        assert await (await connection.execute("select one from kept")).fetchone() == (1,)


async def test_foreign_files_are_not_taken_for_a_cluster(home: Path) -> None:
    (home / "postgres").mkdir()
    (home / "postgres/letter.txt").write_text("dear")
    with pytest.raises(EmbeddedError, match="no PostgreSQL cluster"):
        async with embedded_postgres(home / "postgres"):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another account")
async def test_a_directory_in_the_way_is_named(home: Path) -> None:
    (home / "private").mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=rf"cannot enter {home}/private \(mode 700\)"):
        async with embedded_postgres(home / "private/postgres"):
            pass
