"""A12 on loopback: a backlog reaches the hub once, in flat memory, and what is live meanwhile does not wait for it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.backlog import Backlog
from bench.drain import Sizes, drained, prepare, tally
from bench.witness import delays
from tests.faults.harness import Case, seed, trials

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]

_BATCHES = 1_000  # of fifty readings
_GROWTH_MB = 16.0  # of a process that has delivered it all; a backlog held in memory would take a hundred and more


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place that PostgreSQL's own account may pass through, which pytest's is not."""
    with tempfile.TemporaryDirectory(prefix="xom-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a12_a_backlog_drains_once_and_what_is_live_overtakes_it(folder: Path) -> None:
    case = Case(id="A12", seed=seed(1200))
    backlog = Backlog(batches=max(_BATCHES, trials(_BATCHES)), readings=50, until_ms=time.time_ns() // 1_000_000)
    waiting = prepare(folder, backlog)
    watched = asyncio.run(drained(waiting, Sizes(quiet_s=1.0)))
    tallied = tally(waiting, watched.stored, watched.sent.keys())
    late = delays(watched.sent, tallied.batch_of, watched.stored_at)
    overtook = sum(at + seconds < watched.ended for at, seconds in late.values())
    case.trials, case.stored = backlog.batches, backlog.total + len(tallied.batch_of)
    case.lost, case.duplicate = tallied.lost, tallied.duplicate + watched.observations_twice
    case.recovered(max(seconds for _, seconds in late.values()))
    print(f"{overtook} of {len(late)} live uplinks were at the hub before the last of the backlog")  # noqa: T201
    case.close()
    assert overtook > 0
    assert watched.gateway_peak_mb - watched.beats[0].gateway_mb < _GROWTH_MB
