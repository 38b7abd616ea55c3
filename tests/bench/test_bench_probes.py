"""The bench of the probes at a tiny size: every kind has its turns, its keys are there. No time is asserted."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from bench.cli import bench_app


def test_the_probe_bench_runs_every_kind_and_gives_its_keys() -> None:
    sizes = ("--set", "probes=[20]", "--set", "every_s=20", "--set", "slots=1", "--json")
    result = CliRunner().invoke(bench_app, ["probes", *sizes])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures.keys() >= {"lateness_20", "peak_mb_20", "goal"}
    (row,) = figures["tables"]["lateness as a share of the interval"]
    assert row["probes"] == 20
    assert row["ok"] > 0
    assert row["fail"] > 0
