"""The living commune: order, identity, faults, and books that balance."""

import itertools
import json
from collections import defaultdict

import pytest

from simulators.chirpstack import Join, Log, Status, Up
from simulators.commune import build_commune
from simulators.devices import Em500Udl
from simulators.faults import DeviceFault, Faults
from simulators.oracle import Oracle, UplinkTruth
from simulators.simulation import Published, Simulation, events, simulate
from simulators.water import river_level_m

START = 1_740_268_800_000
HOUR = 3_600_000
COMMUNE = build_commune(7)
ROUGH = Faults(
    loss=0.1,
    duplicate=0.1,
    late=0.2,
    retransmission=0.05,
    rejoin=0.02,
    no_sensor=0.1,
    invalid_reading=0.1,
    collection_failed=0.1,
    probe_missing=0.1,
    battery_only=0.1,
    stuck=0.05,
    low_battery=0.2,
)


def run(faults: Faults, hours: int = 6, seed: int = 7) -> tuple[list[Published], Oracle]:
    return simulate(build_commune(seed), faults, START, START + hours * HOUR)


def truths(published: list[Published]) -> list[UplinkTruth]:
    return [one.truth for one in published if one.truth is not None and not one.repeated]


def bytes_of(published: list[Published]) -> list[tuple[int, str, bytes, bytes]]:
    return [(one.publish_at_ms, one.topic, one.payload(), one.payload(protobuf=True)) for one in published]


def test_same_seed_same_bytes() -> None:
    assert bytes_of(run(ROUGH, 2)[0]) == bytes_of(run(ROUGH, 2)[0])
    assert bytes_of(run(ROUGH, 2)[0]) != bytes_of(run(ROUGH, 2, seed=8)[0])


def test_minute_by_minute_gives_the_same_as_all_at_once() -> None:
    simulation = Simulation(COMMUNE, ROUGH, START)
    stepped = [one for minute in range(1, 121) for one in simulation.advance(START + minute * 60_000)]
    stepped += simulation.drain()
    assert bytes_of(stepped) == bytes_of(list(events(COMMUNE, ROUGH, START, START + 2 * HOUR)))


def test_publication_is_in_order_and_never_before_observation() -> None:
    published, _ = run(ROUGH)
    times = [one.publish_at_ms for one in published]
    assert times == sorted(times)
    assert all(one.truth.observed_at_ms < one.publish_at_ms for one in published if one.truth)


def test_advance_never_gives_what_is_not_yet_due() -> None:
    simulation = Simulation(COMMUNE, ROUGH, START)
    for minute in range(1, 60):
        until = START + minute * 60_000
        assert all(until - 60_000 <= one.publish_at_ms < until for one in simulation.advance(until))


def test_books_balance_under_faults() -> None:
    published, oracle = run(ROUGH)
    uplinks = [one for one in published if one.truth]
    assert oracle.lost > 0
    assert oracle.duplicates == sum(one.repeated for one in uplinks) > 0
    assert oracle.published == sum(not one.repeated for one in uplinks)
    assert oracle.produced == oracle.published + oracle.lost
    for gateway_id, gateway in oracle.gateways.items():
        assert gateway.in_flight == 0
        assert list(gateway.published) == [t for t in truths(published) if t.gateway == gateway_id]


def test_late_frames_are_in_flight_until_published() -> None:
    simulation = Simulation(COMMUNE, Faults(late=1.0), START)
    simulation.advance(START + HOUR)
    before = simulation.oracle()
    waiting = sum(gateway.in_flight for gateway in before.gateways.values())
    assert waiting > 0
    simulation.drain()
    after = simulation.oracle()
    assert after.published == before.published + waiting
    assert after.produced == before.produced


def test_taking_the_oracle_forgets_what_is_settled() -> None:
    simulation = Simulation(COMMUNE, Faults(), START)
    simulation.advance(START + HOUR)
    assert simulation.take_oracle().published > 0
    assert simulation.oracle().published == 0


def test_a_perfect_world_counts_without_gaps() -> None:
    published, oracle = run(Faults())
    assert oracle.lost == oracle.duplicates == 0
    counters = defaultdict(list)
    for truth in truths(published):
        counters[truth.dev_eui].append(truth.f_cnt)
    assert len(counters) == 36
    assert all(found == list(range(len(found))) for found in counters.values())


