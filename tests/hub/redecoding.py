"""Two device libraries, one with faults, and the same frames through either: what a gateway would have sealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codec.client import CodecWorker
from codec.profiles import ProfileLibrary
from gateway.device_memory import DeviceMemory
from gateway.pipeline import Devices
from hub.redecode.devices import Given
from hub.redecode.run import Order
from hub.store.batches import BatchStore
from hub.store.database import Database
from hub.store.derivations import Scope
from hub.store.latest import latest_observations
from tests.hub.written import BEGAN_MS, Log
from wire.identity import SourceId
from wire.reading import ClockState, Frame, Kind, Link, Reading

LEVEL = SourceId("lorawan:a840410000000001")
LOGGER = SourceId("lorawan:a840410000000002")
STRANGER = SourceId("lorawan:a840410000000003")
TWIN = SourceId("lorawan:a840410000000004")
PROFILES = {LEVEL: "acme/level", LOGGER: "acme/logger", TWIN: "acme/twin-a"}
MINUTE_MS = 60_000
EVER = Scope(start=datetime(1970, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC))

_LEVEL = """
function decodeUplink(input) {
  const level = (input.bytes[0] << 8) | input.bytes[1];
  if (input.bytes.length > 3) return { errors: ["no such frame"] };
  return { data: { level: FACTOR, battery: 3.3 } };
}
"""
_LOGGER = """
function decodeUplink(input) {
  const b = input.bytes, at = input.recvTime.getTime() / 1000, data = { level: b[0] * FACTOR };
  data.history = [];
  for (let i = 1; i + 1 < b.length; i += 2) {
    if (b[i + 1] === SKIP) continue;
    data.history.push({ time: Math.floor(at) - b[i] * 60, data: { level: b[i + 1] * FACTOR } });
  }
  return { data };
}
"""
_TWIN = "function decodeUplink(input) { return { data: { level: input.bytes[0] * FACTOR } }; }"
_QUANTITY = """
[[quantity]]
field = "level"
name = "{name}"
unit = "{unit}"
min = 0
max = 3000
resolution = 1
"""
_BATTERY = """
[[quantity]]
field = "battery"
name = "battery_voltage"
unit = "V"
min = 0
max = 4
"""


def library_at(root: Path, *, right: bool) -> ProfileLibrary:
    """Write a library. The faulty one scales, names, measures lengths and knows records wrongly."""
    factor = "level" if right else "level > 2100 ? level * 10 : level + 1"
    _device(root, "level", "level.js", _LEVEL.replace("FACTOR", factor), "2 = [2, 3, 4]" if right else "2 = [2, 4]")
    logger = _LOGGER.replace("FACTOR", "10" if right else "12").replace("SKIP", "-1" if right else "9")
    _device(
        root, "logger", "logger.js", logger, "2 = { min = 1, max = 200 }", "history = true\nhistory_tolerance_s = 20"
    )
    for twin in ("twin-a", "twin-b"):
        _device(root, twin, "twin.js", _TWIN.replace("FACTOR", "1" if right else "2"), "2 = [1]")
    name, unit = ("water_level", "cm") if right else ("water_distance", "mm")
    quantity = _QUANTITY.format(name=name, unit=unit)
    for device, more in (("level", _BATTERY), ("logger", ""), ("twin-a", ""), ("twin-b", "")):
        path = root / "quantities" / "acme" / f"{device}.toml"
        path.write_text(path.read_text() + quantity + more)
    return ProfileLibrary(root)


def _device(root: Path, device: str, codec: str, script: str, lengths: str, more: str = "") -> None:
    for folder in ("vendors/acme/devices", "vendors/acme/codecs", "quantities/acme"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "vendors/acme/devices" / f"{device}.toml").write_text(
        f'[device]\nname = "{device}"\n[[device.firmware]]\nversion = "1"\ncodec = "{codec}"\n'
    )
    (root / "vendors/acme/codecs" / codec).write_text(script)
    (root / "quantities/acme" / f"{device}.toml").write_text(
        f'interval_s = 60\n{more}\nmetadata = []\n[payload."{codec}"]\n{lengths}\n'
    )


def uplink(raw: str, minute: float, source: SourceId = LEVEL, *, number: int = 0) -> Frame:
    """A frame that arrived `minute` minutes after the beginning."""
    at_ms = BEGAN_MS + round(minute * MINUTE_MS)
    link = Link("01020304", number, 2, 5, -90, 7.5, "0016c001f1500001", 1, 923_200_000)
    key = f"{source}{at_ms}{raw}".encode()[-16:]
    return Frame(
        source, Kind.UPLINK, key, at_ms, at_ms + 40, at_ms + 40, "boot-1", ClockState.NTP, bytes.fromhex(raw), link
    )


def level_frames(count: int = 12) -> list[Frame]:
    """Frames of the level gauge: right, wrong in value, wrong in length (one each dozen), undecodable either way."""
    frames = []
    for at in range(count):
        raw = f"{2000 + at * 20:04x}"
        frames.append(uplink({5: raw + "00", 9: raw + "0000"}.get(at % 12, raw), at, number=at))
    return frames


def logger_frames() -> list[Frame]:
    """Frames of a logger with records: some new, one of a live sample, one twice, some that only one library sees."""
    return [
        uplink("05", 0, LOGGER),
        uplink("06", 1, LOGGER),
        uplink("08" + "0107" + "0309", 4, LOGGER),  # three minutes back: 9; one minute back: 7
        uplink("07" + "0107" + "0205" + "0506", 6, LOGGER),
        uplink("09" + "0107" + "0309" + "0708", 7.5, LOGGER),
    ]


async def collected(
    library: ProfileLibrary, frames: Sequence[Frame], folder: Path, profiles: Mapping[SourceId, str] = PROFILES
) -> list[Reading]:
    """What a gateway with this library makes of the frames, each a pack of its own."""
    readings: list[Reading] = []
    async with DeviceMemory(folder / "devices.db") as memory, CodecWorker(library) as worker:
        devices = Devices(profiles=profiles, intervals_s={}, library=library, memory=memory)
        for frame in frames:
            name = profiles.get(frame.source)
            (unfolded,) = await worker.unfold([(name, frame)])
            readings += await memory.sift([(unfolded, devices.history_rule(name, frame))])
    return readings


def twin_log(log: Log) -> Log:
    """The same gateway and epoch, as another hub hears it."""
    return Log(log.gateway, log.key, log.epoch)


async def store(database: Database, log: Log, readings: Sequence[Reading], *, each: int = 4) -> None:
    """Seal readings, `each` to a batch by their frames, and commit them."""
    await BatchStore(database).commit(batches(log, readings, each=each))


def batches(log: Log, readings: Sequence[Reading], *, each: int = 4) -> list[Any]:
    """Seal readings into batches of `each` frames, whatever records those brought."""
    groups: list[list[Reading]] = []
    frames = 0
    for reading in readings:
        if reading.frame.kind is not Kind.HISTORY:
            if frames % each == 0:
                groups.append([])
            frames += 1
        groups[-1].append(reading)
    return [log.seal(group) for group in groups]


def order_of(library: ProfileLibrary, **more: Any) -> Order:
    """An order for everything."""
    return replace(Order(scope=EVER, library=library, operator="an", reason="test", version="1"), **more)


def given(profiles: Mapping[SourceId, str]) -> dict[SourceId, Given]:
    """What an operator says of devices."""
    return {source: Given(profile=profile) for source, profile in profiles.items()}


@dataclass(frozen=True)
class Dump:
    """Everything that follows from the log, as sorted lines without surrogate numbers."""

    observations: str
    tallies: str
    datastreams: str
    latest: str

    @property
    def without_indexes(self) -> str:
        """The observations without the reading's index, which a record found anew has of its own."""
        return "\n".join(sorted(line.rpartition("|")[0] for line in self.observations.splitlines()))


