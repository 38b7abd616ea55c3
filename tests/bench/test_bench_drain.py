"""The drain's bench counts what is lost and doubled, knows when a batch was stored, and runs. No time is asserted."""

from __future__ import annotations

import itertools
import json

import pytest
from typer.testing import CliRunner

from bench.backlog import Backlog
from bench.cli import bench_app
from bench.drain import Waiting, prepare, tally
from bench.witness import Latency, Witness
from wire.ack import Ack
from wire.batch import Batch, open_batch
from wire.identity import Epoch, GatewayId
from wire.keys import SigningKey

GATEWAY = GatewayId("thon-1")


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Waiting:
    return prepare(tmp_path_factory.mktemp("drain"), Backlog(batches=4, readings=30, until_ms=1_790_000_000_000))


def opened(waiting: Waiting) -> list[Batch]:
    verifier = waiting.key.public.verifier()
    seqs = range(waiting.filled.first_seq, waiting.filled.last_seq + 1)
    return [open_batch(envelope, verifier) for envelope in waiting.envelopes(seqs)]


def test_the_backlog_is_one_signed_chain_of_real_readings_up_to_its_end(waiting: Waiting) -> None:
    batches = opened(waiting)
    assert [batch.columns.n for batch in batches] == [30] * 4
    assert [later.body.prev for later in batches[1:]] == [batch.payload_sha256 for batch in batches[:-1]]
    assert batches[-1].body.to_ms == waiting.backlog.until_ms
    assert all(later.body.from_ms == batch.body.to_ms for batch, later in itertools.pairwise(batches))
    readings = [one for batch in batches for one in batch.readings()]
    assert all(one.quantities for one in readings)
    assert len({one.codec.partition("/")[0] for one in readings}) == 3


def test_what_the_hub_lacks_is_lost_and_what_it_has_twice_is_double(waiting: Waiting) -> None:
    batches = opened(waiting)
    whole = tally(waiting, batches, [])
    assert (whole.lost, whole.duplicate) == (0, 0)
    worse = tally(waiting, [*batches[1:], batches[-1]], [("0" * 16, 1)])
    assert (worse.lost, worse.duplicate) == (30 + 1, 30)


def witness(*acks: tuple[float, int, int, tuple[tuple[int, int], ...]]) -> Witness:
    made = Witness(gateway=GATEWAY, hub=SigningKey.generate().public.verifier(), port=0)
    epoch = Epoch("0" * 16)
    made.heard = [
        (at, Ack(gateway=GATEWAY, incarnation=1, epoch=epoch, through=through, highest=highest, missing=missing))
        for at, through, highest, missing in acks
    ]
    return made


def test_a_batch_is_stored_when_an_acknowledgement_first_has_it_beyond_a_hole_too() -> None:
    w = witness((1.0, 2, 9, ((3, 8),)), (2.0, 5, 9, ((6, 8),)), (3.0, 9, 10, ()))
    assert w.stored_at(range(1, 12)) == {
        1: 1.0,
        2: 1.0,
        3: 2.0,
        4: 2.0,
        5: 2.0,
        6: 3.0,
        7: 3.0,
        8: 3.0,
        9: 1.0,
        10: 3.0,
    }
    assert (w.passed_at(5), w.passed_at(11)) == (2.0, None)


def test_two_latencies_are_the_least_that_says_something() -> None:
    assert Latency.of([1.0]) is None
    both = Latency.of([1.0, 3.0])
    assert both is not None
    assert (both.count, both.p50_s, both.worst_s) == (2, 2.0, 3.0)


@pytest.mark.mosquitto
@pytest.mark.postgres
def test_the_drain_bench_loses_nothing_and_gives_its_keys() -> None:
    result = CliRunner().invoke(bench_app, ["drain", "--readings", "1000", "--set", "quiet_s=2", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures.keys() >= {
        "readings_per_s", "ratio_to_hub", "gateway_peak_mb", "gateway_mb_per_million", "alarm_p99_ms", "uplink_p99_ms",
    }  # fmt: skip
    assert (figures["lost"], figures["duplicate"]) == (0, 0)
