"""The last word of each probe, with the checks of that run and of no other."""

from __future__ import annotations

import msgspec
import pytest

from hub.store.batches import BatchStore
from hub.store.database import Database
from hub.store.latest import latest_states
from tests.hub.written import BEGAN_MS, Log, reading
from wire.identity import SourceId
from wire.reading import Quantity, Reading

pytestmark = pytest.mark.postgres


def word(at_ms: int, source: str, **states: float) -> Reading:
    """What a probe reports: `probe` is its own state."""
    quantities = tuple(Quantity(f"{name}_state", "1", float(code)) for name, code in states.items())
    return msgspec.structs.replace(reading(at_ms, source=SourceId(source)), quantities=quantities)


async def test_a_check_that_was_not_made_again_is_not_shown(database: Database, log: Log) -> None:
    first = [
        word(BEGAN_MS, "internet:main", probe=0, dns=0, http=0),
        word(BEGAN_MS, "camera:gate", probe=2, picture=2),
        reading(BEGAN_MS),  # a sensor is no probe
    ]
    then = [word(BEGAN_MS + 60_000, "internet:main", probe=2, dns=2)]
    await BatchStore(database).commit([log.seal(first), log.seal(then)])
    told = {one.source: (one.state, dict(one.checks)) for one in await latest_states(database)}
    assert told == {"internet:main": (2, {"dns": 2}), "camera:gate": (2, {"picture": 2})}