def test_counters_explain_every_lost_frame() -> None:
    published, oracle = run(Faults(loss=0.2, rejoin=0.05, late=0.3))
    seen = defaultdict(list)
    for truth in truths(published):
        seen[truth.dev_eui, truth.dev_addr].append(truth.f_cnt)
    missing = defaultdict(set)
    for gateway in oracle.gateways.values():
        for lost in gateway.lost:
            missing[lost.dev_eui, lost.dev_addr].add(lost.f_cnt)
            assert lost.deduplication_id == ""
    for session, counters in seen.items():
        assert counters == sorted(counters)  # the server never publishes a session out of order
        assert set(range(counters[-1] + 1)) - set(counters) <= missing[session]


def test_loss_changes_nothing_else_that_is_measured() -> None:
    def values(faults: Faults) -> dict[tuple[str, int], object]:
        return {(t.dev_eui, t.observed_at_ms): t.quantities for t in truths(run(faults, 1)[0])}

    whole, holed = values(Faults()), values(Faults(loss=0.3))
    assert len(holed) < len(whole)
    assert holed.items() <= whole.items()


def test_duplicates_are_byte_identical() -> None:
    published, _ = run(Faults(duplicate=0.5), 1)
    first = {one.event.deduplication_id: one for one in published if isinstance(one.event, Up) and not one.repeated}
    again = [one for one in published if one.repeated]
    assert again
    for one in again:
        assert isinstance(one.event, Up)
        original = first[one.event.deduplication_id]
        assert one.payload() == original.payload()
        assert one.publish_at_ms > original.publish_at_ms


def test_payload_in_the_event_is_the_truth() -> None:
    for one in run(ROUGH, 2)[0]:
        if one.truth is None:
            continue
        value = json.loads(one.payload())
        assert value["deduplicationId"] == one.truth.deduplication_id
        assert (value["devAddr"], value["fCnt"]) == (one.truth.dev_addr, one.truth.f_cnt)
        assert isinstance(one.event, Up)
        assert one.event.data == one.truth.encoded.data


def test_uplinks_are_heard_by_one_to_three_concentrators() -> None:
    counts = {len(one.event.rx) for one in run(Faults())[0] if isinstance(one.event, Up)}
    assert counts <= {1, 2, 3}
    assert len(counts) > 1


def test_first_event_of_a_session_is_its_join() -> None:
    published, _ = run(Faults(rejoin=0.05, loss=0.1))
    joined: set[tuple[str, str]] = set()
    sessions = defaultdict(set)
    for one in published:
        device = one.event.device.dev_eui
        if isinstance(one.event, Join):
            joined.add((device, one.event.dev_addr))
        elif isinstance(one.event, Up):
            assert (device, one.event.dev_addr) in joined
            sessions[device].add(one.event.dev_addr)
    assert max(map(len, sessions.values())) > 1


def test_all_kinds_of_events_occur() -> None:
    kinds = {one.event.event for one in run(ROUGH)[0]}
    assert kinds == {"up", "join", "status", "log", "ack"}
    assert any(isinstance(one.event, Status) for one in run(Faults(), 1)[0])
    assert not any(isinstance(one.event, Log) for one in run(Faults(), 1)[0])


def test_wqs_tells_its_firmware_after_joining() -> None:
    first: dict[str, UplinkTruth] = {}
    for truth in truths(run(Faults(), 2)[0]):
        first.setdefault(truth.dev_eui, truth)
    for _, device in COMMUNE.devices():
        assert (first[device.dev_eui].encoded.f_port == 5) == device.model.startswith("dragino/wqs-lb")


PER_FRAME = {
    DeviceFault.NO_SENSOR: Faults(no_sensor=1.0),
    DeviceFault.INVALID_READING: Faults(invalid_reading=1.0),
    DeviceFault.COLLECTION_FAILED: Faults(collection_failed=1.0),
    DeviceFault.PROBE_MISSING: Faults(probe_missing=1.0),
    DeviceFault.BATTERY_ONLY: Faults(battery_only=1.0),
    DeviceFault.STUCK: Faults(stuck=1.0),
    DeviceFault.LOW_BATTERY: Faults(low_battery=1.0),
}


@pytest.mark.parametrize("fault", list(DeviceFault))
def test_each_fault_switch_produces_its_fault_on_every_capable_device(fault: DeviceFault) -> None:
    capable = {device.dev_eui for _, device in COMMUNE.devices() if fault in device.device.possible_faults}
    assert capable
    for truth in truths(run(PER_FRAME[fault], 1)[0]):
        expected = truth.dev_eui in capable and truth.encoded.f_port != 5
        assert (fault in truth.encoded.faults) == expected


