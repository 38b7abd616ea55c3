"""From the water to the API: what a sensor measured is what the hub answers, for every model and both encodings."""

from __future__ import annotations

import tomllib
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from hub.assembly import Hub
from simulators import publisher
from simulators.commune import SimDevice, build_commune
from simulators.faults import DeviceFault
from simulators.oracle import UplinkTruth
from simulators.water import salinity_pss78
from tests.hub.ingest.running import answer, items, until
from tests.journeys.village_line import HAMLETS, SEED, Village, village_line
from tests.real_mosquitto import Mosquitto
from wire.reading import Undecoded

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]

OVERLAY = Path(__file__).parents[2] / "device_profiles" / "quantities"
# A simulator's quantity, by device folder: the observed property, its unit, and what the true number is multiplied by.
COMMON = {"battery_mv": ("battery_voltage", "V", 1e-3), "distance_mm": ("water_distance", "mm", 1.0)}
WANTED: dict[str, dict[str, tuple[str, str, float]]] = {
    "milesight/em500-udl": COMMON | {"battery_pct": ("battery_level", "%", 1.0)},
    "dragino/ldds75": COMMON,
    "decentlab/dl-mbx": COMMON | {"valid_samples": ("valid_samples", "{count}", 1.0)},
    "decentlab/dl-ctd10": COMMON
    | {
        "depth_mm": ("water_depth", "mm", 1.0),
        "temperature_c": ("water_temperature", "Cel", 1.0),
        "ec_us_cm": ("electrical_conductivity", "uS/cm", 1.0),
    },
    "dragino/wqs-lb": COMMON
    | {
        "temperature_c": ("external_temperature", "Cel", 1.0),
        "ec_us_cm": ("electrical_conductivity", "uS/cm", 1.0),
        "ec_temperature_c": ("water_temperature", "Cel", 1.0),
        "do_mg_l": ("dissolved_oxygen", "mg/L", 1.0),
        "do_temperature_c": ("water_temperature", "Cel", 1.0),
        "ph": ("ph", "[pH]", 1.0),
        "ph_temperature_c": ("water_temperature", "Cel", 1.0),
        "salinity_g_kg": ("salinity", "[ppth]", 1.0),
        "turbidity_ntu": ("turbidity", "{NTU}", 1.0),
        "orp_mv": ("orp", "mV", 1.0),
    },
}
METADATA = {"freezing"}

Place = tuple[str, str, int]  # source, observed property, ms


def test_the_names_compared_with_are_those_of_the_quantities_overlay() -> None:
    for model, wanted in WANTED.items():
        overlay = tomllib.loads((OVERLAY / f"{model}.toml").read_text())
        there = {(one["name"], one["unit"]) for one in overlay["quantity"]}
        missing = {(name, unit) for name, unit, _ in wanted.values()} - there
        assert missing <= {(name, unit) for name, unit, _ in COMMON.values()}, model


def model_of(device: SimDevice) -> str:
    return device.model.partition("@")[0]


def true_values(village: Village) -> dict[Place, tuple[str, float]]:
    """What the water was, under the names that the hub must give it; with units."""
    models = {device.dev_eui: model_of(device) for _, device in village.commune.devices()}
    found: dict[Place, tuple[str, float]] = {}
    for truth in village.truths:
        for name, value in truth.quantities.items():
            if name not in METADATA:
                observed, unit, factor = WANTED[models[truth.dev_eui]][name]
                found[(str(truth.dev_eui.source), observed, truth.observed_at_ms)] = (unit, value * factor)
    return found


async def observations(hub: Hub) -> dict[Place, list[tuple[str, dict[str, Any]]]]:
    """Everything that the API gives out, over HTTP, each with its unit."""
    found: dict[Place, list[tuple[str, dict[str, Any]]]] = {}
    for stream in await items(hub, "/datastreams"):
        for one in await items(hub, f"/datastreams/{stream['datastream_no']}/observations"):
            at_ms = round(datetime.fromisoformat(one["observed_at"]).timestamp() * 1000)
            place = (stream["source_id"], stream["observed_property"], at_ms)
            found.setdefault(place, []).append((stream["unit"], one))
    return found


