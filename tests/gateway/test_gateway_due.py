"""What was owed and what came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.due import RADIO, DueLedger
from tests.gateway.gateway_readings import SENSOR, START_MS, reading
from wire.batch import Due
from wire.identity import SourceId
from wire.reading import Kind, Reading

MINUTE_MS = 60_000


def ledger(interval_s: float = 60.0) -> DueLedger:
    return DueLedger({SENSOR: interval_s}, START_MS)


def at(minutes: float) -> int:
    return START_MS + int(minutes * MINUTE_MS)


def test_a_source_that_sends_as_expected_misses_nothing() -> None:
    accounts = ledger()
    for minute in range(1, 20):
        assert accounts.settle(at(minute), [reading(minute)]) == [Due(SENSOR, 1, 1)]


def test_a_source_of_which_nothing_is_known_is_not_in_the_books() -> None:
    stranger = reading(1, source=SourceId("lorawan:ffffffffffffffff"))
    assert ledger().settle(at(0.5), [stranger]) == []
    assert DueLedger({SENSOR: 0.0}, START_MS).settle(at(60), [reading(1)]) == []


def test_a_sample_that_comes_an_interval_late_is_not_missed() -> None:
    accounts = ledger()
    assert accounts.settle(at(1), []) == [Due(SENSOR, 1, 0)]
    assert accounts.settle(at(2), [reading(1), reading(2)]) == [Due(SENSOR, 1, 2)]
    assert accounts.settle(at(3), [reading(3)]) == [Due(SENSOR, 1, 1)]


def test_silence_beyond_one_interval_is_missed_without_a_reason() -> None:
    accounts = ledger()
    assert accounts.settle(at(5), []) == [Due(SENSOR, 5, 0, 4)]
    assert accounts.settle(at(10), []) == [Due(SENSOR, 5, 0, 5)]


def test_what_the_frame_counter_skipped_was_lost_on_air() -> None:
    accounts = ledger()
    accounts.settle(at(1), [reading(1)])
    assert accounts.settle(at(5), [reading(5)]) == [Due(SENSOR, 4, 1, 2, RADIO)]


def test_a_new_session_starts_counting_anew() -> None:
    accounts = ledger()
    accounts.settle(at(1), [reading(1)])
    assert accounts.settle(at(5), [reading(50, dev_addr="ffffffff")]) == [Due(SENSOR, 4, 1, 2)]


def test_a_join_or_a_status_pays_no_sample() -> None:
    accounts = ledger()
    assert accounts.settle(at(1), [reading(1, kind=Kind.JOIN), reading(2, kind=Kind.STATUS)]) == [Due(SENSOR, 1, 0)]


def test_an_eager_source_cannot_pay_for_hours_of_silence_in_advance() -> None:
    accounts = ledger()
    accounts.settle(at(1), [reading(number) for number in range(100)])
    (due,) = accounts.settle(at(61), [])
    assert due.missed == 58


def test_a_clock_that_jumps_back_owes_nothing_twice() -> None:
    accounts = ledger()
    accounts.settle(at(10), [reading(number) for number in range(10)])
    assert accounts.settle(at(4), []) == []
    assert accounts.settle(at(11), [reading(11)]) == [Due(SENSOR, 1, 1)]


def test_a_window_whose_readings_fill_several_batches_misses_nothing_that_came() -> None:
    accounts = ledger()
    readings = [reading(number) for number in range(1, 6)]
    parts = [
        accounts.settle(at(5), [], more=True),
        accounts.settle(at(5), readings[:2], more=True),
        accounts.settle(at(5), readings[2:]),
    ]
    assert parts == [[Due(SENSOR, 5, 0)], [Due(SENSOR, 0, 2)], [Due(SENSOR, 0, 3)]]
    assert sum(due.missed for part in parts for due in part) == 0


def test_a_batch_that_could_not_be_sealed_leaves_the_books_as_they_were() -> None:
    accounts = ledger()
    mark = accounts.mark()
    first = accounts.settle(at(5), [reading(4)])
    accounts.rewind(mark)
    assert accounts.settle(at(5), [reading(4)]) == first


windows = st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 6), st.booleans()), max_size=30)


@given(windows, st.integers(1, 300))
def test_counts_add_up_however_the_time_is_cut_into_windows(cuts: list[tuple[int, int, bool]], interval_s: int) -> None:
    accounts, now, number = ledger(interval_s), START_MS, 0
    dues: list[Due] = []
    for length, count, more in cuts:
        now += length
        readings: list[Reading] = [reading(number + one) for one in range(count)]
        number += count
        dues += accounts.settle(now, readings, more=more)
    assert sum(due.expected for due in dues) == (now - START_MS) // (interval_s * 1000)
    assert sum(due.received for due in dues) == number
    assert 0 <= sum(due.missed for due in dues) <= sum(due.expected for due in dues)
