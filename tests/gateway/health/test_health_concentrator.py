"""A concentrator's own statistics, in both forms, and that silence counts only while we listened."""

from __future__ import annotations

import json

import pytest
from chirpstack_api.gw import gw_pb2
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import Instant
from gateway.health.concentrator import ConcentratorHealth, Stats, StatsError, Word, parse
from wire.reading import ClockState, Reading

ID = "0016c001f1234567"
STATS, STATE = f"as923_2/gateway/{ID}/event/stats", f"as923_2/gateway/{ID}/state/conn"
NOW = Instant(1_760_000_000_000, 5_000, "b" * 16, ClockState.NTP)


def figures(reading: Reading) -> dict[str, float | None]:
    return {quantity.name.removeprefix("concentrator_"): quantity.value for quantity in reading.quantities}


def test_json_and_protobuf_say_the_same() -> None:
    message = gw_pb2.GatewayStats(
        gateway_id=ID, rx_packets_received=9, rx_packets_received_ok=7, tx_packets_received=3, tx_packets_emitted=2
    )
    text = {"gatewayId": ID, "rxPacketsReceived": 9, "rxPacketsReceivedOk": 7, "txPacketsReceived": 3}
    in_json = parse(STATS, json.dumps(text | {"txPacketsEmitted": 2}).encode())
    assert in_json == parse(STATS, message.SerializeToString())
    assert in_json.stats == Stats(
        rx_packets_received=9, rx_packets_received_ok=7, tx_packets_received=3, tx_packets_emitted=2
    )


def test_what_json_leaves_out_is_zero() -> None:
    assert parse(STATS, b'{"gatewayId":"x","metadata":{"model":"rak"}}').stats == Stats()
    assert parse(STATE, b'{"gatewayId":"x"}').online is False


@pytest.mark.parametrize(("state", "online"), [("ONLINE", True), ("OFFLINE", False)])
def test_the_connection_is_read_in_both_forms(state: str, online: bool) -> None:
    message = gw_pb2.ConnState(gateway_id=ID, state=gw_pb2.ConnState.ONLINE if online else gw_pb2.ConnState.OFFLINE)
    assert parse(STATE, message.SerializeToString()).online is online
    assert parse(STATE, json.dumps({"state": state}).encode()).online is online


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (STATS, b"{"),
        (STATS, b'{"rxPacketsReceived": -1}'),
        (STATS, b'{"rxPacketsReceived": 1e99}'),
        (STATS, b"\xff\xff\xff"),
        (STATS, b"{" + b" " * 70_000 + b"}"),
        ("as923_2/gateway/short/event/stats", b"{}"),
        ("application/1/device/2/event/up", b"{}"),
    ],
)
def test_what_is_no_statistics_is_refused(topic: str, payload: bytes) -> None:
    with pytest.raises(StatsError):
        parse(topic, payload)


@given(st.binary(max_size=200), st.sampled_from([STATS, STATE]))
def test_any_bytes_are_a_word_or_refused(payload: bytes, topic: str) -> None:
    try:
        word = parse(topic, payload)
    except StatsError:
        return
    assert word.concentrator == ID


def test_a_slot_adds_up_what_was_said() -> None:
    health = ConcentratorHealth()
    for ok in (3, 4):
        stats = Stats(rx_packets_received=10, rx_packets_received_ok=ok, tx_packets_received=2, tx_packets_emitted=1)
        health.hear(Word(ID, stats=stats))
    health.hear(Word(ID, online=True))
    [reading] = health.report(NOW, listening=True)
    assert reading.frame.source == f"concentrator:{ID}"
    expected = {"stats_heard": 2, "frames_received": 20, "frames_ok": 7, "frames_emitted": 2, "frames_refused": 2}
    assert figures(reading) == expected | {"online": 1}


def test_a_silent_slot_is_a_fact_only_while_we_listened() -> None:
    health = ConcentratorHealth()
    health.hear(Word(ID, stats=Stats(rx_packets_received=1)))
    assert len(list(health.report(NOW, listening=True))) == 1
    [silent] = health.report(NOW, listening=True)
    assert figures(silent)["stats_heard"] == 0
    assert list(health.report(NOW, listening=False)) == []


def test_whether_it_was_online_is_forgotten_while_nobody_listened() -> None:
    health = ConcentratorHealth()
    health.hear(Word(ID, online=True))
    list(health.report(NOW, listening=False))
    [reading] = health.report(NOW, listening=True)
    assert "online" not in figures(reading)


def test_concentrators_without_end_cost_no_memory_without_end() -> None:
    health = ConcentratorHealth()
    for number in range(1_200):
        health.hear(Word(f"{number:016x}", online=True))
    assert len(list(health.report(NOW, listening=True))) == 1_000