async def compare(village: Village) -> None:
    """Nothing but the truth, all of it, once."""
    shown, true = await observations(village.hub.part), true_values(village)
    # A device status is the network's word, and no part of what the sensors measured.
    shown = {place: given for place, given in shown.items() if place[1] not in {"link_margin", "status_battery_level"}}
    derived = {place: shown.pop(place) for place in list(shown) if place[1] == "salinity" and place not in true}
    _compare_salinity(derived, true)
    for place, (unit, value) in true.items():
        assert [(u, one["value"]) for u, one in shown.get(place, [])] == [(unit, pytest.approx(value, rel=1e-9))], place
    for place in shown.keys() - true.keys():
        assert [one["value"] for _, one in shown[place]] == [None], f"{place} was never measured"


def _compare_salinity(derived: dict[Place, list[tuple[str, Any]]], true: dict[Place, tuple[str, float]]) -> None:
    """Where conductivity and temperature were sent, and no salinity: what the simulators' own PSS-78 makes of them."""
    due = {
        place
        for place in true
        if place[1] == "electrical_conductivity"
        and (place[0], "water_temperature", place[2]) in true
        and (place[0], "salinity", place[2]) not in true
    }
    assert {(source, "electrical_conductivity", at_ms) for source, _, at_ms in derived} == due
    for (source, _, at_ms), given in derived.items():
        conductivity = true[source, "electrical_conductivity", at_ms][1]
        [(unit, one)] = given
        # Compensated to 25 Cel. Below 2 the simulators extrapolate, the product uses the low-salinity extension.
        assert unit == "[ppth]"
        assert one["value"] == pytest.approx(salinity_pss78(conductivity / 1000, 25.0), abs=0.02)


@pytest.mark.parametrize("protobuf", [False, True], ids=["json", "protobuf"])
async def test_the_hub_answers_with_what_each_model_measured(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, protobuf: bool
) -> None:
    async with village_line(tmp_path, dsn=dsn, broker=mosquitto, protobuf=protobuf) as village:
        hub = await village.start_hub()
        await village.start_gateways()
        await village.pass_minutes(45)
        await village.finish()
        verdict = await village.audit()
        assert verdict.is_clean
        assert verdict.stored == verdict.produced == len(village.truths)
        models = {model_of(device) for _, device in village.commune.devices()}
        assert models == WANTED.keys(), "every model was there"
        await compare(village)
        await count_what_the_gateway_counted(village, hub)


async def count_what_the_gateway_counted(village: Village, hub: Hub) -> None:
    for name, part in village.gateways.items():
        gateway, sent = part.part, [one for one in village.published if one.gateway == name]
        assert gateway.source is not None
        assert gateway.source.counters.events == len(sent)
        assert gateway.spool.appended == len(sent)
        assert gateway.codecs.decoded == sum(one.truth is not None for one in sent)
        frames = Counter(_dev_eui(one.topic) for one in sent)
        sources = await items(hub, "/sources", gateway=name)
        assert {one["source_id"]: one["readings"] for one in sources} == {
            f"lorawan:{dev_eui}": count for dev_eui, count in frames.items()
        }
        assert all(one["placed"] and one["undecoded"] == 0 for one in sources)
        position = await gateway.spool.position()
        [delivery] = (await _get(hub, f"/gateways/{name}"))["deliveries"]
        assert (delivery["through"], delivery["highest"], delivery["missing"]) == (position.last_seq,) * 2 + ([],)


def _dev_eui(topic: str) -> str:
    return topic.split("/")[3]


async def _get(hub: Hub, path: str) -> Any:
    return (await answer(hub, f"/api/v1{path}")).raise_for_status().json()


