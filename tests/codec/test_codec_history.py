"""Records from a device's memory: believable times, readings of their own, each sample once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.client import CodecWorker
from codec.errors import DecodeError
from codec.history import HistoryRule, Known, history_rule, known, repeats
from codec.profiles import ProfileLibrary
from codec.quantities import AHEAD_MS, EARLIEST_MS, Overlay, Past, QuantityRule, read_history
from tests.codec.test_codec_worker import frame
from wire.reading import Kind, Quality, Quantity, Undecoded

OVERLAY = Overlay(lengths={}, quantities=(QuantityRule(field="x", name="depth", unit="mm", min=0, max=100),))
AT_MS = 1_755_636_688_000  # 2025-08-19T20:51:28Z
TAKEN = "20ced0e3a468d207"  # EM500-UDL: 2002 mm, at AT_MS


def past(time: object, received_ms: int = AT_MS + 3_600_000, data: object = None) -> Past:
    (found,) = read_history({"history": [{"time": time, "data": data or {"x": 5}}]}, OVERLAY, received_ms)
    return found


@pytest.mark.parametrize(
    "time", ["2025-08-19T20:51:28.000Z", "2025-08-20T03:51:28+07:00", 1_755_636_688, 1_755_636_688.0]
)
def test_a_record_has_the_time_of_its_device(time: object) -> None:
    assert past(time) == Past(AT_MS, (Quantity("depth", "mm", 5.0),))


@pytest.mark.parametrize(
    "time",
    [
        "1970-01-01T00:00:00.000Z",
        0,
        -1,
        "2025-08-19T20:51:28",  # no offset: nobody knows whose time
        "yesterday",
        None,
        True,
        [],
        1e300,
        float("nan"),
        "2106-02-07T06:28:15.000Z",
    ],
)
def test_a_time_that_cannot_be_is_not_believed(time: object) -> None:
    found = past(time)
    assert (found.undecoded, found.quantities) == (Undecoded.BAD_TIME, ())
    assert "time" in found.problem


def test_the_bounds_of_belief_are_2020_and_the_frame_itself() -> None:
    assert past(EARLIEST_MS / 1000).undecoded is None
    assert past(EARLIEST_MS / 1000 - 1).undecoded is Undecoded.BAD_TIME
    assert past(AT_MS / 1000, received_ms=AT_MS - AHEAD_MS).undecoded is None
    assert past(AT_MS / 1000, received_ms=AT_MS - AHEAD_MS - 1).undecoded is Undecoded.BAD_TIME


def test_a_gateway_whose_clock_was_never_set_does_not_call_a_record_late() -> None:
    assert past(AT_MS / 1000, received_ms=5_000).undecoded is None


@pytest.mark.parametrize("record", [5, None, [], {"time": 1}, {"data": {}}, {"time": 1, "data": []}])
def test_what_is_no_record_has_a_reason(record: object) -> None:
    (found,) = read_history({"history": [record]}, OVERLAY, AT_MS)
    assert found.undecoded in {Undecoded.BAD_OUTPUT, Undecoded.BAD_TIME}


def test_a_record_with_a_number_that_is_none_has_a_reason_and_its_neighbours_none() -> None:
    records = [{"time": AT_MS / 1000, "data": {"x": value}} for value in (1, None, 3)]
    found = read_history({"history": records}, OVERLAY, AT_MS)
    assert [one.undecoded for one in found] == [None, Undecoded.BAD_OUTPUT, None]


@pytest.mark.parametrize("history", [5, {}, "x", [{}] * 122])
def test_a_history_that_is_no_list_of_records_is_bad_output(history: object) -> None:
    with pytest.raises(DecodeError) as caught:
        read_history({"history": history}, OVERLAY, AT_MS)
    assert caught.value.reason is Undecoded.BAD_OUTPUT


async def test_one_frame_gives_several_readings_the_raw_one_first() -> None:
    sent = frame("0382e803" + TAKEN + "20ce28e6a468d307", f_port=85)
    late = msgspec.structs.replace(sent, observed_at_ms=AT_MS + 1_200_000)
    async with CodecWorker(ProfileLibrary()) as worker:
        [(own, first, second)] = await worker.unfold([("milesight/em500-udl", late)])
        [[alone]] = [[reading] for reading in await worker.decode([("milesight/em500-udl", late)])]
    assert own == alone
    assert (own.frame, own.quantities[0].value) == (late, 1000)
    assert [one.frame.observed_at_ms for one in (first, second)] == [AT_MS, AT_MS + 600_000]
    assert [one.quantities[0].value for one in (first, second)] == [2002, 2003]
    for one in (first, second):
        assert (one.frame.kind, one.frame.raw, one.frame.link) == (Kind.HISTORY, b"", None)
        assert one.codec == own.codec
        assert one.frame.received_at_ms == late.received_at_ms
    assert len({own.frame.key, first.frame.key, second.frame.key}) == 3


async def test_a_record_sent_again_has_the_same_key_whatever_frame_brings_it() -> None:
    one, other = frame(TAKEN, f_port=85), frame("017564" + TAKEN, f_port=85)
    other = msgspec.structs.replace(other, key=b"x" * 16, observed_at_ms=AT_MS + 9_000)
    async with CodecWorker(ProfileLibrary()) as worker:
        unfolded = await worker.unfold([("milesight/em500-udl", one), ("milesight/em500-udl", other)])
    assert unfolded[0][1].frame.key == unfolded[1][1].frame.key


async def test_a_fault_code_in_a_record_is_no_measurement() -> None:
    async with CodecWorker(ProfileLibrary()) as worker:
        [(_, record)] = await worker.unfold([("milesight/em500-swl", frame("20ced0e3a468ffff", f_port=85))])
    assert (record.quantities[0].value, record.quantities[0].quality) == (None, Quality.SENSOR_FAULT)


async def test_a_frame_of_nothing_but_unbelievable_records_stays_raw_with_the_reason() -> None:
    async with CodecWorker(ProfileLibrary()) as worker:
        alone, beside = await worker.unfold(
            [
                ("milesight/em500-udl", frame("20ce00000000d207", f_port=85)),
                ("milesight/em500-udl", frame("0382e80320ce00000000d207", f_port=85)),
            ]
        )
    assert [(one.undecoded, one.quantities) for one in alone] == [(Undecoded.BAD_TIME, ())]
    assert "before 2020" in alone[0].warnings[0]
    assert beside[0].undecoded is None
    assert beside[0].quantities[0].value == 1000
    assert "before 2020" in beside[0].warnings[0]


async def test_a_data_log_gives_readings_with_their_own_time() -> None:
    log = frame("0a5a0ab5023e4168a4e3d07fffff3801004068a4e880", f_port=3)
    log = msgspec.structs.replace(log, observed_at_ms=AT_MS + 86_400_000)
    async with CodecWorker(ProfileLibrary()) as worker:
        [(own, first, second)] = await worker.unfold([("dragino/lht65n", log)])
    assert (own.quantities, own.undecoded) == ((), None)
    assert [(one.frame.observed_at_ms, one.quantities[0].value) for one in (first, second)] == [
        (AT_MS, 27.41),
        (AT_MS + 1_200_000, -2.0),
    ]


RULE = HistoryRule(tolerance_ms=300_000, resolution={"water_distance": 1.0})


def sample(at_ms: int, value: float, *, stored: bool = False, key: bytes = b"k", name: str = "water_distance") -> Known:
    return known(key, at_ms, (Quantity(name, "mm", value), Quantity("battery_level", "%", 90.0)), stored=stored)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (sample(AT_MS + 40_000, 2002, key=b"live"), True),
        (sample(AT_MS - 300_000, 2003, key=b"live"), True),
        (sample(AT_MS - 300_001, 2002, key=b"live"), False),
        (sample(AT_MS + 40_000, 2004, key=b"live"), False),
        (sample(AT_MS + 40_000, 2002, key=b"live", name="water_depth"), False),
        (sample(AT_MS, 2002, key=b"other", stored=True), True),
        (sample(AT_MS + 60_000, 2002, key=b"other", stored=True), False),
    ],
)
def test_the_same_sample_is_near_in_time_and_equal_in_value(other: Known, same: bool) -> None:
    record = known(b"record", AT_MS, (Quantity("water_distance", "mm", 2002.0),), stored=True)
    assert repeats(record, [other], RULE) is (same and other.values.get("water_distance") is not None)


def test_the_record_itself_redelivered_is_no_repetition() -> None:
    record = sample(AT_MS, 2002, stored=True, key=b"record")
    assert not repeats(record, [record, sample(AT_MS, 2002, key=b"live")], RULE)


@given(st.integers(0, 10**6), st.floats(-1e6, 1e6), st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6))
def test_nothing_is_dropped_but_for_a_sample_that_agrees(at: int, value: float, offset: int, other: float) -> None:
    record, live = sample(AT_MS + at, value, stored=True, key=b"r"), sample(AT_MS + at + offset, other, key=b"l")
    if repeats(record, [live], RULE):
        assert abs(offset) <= RULE.tolerance_ms
        assert abs(value - other) <= 1.001


def test_the_tolerance_is_half_the_devices_own_interval_unless_its_profile_says() -> None:
    profile = ProfileLibrary().profile("milesight/em500-udl")
    own = history_rule(profile, 60.0)
    usual = history_rule(profile)
    fixed = history_rule(msgspec.structs.replace(profile, history_tolerance_s=7))
    assert (own and own.tolerance_ms, usual and usual.tolerance_ms, fixed and fixed.tolerance_ms) == (
        30_000,
        300_000,
        7_000,
    )
    assert history_rule(ProfileLibrary().profile("dragino/ldds75")) is None
