"""docs/faults.md names every case of the catalogue once, and says of each what the tests say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TESTS = sorted((ROOT / "tests" / "faults").glob("test_faults_*.py"))
CATALOGUE = [f"{letter}{number}" for letter, last in {"A": 15, "B": 18, "C": 8, "D": 6}.items()
             for number in range(1, last + 1)] + ["G4", "G5"]  # fmt: skip
ROW = re.compile(
    r"^\| (?P<case>[A-Z]\d+) \| (?P<tier>[^|]+) \| (?P<what>[^|]+) \| (?P<tests>[^|]+) \| (?P<switch>[^|]*) ?\|$"
)
NAMED = re.compile(r'\bCase\((?:\s*)id=f?"(?P<case>[A-Z]\d+)(?P<rest>[^"]*)"')
SWITCH = re.compile(r"-broken[:-](?P<switch>[a-z_]+)")


def rows() -> dict[str, re.Match[str]]:
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    found = [match for line in text.splitlines() if (match := ROW.match(line))]
    assert len(found) == len({match["case"] for match in found}), "a case stands there twice"
    return {match["case"]: match for match in found}


def printed() -> list[tuple[str, str, str]]:
    """Every case that a test prints, as (file, case of the catalogue, what follows)."""
    return [
        (file.stem.removeprefix("test_faults_"), match["case"], match["rest"])
        for file in TESTS
        for match in NAMED.finditer(file.read_text(encoding="utf-8"))
    ]


def test_every_case_of_the_catalogue_has_a_row() -> None:
    assert not set(CATALOGUE) - set(rows())


def test_cases_are_found_in_the_tests_at_all() -> None:
    assert {"A1", "A2", "B1", "C4", "D1"} <= {case for _, case, _ in printed()}


@pytest.mark.parametrize(("file", "case", "rest"), printed())
def test_what_a_test_prints_is_in_the_table(file: str, case: str, rest: str) -> None:
    row = rows()[case]
    assert f"`{file}`" in row["tests"], f"{case}: docs/faults.md does not name {file}"
    if match := SWITCH.search(rest):
        assert f"`{match['switch']}`" in row["switch"], f"{case}: docs/faults.md does not name the broken switch"


@pytest.mark.parametrize("case", sorted(rows()))
def test_what_the_table_names_is_there(case: str) -> None:
    row = rows()[case]
    if row["tests"].startswith("not built"):
        assert not row["switch"].strip()
        return
    for name in re.findall(r"`([^`]+)`", row["tests"]):
        file = ROOT / "tests" / name if "/" in name else ROOT / "tests" / "faults" / f"test_faults_{name}.py"
        assert file.exists(), f"{case}: {name}"
        if "/" not in name and case in CATALOGUE:
            mentioned = rf'def test_(\w+_)?{case.lower()}_|"{case}[-"+]'
            assert re.search(mentioned, file.read_text(encoding="utf-8")), f"{case}: {name} has no such case"
