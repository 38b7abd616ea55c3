"""The pace: how much of the backlog is on the line. A line here is a rate, a delay, and a queue without end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.pace import Pace

SLOW = 16_000.0  # bytes/s: 128 kbit/s


def drain(pace: Pace, size: int, *, rate: Callable[[float], float], delay_s: float, seconds: float) -> list[float]:
    """Send batches of one size for as long as there is room, over a line; returns how long each was under way, s."""
    now, free_at, number = 0.0, 0.0, 0
    under_way: deque[tuple[float, int, float]] = deque()
    took: list[float] = []
    while now < seconds:
        while pace.has_room:
            pace.begin(number, now)
            pace.weigh(number, size, now)
            free_at = max(now, free_at) + size / rate(now)
            under_way.append((free_at + delay_s, number, now))
            number += 1
        now, done, sent_at = under_way.popleft()
        took.append(now - sent_at)
        pace.end(done, now, taken=True)
    return took


@pytest.mark.parametrize("size", [500, 2_000, 5_000, 15_000])
@pytest.mark.parametrize("delay_s", [0.001, 0.1, 1.0])
def test_a_slow_line_is_full_and_its_queue_is_short(size: int, delay_s: float) -> None:
    took = drain(Pace(), size, rate=lambda _: SLOW, delay_s=delay_s, seconds=120.0)
    settled = took[len(took) // 2 :]
    assert max(settled) <= delay_s + 1.0 + 2 * size / SLOW
    assert len(took) * size / 120.0 >= 0.8 * SLOW


def test_a_fast_line_is_given_all_that_the_window_has() -> None:
    took = drain(Pace(), 2_000, rate=lambda _: 4e6, delay_s=0.05, seconds=30.0)
    assert len(took) * 2_000 / 30.0 >= 0.8 * 4e6


def test_a_line_that_turns_slow_is_given_less_within_some_round_trips() -> None:
    pace = Pace()
    took = drain(pace, 2_000, rate=lambda now: 1e6 if now < 10 else SLOW, delay_s=0.05, seconds=120.0)
    assert max(took[-50:]) < 1.5
    assert pace.allowed < 30_000


def test_a_batch_larger_than_all_room_goes_when_the_line_is_empty() -> None:
    pace = Pace()
    took = drain(pace, 250_000, rate=lambda _: SLOW, delay_s=0.1, seconds=300.0)
    assert max(took[-5:]) == pytest.approx(250_000 / SLOW + 0.1, rel=0.01)


def test_what_was_lost_with_a_connection_takes_no_room_on_the_next() -> None:
    pace = Pace()
    for number in range(4):
        pace.begin(number, 0.0)
        pace.weigh(number, 5_000, 0.0)
    before = pace.has_room
    pace.start_over()
    assert (before, pace.has_room) == (False, True)
    pace.end(0, 9.0, taken=False)
    pace.end(1, 9.0, taken=True)
    assert pace.on_line == 0


def test_a_quiet_line_is_not_given_more_and_more_room() -> None:
    pace, before = Pace(), Pace().allowed
    for number in range(10_000):
        pace.begin(number, float(number))
        pace.weigh(number, 500, float(number))
        pace.end(number, number + 0.01, taken=True)
    assert pace.allowed == before


@given(st.lists(st.tuples(st.sampled_from(["begin", "weigh", "end", "lose"]), st.integers(0, 5), st.floats(0, 60))))
def test_there_is_always_room_on_an_empty_line(steps: list[tuple[str, int, float]]) -> None:
    pace, now = Pace(), 0.0
    for what, batch, later in steps:
        now += later
        if what == "begin":
            pace.begin(batch, now)
        elif what == "weigh":
            pace.weigh(batch, 1 + batch * 40_000, now)
        else:
            pace.end(batch, now, taken=what == "end")
    for batch in range(6):
        pace.end(batch, now, taken=False)
    assert pace.on_line == 0
    assert pace.has_room
