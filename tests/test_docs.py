"""The documentation keeps up: commands that it names exist, links lead somewhere, decisions have their parts."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from hub.metrics import Metrics
from hub.store.incidents import IncidentKind
from wire.reading import Undecoded
from xom.__main__ import _ROOMS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PROMISED = {"verify"}  # named in documents as not built yet

COMMAND = re.compile(r"\bxom (?P<room>[a-z]+)(?P<words>(?: [a-z][a-z-]*(?![\w.:/]))*)(?P<options>(?: +[^`\n#]*)?)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
SECTIONS = ("Objective", "Decision", "Why", "Is", "Is not")
WORDS = (
    "gateway", "uplink, downlink", "DevEUI", "device profile", "codec", "frame", "reading", "observation", "spool",
    "batch", "watermark", "hypertable", "indicator", "criterion", "evidence", "epoch", "incarnation", "seal", "window",
    "stream", "incident", "due", "fault quality", "hamlet", "commune", "loudspeaker", "spring tide", "delivery",
    "source", "quantity", "chain", "genesis", "conflict", "registry", "retention floor",
)  # fmt: skip


def command_of(room: str) -> Any:
    """The room's command as typer builds it: a click group, whichever click typer brings along."""
    module, attribute, _, _ = _ROOMS[room]
    return typer.main.get_command(getattr(importlib.import_module(module), attribute))


def named_commands() -> list[tuple[str, str, str, str]]:
    """Every `xom …` in code, as (document, room, words, rest of the line)."""
    found = {
        (str(document.relative_to(ROOT)), match["room"], match["words"].strip(), match["options"])
        for document in DOCUMENTS
        for code in CODE.finditer(document.read_text(encoding="utf-8"))
        for match in COMMAND.finditer(code[0])
    }
    return sorted(found)


@pytest.mark.parametrize(("document", "room", "words", "options"), named_commands())
def test_every_command_that_is_named_exists(document: str, room: str, words: str, options: str) -> None:
    if room in PROMISED:
        return
    assert room in _ROOMS, f"{document}: there is no `xom {room}`"
    command = command_of(room)
    for word in words.split():
        if not hasattr(command, "commands"):
            break  # what follows is an argument
        assert word in command.commands, f"{document}: `xom {room} {words}`: there is no {word!r}"
        command = command.commands[word]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", options):
        assert option in known, f"{document}: `xom {room} {words}` has no option {option}"


def test_commands_are_found_in_the_texts_at_all() -> None:
    rooms = {room for _, room, _, _ in named_commands()}
    assert {"gateway", "hub", "sim", "profile", "bench", "demo"} <= rooms


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    for match in LINK.finditer(document.read_text(encoding="utf-8")):
        target = match["target"].partition("#")[0]
        if target and "://" not in target:
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_says_what_it_is_and_is_not(decision: Path) -> None:
    assert re.fullmatch(r"\d{3}-[a-z0-9-]+\.md", decision.name)
    text = decision.read_text(encoding="utf-8")
    assert text.startswith(f"# {decision.name[:3]} ")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [one for one in headings if one in SECTIONS] == list(SECTIONS)


def test_decision_numbers_are_unique() -> None:
    numbers = [decision.name[:3] for decision in DECISIONS]
    assert len(set(numbers)) == len(numbers)


def test_decisions_that_the_code_cites_exist() -> None:
    numbers = {decision.name[:3] for decision in DECISIONS}
    for room in ("wire", "gateway", "hub", "simulators", "bench", "xom"):
        for file in (ROOT / room).rglob("*.py"):
            for cited in re.findall(r"[Dd]ecision (\d{3})", file.read_text(encoding="utf-8")):
                assert cited in numbers, f"{file.relative_to(ROOT)} cites decision {cited}"


@pytest.mark.parametrize("word", WORDS)
def test_the_glossary_settles_the_word_once(word: str) -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert len(re.findall(rf"^\| {re.escape(word)} \|", text, re.MULTILINE)) == 1


def test_operators_can_look_up_every_counter_incident_and_reason() -> None:
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    words = {f"`{kind}`" for kind in (*IncidentKind, *Undecoded)}
    words |= {f"`{metric.name}" for metric in Metrics().registry.collect()}
    assert not {word for word in words if word not in text}


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
