"""`xom demo` as an operator starts it: in a process of its own, with the embedded broker and database."""

from __future__ import annotations

import json
import re

import pytest

from tests.xom.commands import refused, xom

pytestmark = pytest.mark.postgres

PROMISED = ("produced", "stored", "lost", "duplicate", "gaps", "alerts", "indicators", "bundle", "verify")


def test_an_accelerated_hour_goes_through_the_real_path_and_nothing_is_lost() -> None:
    ended = xom("demo", "--days", "0.05", "--once", "--json")
    assert ended.returncode == 0, ended.stderr
    [line] = ended.stdout.splitlines()
    summary = json.loads(line)
    assert set(PROMISED) <= summary.keys()
    assert summary["produced"] == summary["stored"] > 100
    assert (summary["lost"], summary["duplicate"], summary["gaps"]) == (0, 0, 0)
    assert [summary[name] for name in ("alerts", "indicators", "bundle", "verify")] == [None] * 4
    assert summary["observations"] > summary["stored"]
    # Each hamlet has a loudspeaker, a camera, a line and a wifi; a horn, a line and a wifi have a fault that shows.
    assert summary["infrastructure"] == {"ok": 21, "fail": 3}
    assert ended.stderr == ""


def test_without_faults_everything_in_each_hamlet_is_well() -> None:
    ended = xom("demo", "--days", "0.05", "--once", "--json", "--no-faults", "--gateways", "1")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["infrastructure"] == {"ok": 24}


def test_live_it_prints_where_to_look_and_what_is_stored() -> None:
    ended = xom("demo", "--seconds", "3", "--gateways", "1")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^broker +127\.0\.0\.1:\d+$", ended.stdout, re.MULTILINE)
    assert re.search(r"^API +http://127\.0\.0\.1:\d+/api/v1 ", ended.stdout, re.MULTILINE)
    assert re.search(r"\(simulated\)  gw-sim-1: \d+ kept, batch \d+ of \d+ stored$", ended.stdout, re.MULTILINE)
    assert "Traceback" not in ended.stderr


def test_a_broker_that_is_no_address_is_refused() -> None:
    assert "HOST:PORT" in refused(xom("demo", "--once", "--broker", "somewhere"))


def test_a_database_that_is_not_there_is_refused_with_a_remedy() -> None:
    line = refused(xom("demo", "--once", "--dsn", "host=127.0.0.1 port=1 dbname=none"))
    assert line.startswith("xom demo: the database is not available")
    assert "Check that PostgreSQL runs" in line