FAULTS = {
    "milesight/em500-udl": (DeviceFault.COLLECTION_FAILED, "water_distance", "invalid"),
    "dragino/ldds75": (DeviceFault.NO_SENSOR, "water_distance", "no_sensor"),
    "decentlab/dl-mbx": (DeviceFault.BATTERY_ONLY, "water_distance", None),
    "decentlab/dl-ctd10": (DeviceFault.BATTERY_ONLY, "water_depth", None),
    "dragino/wqs-lb": (DeviceFault.PROBE_MISSING, "ph", None),
}


async def test_a_fault_is_flagged_and_never_becomes_a_measurement(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:
    async with village_line(tmp_path, dsn=dsn, broker=mosquitto) as village:
        devices = {model_of(device): device for _, device in reversed(list(village.commune.devices()))}
        for model, (fault, _, _) in FAULTS.items():
            village.simulation.break_device(devices[model].dev_eui, fault)
        hub = await village.start_hub()
        await village.start_gateways()
        await village.pass_minutes(25)
        await village.finish()
        assert (await village.audit()).is_clean
        await compare(village)
        shown = await observations(hub)
        for model, (fault, observed, quality) in FAULTS.items():
            faulted = _faulted(village, devices[model], fault)
            assert faulted, model
            for truth in faulted:
                place = (str(truth.dev_eui.source), observed, truth.observed_at_ms)
                given = [(one["value"], one["quality"]) for _, one in shown.get(place, [])]
                assert given == ([(None, quality)] if quality else []), place


def _faulted(village: Village, device: SimDevice, fault: DeviceFault) -> list[UplinkTruth]:
    return [one for one in village.truths if one.dev_eui == device.dev_eui and fault in one.encoded.faults]


async def test_what_cannot_be_decoded_is_kept_raw_and_counted(tmp_path: Path, dsn: str, mosquitto: Mosquitto) -> None:
    plan = {model_of(device): device for _, device in _commune_of_the_line()}
    stranger = plan["dragino/ldds75"]
    async with village_line(tmp_path, dsn=dsn, broker=mosquitto, unnamed=frozenset({stranger.dev_eui})) as village:
        hub = await village.start_hub()
        await village.start_gateways()
        await village.pass_minutes(20)
        async with publisher.connect("127.0.0.1", village.sensors.port, client_id="someone") as client:
            application = village.commune.gateways[0].application_id
            await client.publish(f"application/{application}/device/0273696d00070000/event/up", b"\xff no event", 1)
        [part] = village.gateways.values()
        source = part.part.source
        assert source is not None
        await until(lambda: source.counters.malformed == 1, "the malformed event is heard")
        await village.finish()
        assert (await village.audit()).is_clean, "a frame that nobody can read is a frame all the same"
        sources = {one["source_id"]: one for one in await items(hub, "/sources")}
        mine = sources[str(stranger.dev_eui.source)]
        assert mine["readings"] >= mine["undecoded"] == _uplinks_of(village, stranger) > 0
        assert await items(hub, "/datastreams", source=mine["source_id"], observed_property="water_distance") == []
        assert (sources["chirpstack:malformed"]["readings"], sources["chirpstack:malformed"]["undecoded"]) == (1, 1)
        kept = [one for batch in await village.batches() for one in batch.readings() if one.undecoded is not None]
        assert {one.undecoded for one in kept} == {Undecoded.UNKNOWN_DEVICE, Undecoded.MALFORMED_EVENT}
        raw = {one.frame.raw for one in kept if one.undecoded is Undecoded.UNKNOWN_DEVICE}
        assert raw == {one.encoded.data for one in village.truths if one.dev_eui == stranger.dev_eui}


def _commune_of_the_line() -> list[tuple[object, SimDevice]]:
    return list(build_commune(SEED, 1, hamlets=HAMLETS).devices())


def _uplinks_of(village: Village, device: SimDevice) -> int:
    return sum(one.dev_eui == device.dev_eui for one in village.truths)
