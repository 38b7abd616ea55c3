"""A stored record is kept once, across restarts and power cuts; what is remembered never stops the gateway."""

from __future__ import annotations

from pathlib import Path

import msgspec

from codec.history import HistoryRule, past_frame
from codec.quantities import Past
from gateway.device_memory import DeviceMemory, Unfolded
from tests.gateway.gateway_readings import SENSOR, START_MS, reading
from wire.reading import Quantity, Reading

RULE = HistoryRule(tolerance_ms=300_000, resolution={"water_distance": 1.0})
MINUTE_MS = 60_000


def live(number: int, value: float) -> Reading:
    """A live sample, ten minutes after the one before."""
    at_ms = START_MS + 10 * MINUTE_MS * number
    return msgspec.structs.replace(reading(number, at_ms=at_ms), quantities=(Quantity("water_distance", "mm", value),))


def record(number: int, value: float, *, late_ms: int = 20_000) -> Reading:
    """The same sample from memory, by the device's clock; it comes with whatever frame is sent."""
    past = Past(START_MS + 10 * MINUTE_MS * number + late_ms, (Quantity("water_distance", "mm", value),))
    return Reading(past_frame(live(99, 0.0).frame, past), quantities=past.quantities)


def unfolded(*readings: Reading) -> list[Unfolded]:
    return [(readings, RULE)]


async def test_a_record_of_a_live_sample_is_dropped_and_one_of_a_lost_sample_is_kept(tmp_path: Path) -> None:
    async with DeviceMemory(tmp_path / "devices.db") as memory:
        await memory.sift(unfolded(live(1, 2001)))
        lost = record(2, 2002)
        kept = await memory.sift(unfolded(live(3, 2003), record(1, 2001), lost, record(3, 2003)))
    assert kept == [live(3, 2003), lost]
    assert memory.repeated == 2


async def test_it_is_remembered_across_a_restart(tmp_path: Path) -> None:
    async with DeviceMemory(tmp_path / "devices.db") as memory:
        await memory.sift(unfolded(live(1, 2001)))
        memory.firmware[SENSOR] = "1.3.1"
    async with DeviceMemory(tmp_path / "devices.db") as memory:
        assert await memory.sift(unfolded(record(1, 2001))) == []
        assert dict(memory.firmware) == {SENSOR: "1.3.1"}


async def test_without_the_memory_the_record_would_come_twice(tmp_path: Path) -> None:
    """The broken switch: a memory that forgets."""
    async with DeviceMemory(tmp_path / "devices.db") as memory:
        await memory.sift(unfolded(live(1, 2001)))
    async with DeviceMemory(tmp_path / "another.db") as memory:
        assert await memory.sift(unfolded(record(1, 2001))) == [record(1, 2001)]


async def test_what_a_power_cut_undid_passes_again_and_the_spool_knows_its_key(tmp_path: Path) -> None:
    """Notes come first: after a cut between note and spool the broker delivers the same frame again."""
    async with DeviceMemory(tmp_path / "devices.db") as memory:
        first = await memory.sift(unfolded(live(3, 2003), record(2, 2002)))
    async with DeviceMemory(tmp_path / "devices.db") as memory:
        assert await memory.sift(unfolded(live(3, 2003), record(2, 2002))) == first


async def test_a_record_sent_again_with_other_words_for_the_same_second_is_dropped(tmp_path: Path) -> None:
    async with DeviceMemory(tmp_path / "devices.db") as memory:
        await memory.sift(unfolded(record(2, 2002)))
        again = record(2, 2003)  # another decoding of the same sample: another key
        assert again.frame.key != record(2, 2002).frame.key
        assert await memory.sift(unfolded(again)) == []


async def test_devices_that_send_no_records_pass_and_leave_no_trace(tmp_path: Path) -> None:
    async with DeviceMemory(tmp_path / "devices.db") as memory:
        assert await memory.sift([([live(1, 2001)], None)]) == [live(1, 2001)]
        assert await memory.sift([([live(2, 2001)], None), ([record(1, 2001)], RULE)]) == [
            live(2, 2001),
            record(1, 2001),
        ]


async def test_a_file_that_is_none_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "devices.db"
    path.write_bytes(b"no database at all" * 100)
    async with DeviceMemory(path) as memory:
        await memory.sift(unfolded(live(1, 2001)))
        assert await memory.sift(unfolded(record(1, 2001))) == []
    assert path.with_suffix(".damaged").exists()


async def test_a_card_that_takes_no_note_loses_no_reading(tmp_path: Path) -> None:
    (tmp_path / "devices.db").mkdir()
    (tmp_path / "devices.damaged").mkdir()
    (tmp_path / "devices.damaged" / "full").touch()
    async with DeviceMemory(tmp_path / "devices.db") as memory:
        memory.firmware[SENSOR] = "1.2"
        assert await memory.sift(unfolded(live(1, 2001), record(1, 2001))) == [live(1, 2001)]
        assert await memory.sift(unfolded(record(1, 2001))) == [record(1, 2001)]
        assert memory.firmware[SENSOR] == "1.2"
