"""The systemd units that we ship: systemd understands them, and what they ask of our programs is what those do."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer.main

from gateway.watchdog import Watchdog
from xom.__main__ import _ROOMS

ROOT = Path(__file__).parent.parent
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
GATEWAY = ROOT / "deploy" / "systemd" / "xom-gateway.service"
_LONGEST_FSYNC_S = 30.0  # a worn card's (fault case A8)
_OURS = "/opt/xom/.venv/bin/xom"


def settings(unit: Path) -> dict[str, list[str]]:
    """Every setting with its values, whichever section it stands in; no name stands in two of ours."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"([A-Za-z]+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def only(unit: Path, name: str) -> str:
    (value,) = settings(unit)[name]
    return value


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_the_unit(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("LEFT OUT: no systemd-analyze here: the units' syntax was not verified")
    here = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8").replace(_OURS, str(ROOT / ".venv/bin/xom"))
    here.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [program, "verify", "--man=no", "--recursive-errors=no", str(here)], capture_output=True, text=True, check=False
    )
    about_us = [line for line in done.stderr.splitlines() if unit.name in line and "mosquitto" not in line]
    assert (done.returncode, about_us) == (0, []), done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_what_it_starts_is_a_command_of_ours(unit: Path) -> None:
    program, room, *words = shlex.split(only(unit, "ExecStart"))
    assert program == _OURS
    module, attribute, _, _ = _ROOMS[room]
    command = typer.main.get_command(getattr(__import__(module, fromlist=[attribute]), attribute))
    named = command.commands[words[0]]  # type: ignore[attr-defined]
    assert words[1] in {option for parameter in named.params for option in parameter.opts}
    assert words[2] == f"/etc/xom/{room}.toml"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_nobody_has_to_come_by(unit: Path) -> None:
    found = settings(unit)
    assert (found["Restart"], found["StartLimitIntervalSec"]) == (["always"], ["0"])
    assert 1 <= int(only(unit, "RestartSec")) <= 30, "within a minute, and no spinning"
    assert "Requires" not in found
    assert found["ProtectSystem"] == ["strict"]
    assert found["NoNewPrivileges"] == ["yes"]


def test_the_gateways_watchdog_is_the_products() -> None:
    assert (only(GATEWAY, "Type"), only(GATEWAY, "NotifyAccess")) == ("notify", "main")
    interval_s = int(only(GATEWAY, "WatchdogSec"))
    told = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": str(interval_s * 1_000_000), "WATCHDOG_PID": str(os.getpid())}
    assert Watchdog.from_environment(told).within_s == interval_s
    assert interval_s >= 2 * _LONGEST_FSYNC_S, "a worn card is not a hang"
    for document in ("docs/operating.md", "CHANGELOG.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        assert "deploy/systemd" in text
        assert {int(number) for number in re.findall(r"WatchdogSec=(\d+)", text)} <= {interval_s}


def test_the_gateways_state_lies_where_the_sample_says() -> None:
    sample = tomllib.loads((ROOT / "samples" / "gateway.toml").read_text(encoding="utf-8"))
    assert sample["gateway"]["data"] == f"/var/lib/{only(GATEWAY, 'StateDirectory')}"


def test_the_gateway_may_ask_whether_its_clock_is_set() -> None:
    """adjtimex(2) is refused under these, and every reading would be sealed as of an unknown time."""
    assert not {"ProtectClock", "SystemCallFilter"} & set(settings(GATEWAY))


def test_both_programs_have_a_unit() -> None:
    assert [unit.name for unit in UNITS] == ["xom-gateway.service", "xom-hub.service"]
