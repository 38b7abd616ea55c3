"""The house's own rules that no linter knows: every file has a noun, every module says what it is."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("wire", "codec", "gateway", "hub", "simulators", "device_profiles", "bench", "xom")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
NO_NOUN = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "base", "shared", "stuff"}


def test_the_rooms_are_the_packages_that_we_ship() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packages) == sorted(ROOMS)
    assert sorted(project["tool"]["importlinter"]["root_packages"]) == sorted(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_a_noun_and_says_what_it_is(path: Path) -> None:
    names = {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    assert not names & NO_NOUN, "this file has not met its noun yet"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "a module opens by saying what it is"


def test_the_wire_knows_sockets_in_its_transport_alone() -> None:
    for path in (ROOT / "wire").rglob("*.py"):
        if path.parent.name != "mqtt" or path.name == "terms.py":
            assert not imported(path) & {"socket", "asyncio", "ssl", "paho"}, f"{path.name} is to be pure"


def test_nobody_reaches_past_the_transports_door() -> None:
    for path in MODULES:
        if "mqtt" not in path.relative_to(ROOT / path.relative_to(ROOT).parts[0]).parts:
            assert "from wire.mqtt." not in path.read_text(encoding="utf-8"), f"{path}: import from wire.mqtt"


def test_only_the_store_speaks_to_the_database() -> None:
    for path in (ROOT / "hub").rglob("*.py"):
        if "store" not in path.relative_to(ROOT).parts:
            assert not imported(path) & {"psycopg", "psycopg_pool"}, f"{path.relative_to(ROOT)} speaks SQL"


def imported(path: Path) -> set[str]:
    """The top-level names of what a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names
