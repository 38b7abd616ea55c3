"""`xom gateway discover`: what an installer sees, in two languages, and what is refused."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner, Result

from gateway.cli import gateway_app
from gateway.discover.finding import Family, Standing, Unsearched
from gateway.discover.known import Known
from gateway.discover.search import Search
from gateway.discover.serial import Manner
from gateway.discover.words import STANDINGS, summary
from gateway.language import Language, Text
from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason
from simulators import modem, nmea
from simulators.loudspeaker_sip import SipSpeaker
from tests.gateway.discover.discover_bed import MadeTree, configuration, serving
from tests.gateway.discover.test_discover_serial import AT

LOCAL = ("--only", "loudspeaker", "--interface", "lo", "--network", "127.0.0.1/32")


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Give the logs back: the command silences them."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def speaker() -> Iterator[int]:
    """A loudspeaker on loopback, in a thread of its own."""
    ports: list[int] = []

    @asynccontextmanager
    async def serve() -> AsyncIterator[None]:
        async with SipSpeaker() as there:
            ports.append(there.port)
            yield

    with serving(serve, lambda work: work()):
        yield ports[0]


def discover(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(gateway_app, ["discover", *(str(one) for one in arguments)])


def test_the_list_and_the_sections_are_for_people_in_their_language(speaker: int) -> None:
    english = discover(*LOCAL, "--sip-port", speaker, "--lang", "en")
    vietnamese = discover(*LOCAL, "--sip-port", speaker, "--lang", "vi")
    assert (english.exit_code, vietnamese.exit_code) == (0, 0)
    assert f"+ 127.0.0.1:{speaker}" in english.stdout
    assert "perhaps a loudspeaker" in english.stdout
    assert "có thể là loa" in vietnamese.stdout
    assert "loudspeaker: 1 found" in english.stderr
    assert "loudspeaker: tìm thấy 1" in vietnamese.stderr
    assert f'[[loudspeaker.sip]]\nhost = "127.0.0.1"\nport = {speaker}\n' in english.stdout


def test_a_program_gets_objects_and_a_pipe_gets_configuration_alone(speaker: int) -> None:
    told = discover(*LOCAL, "--sip-port", speaker, "--json")
    [one] = [json.loads(line) for line in told.stdout.splitlines()]
    assert (one["family"], one["candidate"], one["facts"]["port"]) == ("loudspeaker", True, speaker)
    alone = discover(*LOCAL, "--sip-port", speaker, "--write", "-")
    assert [one["name"] for one in tomllib.loads(alone.stdout)["loudspeaker"]] == ["loa-1"]
    assert f"127.0.0.1:{speaker}" in alone.stderr


def test_sections_go_into_the_file_once(speaker: int, tmp_path: Path) -> None:
    path = configuration(tmp_path)
    first = discover(*LOCAL, "--sip-port", speaker, "--write", path, "--lang", "vi")
    assert (first.exit_code, first.stdout.splitlines()[-1].split(":")[0]) == (0, str(path))
    after = path.read_bytes()
    second = discover(*LOCAL, "--sip-port", speaker, "--write", path, "--lang", "en")
    assert "nothing new" in second.stdout
    assert f"= 127.0.0.1:{speaker}" in second.stdout
    assert path.read_bytes() == after
    other = tmp_path / "piece.toml"
    discover(*LOCAL, "--sip-port", speaker, "--config", path, "--write", other)
    assert not other.exists()  # it is configured


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--network", "10.0.0.0/8"), "4096"),
        (("--network", "hamlet"), "192.168.1.0/24"),
        (("--json", "--write", "-"), "choose one"),
        (("--config", "/nowhere/gateway.toml"), "no such file"),
        (("--only", "horse"), "horse"),
        (("--last-address", "248"), "last-address"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(arguments: tuple[str, ...], word: str) -> None:
    ended = discover(*arguments)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert word in ended.stderr


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[[camera]\n")
    for option in ("--config", "--write"):
        ended = discover(option, broken)
        assert (ended.exit_code, ended.stdout) == (2, "")
    assert broken.read_text() == "[[camera]\n"


def test_a_file_that_cannot_be_written_is_said(speaker: int, tmp_path: Path) -> None:
    ended = discover(*LOCAL, "--sip-port", speaker, "--write", tmp_path)
    assert ended.exit_code == 2
    assert str(tmp_path) in ended.stderr


async def searched(made: MadeTree, tmp_path: Path, **keys: Any) -> tuple[list[Any], list[Unsearched], list[str]]:
    """Search everything in a world of our own: loopback, a made tree, no D-Bus."""
    said: list[str] = []
    search = Search(
        known=Known(), interfaces=("lo",), seconds=0.2, tree=made.tree, manner=Manner(listen_s=0.4),
        bus=f"unix:path={tmp_path / 'none'}", iw="no-such-iw", **keys,
    )  # fmt: skip
    found, left = await search.run(lambda family, text: said.append(f"{family}: {text.en}"))
    return found, left, said


async def test_every_family_is_searched_or_said_not_to_have_been(tmp_path: Path) -> None:
    made = MadeTree(tmp_path)
    async with nmea.Talker(lambda: nmea.fix(AT)) as talker:
        with modem.SimModem() as there:
            made.plug("ttyUSB0", talker.line.path, usb="1-1")
            made.plug("ttyUSB2", there.path, usb="1-2", driver="option1")
            found, left, said = await searched(made, tmp_path)
    assert [one.family for one in found] == [Family.MODEM, Family.SERIAL]
    assert {one.family for one in left} == {Family.LOUDSPEAKER, Family.MODEM, Family.WIFI}
    assert {line.partition(":")[0] for line in said} == set(Family)


async def test_only_what_is_wanted_is_searched(tmp_path: Path) -> None:
    with modem.SimModem() as there:
        made = MadeTree(tmp_path)
        made.plug("ttyUSB2", there.path, driver="option1")
        found, left, said = await searched(made, tmp_path, families=frozenset({Family.WIFI}))
        assert there.asked == []
    assert (found, [one.family for one in left]) == ([], [Family.WIFI])
    assert {line.partition(":")[0] for line in said} == {"wifi"}


@pytest.mark.parametrize("error", [ProbeError(Reason.PROBE_ERROR, "a\x1b[31mb"), OSError(5, "broken"), None])
async def test_a_family_that_breaks_off_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    async def breaks(*_: object, **__: object) -> None:
        if error is not None:
            raise error
        await asyncio.Event().wait()

    monkeypatch.setattr("gateway.discover.search.cameras.search", breaks)
    found, left, _ = await searched(MadeTree(tmp_path), tmp_path, deadline_s=1.0)
    assert found == []
    broken = [one for one in left if one.family is Family.CAMERA]
    assert [one.what.en for one in broken] == ["the search broke off"]
    assert "\x1b" not in broken[0].detail
    assert {one.family for one in left} == set(Family)


def test_the_signs_are_explained_and_counted() -> None:
    assert set(STANDINGS) == set(Standing)
    gap = Unsearched(family=Family.WIFI, thing="wifi", what=Text("a", "a"), remedy=Text("b", "b"))
    assert summary([], [gap]) == Text("? không tìm được: 1", "? not searched: 1")
    assert summary([], []).say(Language.EN) == "nothing was found"
