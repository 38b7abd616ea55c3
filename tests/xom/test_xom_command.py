"""The one command: its help, its rooms, what it says when a room is not installed."""

from __future__ import annotations

import pytest

from tests.xom.commands import refused, xom
from xom.__main__ import _ROOMS


def test_the_help_names_every_room_with_its_summary() -> None:
    ended = xom("--help")
    assert ended.returncode == 0
    for name, (_, _, _, summary) in _ROOMS.items():
        assert name in ended.stdout
        assert summary in ended.stdout


def test_the_help_loads_no_room() -> None:
    code = "import sys, atexit\natexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))"
    ended = xom("--help", code=code)
    assert ended.returncode == 0
    assert not {"apsw", "psycopg", "fastapi", "aiomqtt", "quickjs"} & set(ended.stderr.split())


@pytest.mark.parametrize("room", sorted(_ROOMS))
def test_every_room_has_its_help(room: str) -> None:
    ended = xom(room, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Usage" in ended.stdout


def test_an_unknown_room_is_refused_by_name() -> None:
    ended = xom("gatewy", "status")
    assert ended.returncode == 2
    assert "gatewy" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("room", "module", "extra"),
    [
        ("gateway", "apsw", "gateway"),
        ("hub", "psycopg", "hub"),
        ("sim", "aiomqtt", "sim"),
        ("demo", "uvicorn", "gateway,hub,sim"),
    ],
)
def test_a_room_whose_extra_is_missing_says_how_to_install_it(room: str, module: str, extra: str) -> None:
    line = refused(xom(room, "--help", code=f"import sys; sys.modules[{module!r}] = None"))
    assert module in line
    assert f"pip install 'xom[{extra}]'" in line


def test_a_missing_extra_does_not_hide_the_other_rooms() -> None:
    assert xom("gateway", "--help", code="import sys; sys.modules['psycopg'] = None").returncode == 0