_OBSERVATIONS = """
select concat_ws('|', s.gateway_id, s.source_id, d.observed_property, d.unit, o.observed_at,
    coalesce(o.value::text, '-'), o.quality, encode(b.epoch, 'hex'), b.seq, o.reading_index)
from observation o join datastream d using (datastream_no) join source s using (source_no) join batch b using (batch_no)
"""
_TALLIES = """
select concat_ws('|', s.gateway_id, s.source_id, t.readings, t.undecoded)
from source s join source_tally t using (source_no)
"""
_DATASTREAMS = """
select concat_ws('|', s.gateway_id, s.source_id, d.observed_property, d.unit, d.first_observed_at, d.last_observed_at)
from datastream d join source s using (source_no)
where exists (select from observation o where o.datastream_no = d.datastream_no)
"""


async def dump(database: Database) -> Dump:
    """Write the derived tables down."""
    latest = await latest_observations(database, ["water_level", "water_distance", "battery_voltage"])
    return Dump(
        observations=await _lines(database, _OBSERVATIONS),
        tallies=await _lines(database, _TALLIES),
        datastreams=await _lines(database, _DATASTREAMS),
        latest="\n".join(sorted(map(str, latest))),
    )


async def _lines(database: Database, query: str) -> str:
    async with database.connection() as connection:
        rows = await (await connection.execute(query.encode())).fetchall()
    return "\n".join(sorted(row[0] for row in rows)) + "\n"
