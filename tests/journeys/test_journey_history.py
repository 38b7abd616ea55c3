"""A sensor that was not heard for a while sends its memory: the hub has each sample once, at the sensor's own time."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path
from typing import Any

import pytest

from simulators.chirpstack import Up
from simulators.commune import SimDevice
from simulators.simulation import Published
from tests.hub.ingest.running import items
from tests.journeys.test_journey_values import model_of, observations
from tests.journeys.village_line import Village, village_line
from tests.real_mosquitto import Mosquitto
from wire.reading import Kind

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]

MODEL = "milesight/em500-udl"


def _of(published: list[Published], device: SimDevice) -> list[Published]:
    return [one for one in published if isinstance(one.event, Up) and one.event.device.dev_eui == device.dev_eui]


def _record(one: Published) -> bytes:
    """The stored record of a sample, by the sensor's clock in whole seconds (EM500-UDL: 20 ce)."""
    assert isinstance(one.event, Up)
    distance = one.event.data[one.event.data.index(b"\x03\x82") + 2 :][:2]
    return b"\x20\xce" + (one.event.time_ns // 1_000_000_000).to_bytes(4, "little") + distance


def _frame(after: Published, later_s: int, data: bytes) -> Published:
    """A frame of the same session, `later_s` after another one."""
    assert isinstance(after.event, Up)
    event = dataclasses.replace(
        after.event,
        deduplication_id=str(uuid.uuid5(uuid.NAMESPACE_OID, data.hex() + str(later_s))),
        time_ns=after.event.time_ns + later_s * 1_000_000_000,
        f_cnt=after.event.f_cnt + 1 + later_s,
        data=data,
    )
    return dataclasses.replace(after, event=event, truth=None, publish_at_ms=after.publish_at_ms + later_s * 1000)


async def _distances(village: Village, device: SimDevice) -> dict[int, list[Any]]:
    """Every water distance of a device that the API gives out, by its second."""
    found: dict[int, list[Any]] = {}
    for (source, name, at_ms), given in (await observations(village.hub.part)).items():
        if source == str(device.dev_eui.source) and name == "water_distance":
            found.setdefault(at_ms // 1000, []).extend(one["value"] for _, one in given)
    return found


async def test_what_was_lost_on_air_comes_from_the_sensors_memory_once(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:
    async with village_line(tmp_path, dsn=dsn, broker=mosquitto) as village:
        device = next(device for _, device in village.commune.devices() if model_of(device) == MODEL)
        await village.start_hub()
        await village.start_gateways()
        lost = await _live_but_one(village, device)
        heard = _of(village.published, device)
        assert len(heard) >= 2

        memory = b"".join(map(_record, sorted([*heard, lost], key=lambda one: one.publish_at_ms)))
        first = _frame(heard[-1], 30, b"\x01\x75\x5a" + memory)
        village.clock.advance(first.publish_at_ms)
        await village.publish([first])
        await village.kept()
        [part] = village.gateways.values()
        await part.stop()  # what is remembered survives a restart
        await village.start_gateways()
        await village.publish([_frame(heard[-1], 60, b"\x01\x75\x59" + memory)])
        await village.finish()

        found = await _distances(village, device)
        expected = sorted(_second(one) for one in [*heard, lost])
        assert sorted(found) == expected
        assert all(len(values) == 1 for values in found.values()), "each sample once"
        assert found[_second(lost)] == [_distance(lost)]
        records = [
            reading
            for batch in await village.batches()
            for reading in batch.readings()
            if reading.frame.kind is Kind.HISTORY
        ]
        assert [one.frame.observed_at_ms // 1000 for one in records] == [_second(lost)]
        verdict = await village.audit()
        assert (verdict.lost, verdict.duplicate, verdict.invented) == (0, 0, 2), "the two frames from memory are ours"
        sources = {one["source_id"]: one for one in await items(village.hub.part, "/sources")}
        assert sources[str(device.dev_eui.source)]["undecoded"] == 0


async def _live_but_one(village: Village, device: SimDevice) -> Published:
    """Forty minutes, in which one frame of the device is lost on its way; returns that frame."""
    lost: list[Published] = []
    for _ in range(40):
        now_ms = village.simulation.now_ms + 60_000
        village.clock.advance(now_ms)
        events = village.simulation.advance(now_ms)
        mine = _of(events, device)
        if not lost and mine and _of(village.published, device):
            lost = mine[:1]
            events = [one for one in events if one is not lost[0]]
        await village.publish(events)
        village.truths = [one for one in village.truths if not lost or one != lost[0].truth]
        await village.kept()
    return lost[0]


def _second(one: Published) -> int:
    assert isinstance(one.event, Up)
    return one.event.time_ns // 1_000_000_000


def _distance(one: Published) -> float:
    return float(int.from_bytes(_record(one)[-2:], "little"))
