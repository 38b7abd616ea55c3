"""How much is lost, counted piece by piece, against counting number by number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.store.losses import Declared, Held, Loss, held_within, loss, pieces

READINGS = 7  # of each batch, where a test draws them

declared = st.lists(
    st.builds(
        lambda first, more, certain: Declared(
            first=first, last=first + more, readings=(more + 1) * READINGS, certain=certain
        ),
        st.integers(1, 30),
        st.integers(0, 12),
        st.booleans(),
    ),
    max_size=6,
)


def numbers(one: Declared) -> set[int]:
    return set(range(one.first, one.last + 1))


def held(ranges: list[Declared], stored: set[int]) -> list[Held]:
    counts = [len(stored & set(range(first, last + 1))) for first, last in pieces(ranges)]
    return [Held(batches=count, readings=count * READINGS) for count in counts]


@given(declared, st.sets(st.integers(1, 45)))
def test_a_number_that_several_ranges_declare_is_lost_once_and_not_when_it_is_here(
    ranges: list[Declared], stored: set[int]
) -> None:
    certain = set[int]().union(*(numbers(one) for one in ranges if one.certain)) - stored
    perhaps = set[int]().union(*(numbers(one) for one in ranges)) - stored - certain
    counted = loss(ranges, held(ranges, stored))
    assert (counted.batches, counted.uncertain) == (len(certain), len(perhaps))
    assert counted.readings <= READINGS * len(certain | perhaps)


@given(declared, st.sets(st.integers(1, 45)))
def test_what_is_here_of_each_range_is_what_is_here_of_its_pieces(ranges: list[Declared], stored: set[int]) -> None:
    within = held_within(ranges, held(ranges, stored))
    assert [one.batches for one in within] == [len(stored & numbers(one)) for one in ranges]


def of(first: int, last: int, readings: int | None, certain: bool = True) -> Declared:
    return Declared(first=first, last=last, readings=readings, certain=certain)


def test_a_record_that_joins_two_earlier_ones_takes_their_place() -> None:
    told = [of(1, 16, 100), of(17, 32, 90), of(1, 32, 190)]
    assert loss(told, held(told, set())) == Loss(batches=32, uncertain=0, readings=190)


def test_where_the_whole_is_unknown_its_parts_count() -> None:
    told = [of(1, 40, None, certain=False), of(3, 5, 20), of(9, 9, 5)]
    assert loss(told, held(told, set())) == Loss(batches=4, uncertain=36, readings=25)


def test_what_arrived_late_is_taken_out_with_its_readings() -> None:
    told = [of(1, 4, 4 * READINGS)]
    assert loss(told, held(told, {2, 3})) == Loss(batches=2, uncertain=0, readings=2 * READINGS)
    assert loss(told, held(told, {1, 2, 3, 4})) == Loss(batches=0, uncertain=0, readings=0)


def test_a_range_of_any_length_is_one_piece() -> None:
    told = [of(5, 2**62, None)]
    assert pieces(told) == [(5, 2**62)]
    assert loss(told, [Held(batches=1, readings=0)]).batches == 2**62 - 5