def test_stuck_value_repeats_then_recovers() -> None:
    simulation = Simulation(COMMUNE, Faults(stuck_frames=4), START)
    device = next(device for _, device in COMMUNE.devices() if isinstance(device.device, Em500Udl))
    simulation.advance(START + HOUR)
    simulation.break_device(device.dev_eui, DeviceFault.STUCK)
    simulation.advance(START + 4 * HOUR)
    simulation.repair_device(device.dev_eui)
    simulation.advance(START + 10 * HOUR)
    oracle = simulation.oracle()
    mine = [
        truth for gateway in oracle.gateways.values() for truth in gateway.published if truth.dev_eui == device.dev_eui
    ]
    stuck = [truth.quantities["distance_mm"] for truth in mine if DeviceFault.STUCK in truth.encoded.faults]
    free = [truth.quantities["distance_mm"] for truth in mine if not truth.encoded.faults]
    assert len(stuck) >= 18
    assert len(set(stuck)) == 1
    assert len(set(free)) > 10
    assert not mine[-1].encoded.faults


def test_silenced_device_is_lost_until_repaired() -> None:
    simulation = Simulation(COMMUNE, Faults(), START)
    _, device = next(iter(COMMUNE.devices()))
    simulation.silence_device(device.dev_eui)
    quiet = simulation.advance(START + 2 * HOUR)
    assert all(one.event.device.dev_eui != device.dev_eui for one in quiet)
    assert simulation.oracle().lost > 0
    simulation.repair_device(device.dev_eui)
    later = simulation.advance(START + 4 * HOUR)
    assert any(one.event.device.dev_eui == device.dev_eui for one in later)


def test_only_the_chosen_gateway_lives() -> None:
    simulation = Simulation(COMMUNE, Faults(), START, gateways=frozenset({"gw-sim-2"}))
    assert {one.gateway for one in simulation.advance(START + HOUR)} == {"gw-sim-2"}
    with pytest.raises(KeyError):
        simulation.silence_device(COMMUNE.gateways[0].devices[0].dev_eui)


def test_distance_and_depth_tell_the_level_of_the_river() -> None:
    simulation = Simulation(COMMUNE, Faults(), START)
    places = {device.dev_eui: device for _, device in COMMUNE.devices()}
    for truth in truths(simulation.advance(START + 24 * HOUR)):
        place, values = places[truth.dev_eui], truth.quantities
        if "distance_mm" in values:
            level = place.mount_m - values["distance_mm"] / 1000
        elif "depth_mm" in values:
            level = place.mount_m + values["depth_mm"] / 1000
        else:
            continue
        assert abs(level - river_level_m(simulation.river, truth.observed_at_ms, place.km)) < 0.06


def test_a_flood_raises_every_level() -> None:
    calm = Simulation(COMMUNE, Faults(), START)
    flood = Simulation(COMMUNE, Faults(), START, water_raised_m=1.0)
    for dry, wet in zip(truths(calm.advance(START + HOUR)), truths(flood.advance(START + HOUR)), strict=True):
        if "distance_mm" in dry.quantities:
            assert dry.quantities["distance_mm"] - wet.quantities["distance_mm"] == pytest.approx(1000, abs=1)


def test_status_comes_once_a_day() -> None:
    published = run(Faults(), 26)[0]
    days = defaultdict(list)
    for one in published:
        if isinstance(one.event, Status):
            days[one.event.device.dev_eui].append(one.event.time_ns // (86_400 * 10**9))
    assert len(days) == 36
    assert all(len(set(found)) == len(found) == 2 for found in days.values())


@pytest.mark.parametrize("wrong", [{"loss": 1.5}, {"late": -0.1}, {"stuck_frames": 0}])
def test_impossible_faults_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Faults(**wrong)  # type: ignore[arg-type]


def test_intervals_are_kept() -> None:
    times = defaultdict(list)
    intervals = {device.dev_eui: device.interval_s * 1000 for _, device in COMMUNE.devices()}
    for truth in truths(run(Faults(), 6)[0]):
        if truth.encoded.f_port != 5:
            times[truth.dev_eui].append(truth.observed_at_ms)
    for dev_eui, found in times.items():
        gaps = [b - a for a, b in itertools.pairwise(found)]
        assert all(abs(gap - intervals[dev_eui]) <= 400 for gap in gaps)
