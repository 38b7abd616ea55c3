"""Each bench at a tiny size: it runs, and its JSON has the keys that others rely on. No time is asserted."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import bench_app
from bench.uplinks import raw_of, render_with_alarms

FIXED = {"bench", "figure", "value", "unit", "limit", "limit_name", "ratio", "tables", "notes"}


def told(*arguments: str) -> dict[str, Any]:
    """Run a bench and return its one JSON object."""
    result = CliRunner().invoke(bench_app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    assert told.keys() >= FIXED
    return told


@pytest.mark.mosquitto
def test_the_gateway_bench_loses_nothing_and_gives_its_keys() -> None:
    sizes = ["floods=[300]", "rounds=1", "alone=300", "limit_rows=200", "latency_s=0.3"]
    figures = told("gateway", *(part for size in sizes for part in ("--set", size)))
    assert figures.keys() >= {"uplinks_per_s", "rss_mb", "ratio_to_fsync", "alarm_p50_ms", "alarm_p99_ms"}
    assert (figures["lost"], figures["duplicate"]) == (0, 0)


def test_the_codec_bench_gives_its_keys() -> None:
    figures = told("codec", "--set", "seconds=0.02", "--set", "rounds=1")
    assert figures.keys() >= {"decodes_per_s", "engine_per_s", "fresh_per_s", "worker_start_s", "codec_kb"}


def test_the_wire_bench_gives_its_keys() -> None:
    figures = told("wire", "--set", "readings=[10,20]", "--set", "batches=2", "--set", "rounds=1")
    assert figures.keys() >= {"bytes_per_reading", "raw_frame_bytes", "with_sample_body_dictionary"}
    ours = [row for row in figures["tables"]["bytes a reading, sealed"] if "MessagePack, deflate+d" in row["layout"]]
    assert ours[0]["20"] < ours[0]["10"]


def test_an_unknown_size_is_refused_by_name() -> None:
    result = CliRunner().invoke(bench_app, ["codec", "--set", "secnds=1"])
    assert result.exit_code == 2
    assert "secnds" in result.output


def test_one_uplink_in_ten_is_an_alarm_frame() -> None:
    load = render_with_alarms(30)
    loud = [uplink for uplink, key in zip(load.uplinks, load.keys, strict=True) if key in load.alarms]
    assert len(loud) == 3
    assert all(raw_of(uplink)[:2] == b"\x83\xe9" for uplink in loud)
