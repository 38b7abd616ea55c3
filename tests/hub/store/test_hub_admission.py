"""What becomes of a batch, decided without a database."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.store.admission import Admitted, Chain, Held, Key, Outcome, judge, neighbours
from hub.store.deliveries import advance
from tests.hub.written import Log
from wire.identity import GatewayId

_LOG = Log(GatewayId("gw-a"))
_BATCHES = _LOG.many(6)
_KEYS = {_LOG.gateway: _LOG.key.public}


def test_a_batch_is_compared_with_its_own_number_and_its_neighbours() -> None:
    assert {seq for _, _, seq in neighbours([_BATCHES[2]])} == {2, 3, 4}


@given(st.lists(st.lists(st.sampled_from(_BATCHES), max_size=8), max_size=6))
def test_any_order_stores_each_once_and_ends_with_every_neighbour_linked(groups: list[list[Admitted]]) -> None:
    held: dict[Key, Held] = {}
    for group in groups:
        verdict = judge(group, held, _KEYS)
        assert not verdict.incidents
        assert verdict.outcomes.count(Outcome.STORED) == len(verdict.new)
        for at, chain in verdict.new:
            batch = group[at].batch
            assert group[at].key not in held
            held[group[at].key] = Held(payload_sha256=batch.payload_sha256, prev_sha256=batch.body.prev, chain=chain)
        for key, chain in verdict.relinked:
            was = held[key]
            held[key] = Held(payload_sha256=was.payload_sha256, prev_sha256=was.prev_sha256, chain=chain)
    stored = {seq for _, _, seq in held}
    for (_, _, seq), one in held.items():
        assert one.chain is (Chain.LINKED if seq == 1 or seq - 1 in stored else Chain.PENDING)


@given(st.integers(0, 50), st.sets(st.integers(1, 30)))
def test_the_watermark_stops_at_the_first_hole(through: int, offsets: set[int]) -> None:
    above = sorted(through + offset for offset in offsets)
    moved, passed = advance(through, above)
    assert set(range(through + 1, moved + 1)) == set(above[:passed])
    assert moved + 1 not in above


ranges = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 12)), max_size=5)


@given(st.integers(0, 20), st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)), ranges)
def test_the_watermark_moves_over_what_is_stored_or_accounted_for_and_stops_before_a_broken_link(
    through: int, offsets: set[int], torn: set[int], drawn: list[tuple[int, int]]
) -> None:
    stored = {through + offset for offset in offsets}
    broken = stored & {through + offset for offset in torn}
    accounted = sorted((first, first + more) for first, more in drawn if first + more > through)
    declared = {seq for first, last in accounted for seq in range(first, last + 1)}
    above = [-seq if seq in broken else seq for seq in sorted(stored)]
    moved, passed = advance(through, above, accounted)
    passable = (stored | declared) - broken
    assert set(range(through + 1, moved + 1)) <= passable
    assert moved + 1 not in passable
    assert [abs(seq) for seq in above[:passed]] == sorted(seq for seq in stored if seq <= moved)


def test_a_range_of_any_length_is_passed_in_one_step() -> None:
    assert advance(3, [5, 2**61 + 1], [(4, 4), (6, 2**61)]) == (2**61 + 1, 2)
