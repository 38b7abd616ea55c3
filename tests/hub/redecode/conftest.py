"""Two libraries, and a hub whose gateways had the right one from the start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codec.profiles import ProfileLibrary
from hub.store.database import Database, open_database
from tests.hub.redecoding import library_at
from tests.hub_database import Server, fresh_name


@pytest.fixture
def faulty(tmp_path: Path) -> ProfileLibrary:
    return library_at(tmp_path / "faulty", right=False)


@pytest.fixture
def right(tmp_path: Path) -> ProfileLibrary:
    return library_at(tmp_path / "right", right=True)


@pytest.fixture
async def other(postgres: Server) -> AsyncIterator[Database]:
    """The hub whose gateways had the right library from the start."""
    name = fresh_name()
    async with open_database(await postgres.make(name), pool_size=4) as opened:
        yield opened
    await postgres.drop(name)
