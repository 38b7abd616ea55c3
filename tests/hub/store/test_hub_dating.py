"""Times told by a clock that was set afterwards: the pure rule."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hub.store import dating as rule
from hub.store.dating import Dating, Setting, is_unset, told
from tests.hub.unset_clock import DECADE_MS, TRUE_START_MS, Boot, BootLog
from wire.batch import Batch, Event
from wire.reading import ClockState

BOOT_KEY = (BootLog().gateway, Boot().name)


def batch_of(boot: Boot, *monotonic_ms: int, events: tuple[Event, ...] = (), lag_ms: int = 40) -> Batch:
    readings = [boot.reading(at, lag_ms=lag_ms) for at in monotonic_ms]
    return BootLog().seal(readings, events, boot).batch


def date(batch: Batch, known: Iterable[Setting]) -> Dating:
    return rule.date((batch.gateway, batch.body.boot), batch.columns, known)


def settings_in(batch: Batch) -> list[Setting]:
    return [setting for _, setting in told(batch)]


def test_a_start_in_1970_is_dated_by_the_setting_that_came_later() -> None:
    boot = Boot(0)
    early = batch_of(boot, 60_000, 120_000)
    later = batch_of(boot, events=(boot.set_right(600_000),))
    dating = date(early, settings_in(later))
    assert dating.times_ms == [boot.true(60_000) - 40, boot.true(120_000) - 40]
    assert dating.originals == {0: 59_960, 1: 119_960}
    assert (dating.settled, dating.settings) == (Setting(600_000, boot.true(600_000)), 1)


def test_without_a_setting_times_stay_as_written_and_wait() -> None:
    dating = date(batch_of(Boot(0), 60_000), [])
    assert (dating.times_ms, dating.originals, dating.settled) == ([59_960], {}, None)
    assert dating.certain == [False]


def test_several_steps_add_up_whether_or_not_all_are_told() -> None:
    boot = Boot(0)
    first = batch_of(boot, 60_000)
    by_hand = boot.step(120_000, TRUE_START_MS - DECADE_MS, ClockState.NONE)
    second = batch_of(boot, 180_000)
    by_ntp = boot.set_right(240_000)
    teller = batch_of(boot, events=(by_hand, by_ntp))
    assert settings_in(teller) == [Setting(240_000, boot.true(240_000))], "a step to an unset clock tells no time"
    assert date(first, settings_in(teller)).times_ms == [boot.true(60_000) - 40]
    assert date(second, settings_in(teller)).times_ms == [boot.true(180_000) - 40]


def test_a_step_between_set_clocks_shifts_nothing() -> None:
    boot = Boot(0)
    early = batch_of(boot, 60_000)
    right = boot.set_right(120_000)
    good = batch_of(boot, 180_000)
    false_server = boot.step(240_000, boot.true(240_000) + DECADE_MS)
    teller = batch_of(boot, events=(right, false_server))
    assert not is_unset(good)
    assert date(early, settings_in(teller)).times_ms == [boot.true(60_000) - 40]


def test_a_clock_that_was_set_but_not_yet_seen_to_be_is_not_shifted_again() -> None:
    boot = Boot(0)
    event = boot.set_right(60_000)
    boot.state = ClockState.NONE  # the kernel is asked every ten seconds
    between = batch_of(boot, 61_000)
    boot.state = ClockState.NTP
    dating = date(between, [Setting(70_000, boot.true(70_000)), *settings_in(batch_of(boot, events=(event,)))])
    assert dating.times_ms == [boot.true(61_000) - 40]
    assert dating.certain == [True]


def test_a_time_that_another_clock_gave_is_left_alone() -> None:
    boot = Boot(0)
    by_satellite = batch_of(boot, 60_000, lag_ms=-TRUE_START_MS)
    before_the_boot = batch_of(Boot(TRUE_START_MS - DECADE_MS), 60_000, lag_ms=120_000)
    for one in (by_satellite, before_the_boot):
        dating = date(one, [Setting(600_000, boot.true(600_000))])
        assert (dating.times_ms, dating.originals) == (dating.written_ms, {})


def test_a_setting_that_leads_out_of_the_calendar_dates_nothing() -> None:
    dating = date(batch_of(Boot(TRUE_START_MS), 600_000), [Setting(2**50, 0)])
    assert (dating.times_ms, dating.originals) == ([TRUE_START_MS + 599_960], {})


def test_a_boot_without_a_usable_name_is_not_dated() -> None:
    for name in ("", "b" * 65, "b\0b"):
        boot = Boot(0, name)
        assert not is_unset(batch_of(boot, 1_000))
        assert settings_in(batch_of(boot, events=(boot.set_right(2_000),))) == []


def test_events_that_are_no_steps_tell_nothing() -> None:
    odd = [
        "",
        "[]",
        '{"boot": 1}',
        msgspec.json.encode({"boot": "b", "monotonic_ms": -1, "state_after": "ntp"}).decode(),
    ]
    events = tuple(Event(1, "clock_step", detail) for detail in odd)
    assert settings_in(batch_of(Boot(0), events=(*events, Event(1, "start", "boot b")))) == []


# A boot as a list of happenings, in order: how long until it, and what the wall clock shows after it and who set it.
happenings = st.lists(
    st.tuples(st.integers(50, 3_600_000), st.none() | st.tuples(st.integers(50, 2 * TRUE_START_MS), st.booleans())),
    max_size=12,
)


@given(happenings, st.integers(0, 2 * TRUE_START_MS), st.data())
def test_whatever_the_clock_did_and_whatever_was_told_a_dated_time_is_the_true_one(
    history: list[tuple[int, tuple[int, bool] | None]], wall_start_ms: int, data: st.DataObject
) -> None:
    boot, now, unset, tellers = Boot(wall_start_ms), 0, list[tuple[int, Batch]](), list[Batch]()
    for wait, event in history:
        now += wait
        if event is None:
            if boot.state is ClockState.NONE:
                unset.append((now, batch_of(boot, now)))
        elif event[1]:
            tellers.append(batch_of(boot, events=(boot.set_right(now),)))
        else:
            boot.step(now, event[0], ClockState.NONE)
    known = [setting for one in data.draw(st.permutations(tellers)) for setting in settings_in(one)]
    some = data.draw(st.lists(st.sampled_from(known), unique=True)) if known else []
    for at, batch in unset:
        dating = date(batch, known)
        assert dating == date(batch, [*reversed(known), *known]), "in any order, however often"
        assert bool(dating.originals) == any(setting.monotonic_ms >= at for setting in known)
        for partial in (dating, date(batch, some)):
            assert partial.times_ms == ([boot.true(at) - 40] if partial.originals else batch_times(batch))


def batch_times(batch: Batch) -> list[int]:
    return [one.frame.observed_at_ms for one in batch.readings()]


@given(
    st.lists(st.builds(Setting, st.integers(0, 1_000), st.integers(0, 10)), max_size=8),
    st.integers(0, 1_000),
)
def test_only_a_setting_in_the_counted_range_changes_a_dating(settings: list[Setting], new_ms: int) -> None:
    batch = batch_of(Boot(0), 300, 400, 500, lag_ms=0)
    before, new = date(batch, settings), Setting(new_ms, 7)
    after = date(batch, [*settings, new])
    in_range = new_ms >= before.first_monotonic_ms and (before.settled is None or new <= before.settled)
    if not in_range or new in settings:
        assert after == before
