"""Frames lost, late, repeated and replayed, told apart by the counter; signal figures; joins."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import Instant
from gateway.health.radio import STORM_JOINS, RadioHealth
from wire.identity import DevEui
from wire.reading import ClockState, Frame, Kind, Link, Quality, Reading

EUI = DevEui("a840410000000001")
NOW = Instant(1_760_000_000_000, 5_000, "b" * 16, ClockState.NTP)
numbers = itertools.count()


def uplink(
    f_cnt: int, *, session: str = "01020304", rssi: int = -100, snr: float = 5.0, key: bytes | None = None
) -> Frame:
    key = key if key is not None else next(numbers).to_bytes(16, "big")
    link = Link(dev_addr=session, f_cnt=f_cnt, rssi_dbm=rssi, snr_db=snr)
    return Frame(EUI.source, Kind.UPLINK, key, 0, 0, 0, NOW.boot, NOW.state, b"\x01", link)


def join() -> Frame:
    return Frame(EUI.source, Kind.JOIN, next(numbers).to_bytes(16, "big"), 0, 0, 0, NOW.boot, NOW.state, b"{}")


def figures(reading: Reading) -> dict[str, float | None]:
    return {quantity.name: quantity.value for quantity in reading.quantities}


def heard(*counters: int) -> dict[str, float | None]:
    radio = RadioHealth()
    for f_cnt in counters:
        radio.hear(uplink(f_cnt))
    [reading] = radio.report(NOW)
    return figures(reading)


def counts(found: dict[str, float | None]) -> tuple[float | None, ...]:
    return tuple(found[f"frames_{name}"] for name in ("expected", "received", "lost", "repeated", "replayed"))


def test_a_jump_of_the_counter_is_frames_lost_on_air() -> None:
    assert counts(heard(10, 11, 14)) == (5, 3, 2, 0, 0)


def test_what_was_sent_before_the_first_frame_is_unknown_and_not_lost() -> None:
    assert counts(heard(5_000)) == (1, 1, 0, 0, 0)


def test_a_late_frame_is_not_lost_and_not_a_replay() -> None:
    assert counts(heard(1, 3, 2)) == (3, 3, 0, 0, 0)


def test_the_same_counter_again_is_a_repeat() -> None:
    assert counts(heard(1, 2, 2, 2)) == (2, 2, 0, 2, 0)


def test_a_counter_of_long_ago_is_a_replay() -> None:
    assert counts(heard(1_000, 3)) == (1, 1, 0, 0, 1)


def test_a_counter_that_begins_anew_is_a_reset_and_not_a_flood_of_replays() -> None:
    found = heard(1_000, 0, 1, 2, 3)
    assert counts(found) == (4, 4, 0, 0, 1)  # the first frame after a reset cannot be told from a replay


def test_a_join_ends_the_session() -> None:
    radio = RadioHealth()
    for frame in (uplink(900), join(), uplink(0, session="05060708"), uplink(2, session="05060708")):
        radio.hear(frame)
    [reading] = radio.report(NOW)
    assert counts(figures(reading)) == (4, 3, 1, 0, 0)
    assert figures(reading)["joins"] == 1


def test_an_event_that_the_broker_hands_over_again_is_one_frame() -> None:
    radio = RadioHealth()
    for _ in range(3):
        radio.hear(uplink(7, key=b"k" * 16))
    [reading] = radio.report(NOW)
    assert counts(figures(reading)) == (1, 1, 0, 0, 0)


def test_reports_add_up_across_their_border() -> None:
    radio = RadioHealth()
    radio.hear(uplink(1))
    [first] = radio.report(NOW)
    radio.hear(uplink(4))
    [second] = radio.report(NOW)
    assert counts(figures(first)) == (1, 1, 0, 0, 0)
    assert counts(figures(second)) == (3, 1, 2, 0, 0)


def test_a_device_that_is_silent_is_not_reported() -> None:
    radio = RadioHealth()
    radio.hear(uplink(1))
    assert len(list(radio.report(NOW))) == 1
    assert list(radio.report(NOW)) == []


def test_the_margin_is_what_is_left_above_the_receivers_floor() -> None:
    radio = RadioHealth()
    for snr, spreading_factor in ((5.0, 7), (-15.0, 12), (-2.5, 7)):
        radio.hear(uplink(next(numbers), snr=snr), spreading_factor)
    [reading] = radio.report(NOW)
    found = figures(reading)
    assert (found["snr_margin"], found["snr"], found["spreading_factor"]) == (5.0, -2.5, 12)


def test_without_a_signal_there_is_no_figure_of_it() -> None:
    radio = RadioHealth()
    radio.hear(join())
    [reading] = radio.report(NOW)
    signal = [quantity for quantity in reading.quantities if quantity.name in {"rssi", "snr", "snr_margin"}]
    assert [(quantity.value, quantity.quality) for quantity in signal] == [(None, Quality.INVALID)] * 3


def test_joining_again_and_again_is_a_storm() -> None:
    radio = RadioHealth()
    for _ in range(STORM_JOINS - 1):
        radio.hear(join())
    assert radio.storming() == []
    radio.hear(join())
    assert radio.storming() == [EUI]


def test_strangers_without_end_cost_no_memory_without_end() -> None:
    radio = RadioHealth()
    for number in range(6_000):
        source = DevEui(f"{number:016x}").source
        radio.hear(
            Frame(source, Kind.UPLINK, number.to_bytes(16, "big"), 0, 0, 0, "", NOW.state, b"", Link("01020304"))
        )
    assert radio.strangers == 1_000
    assert len(list(radio.report(NOW))) == 5_000


@given(lost=st.sets(st.integers(1, 200), max_size=60), start=st.integers(0, 2**32 - 300))
def test_exactly_the_frames_that_did_not_come_are_lost(lost: set[int], start: int) -> None:
    came = [number for number in range(201) if number not in lost and number != 200] + [200]
    found = heard(*(start + number for number in came))
    assert found["frames_lost"] == len(lost - {200})
    assert found["frames_received"] == len(came)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(["01020304", "05060708"])), max_size=80))
def test_no_order_of_counters_makes_a_figure_impossible(frames: list[tuple[int, str]]) -> None:
    radio = RadioHealth()
    for f_cnt, session in frames:
        radio.hear(uplink(f_cnt, session=session))
    for reading in radio.report(NOW):
        expected, received, lost, repeated, replayed = (value or 0 for value in counts(figures(reading)))
        assert min(expected, received, lost, repeated, replayed) >= 0
        assert received + repeated + replayed == len(frames)
