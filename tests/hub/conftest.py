"""What the hub's tests share: the log of a gateway that is enrolled."""

from __future__ import annotations

import pytest

from hub.store.database import Database
from tests.hub.written import Log
from tests.hub_database import enrol
from wire.identity import GatewayId


@pytest.fixture
async def log(database: Database) -> Log:
    """The log of an enrolled gateway."""
    made = Log(GatewayId("gw-a"))
    await enrol(database, made)
    return made
