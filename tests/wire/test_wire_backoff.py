"""Waiting before trying again."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from wire.backoff import Backoff


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_no_delay_is_shorter_than_half_the_first_or_longer_than_the_longest(seed: int, failures: int) -> None:
    backoff = Backoff(first_s=2.0, longest_s=60.0, chance=random.Random(seed))
    delays = [backoff.next_s() for _ in range(failures)]
    assert all(1.0 <= delay <= 60.0 for delay in delays)


@given(st.integers(0, 2**32))
def test_the_range_doubles_until_the_longest(seed: int) -> None:
    backoff = Backoff(first_s=1.0, longest_s=8.0, chance=random.Random(seed))
    for ceiling in (1.0, 2.0, 4.0, 8.0, 8.0, 8.0):
        assert ceiling / 2 <= backoff.next_s() <= ceiling


def test_two_gateways_do_not_wait_equally_long() -> None:
    delays = {Backoff(first_s=10.0, chance=random.Random(seed)).next_s() for seed in range(50)}
    assert len(delays) == 50
    assert max(delays) - min(delays) > 3.0


def test_a_success_starts_again_from_the_first_delay() -> None:
    backoff = Backoff(first_s=1.0, longest_s=300.0)
    for _ in range(9):
        backoff.next_s()
    backoff.succeed()
    assert backoff.next_s() <= 1.0


def test_a_million_failures_do_not_overflow() -> None:
    assert Backoff(longest_s=300.0, failures=1_000_000).next_s() <= 300.0


def test_what_worked_for_a_moment_is_tried_again_within_a_minute_and_not_at_once() -> None:
    backoff = Backoff(first_s=1.0, longest_s=300.0, failures=20)
    backoff.relent(60.0)
    assert 16.0 <= backoff.next_s() <= 60.0
    young = Backoff(first_s=1.0, longest_s=300.0)
    young.relent(60.0)
    assert young.next_s() <= 1.0
