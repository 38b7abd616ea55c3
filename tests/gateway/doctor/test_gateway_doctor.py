"""The doctor: two languages for every reason, a line for every thing, a running gateway keeps what it holds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from gateway.assembly import assemble
from gateway.clock import SystemClock
from gateway.config import read
from gateway.doctor import walk as walk_module
from gateway.doctor.words import REASONS, STATES
from gateway.language import Language, language_of_terminal
from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Outcome, Reason, State
from gateway.status import ProbeWord, StatusFile, running
from tests.gateway.test_gateway_cli import config_of, xom_gateway
from wire.identity import SourceId


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Give the logs back: the command silences them."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words_and_a_remedy_in_both_languages(reason: Reason) -> None:
    advice = REASONS[reason]
    for text in (advice.what, advice.remedy) if reason is not Reason.NONE else (advice.what,):
        assert len(text.vi) > 3
        assert len(text.en) > 3
        assert text.vi != text.en or text.vi.startswith("sudo")


def test_every_state_has_a_word() -> None:
    assert set(STATES) == set(State)


@dataclass(frozen=True)
class Fixed:
    """A probe that says what it is told to."""

    source: SourceId
    outcome: Outcome | Reason
    device: str = "device"
    rungs: tuple[str, ...] = ()
    every_s: float = 60.0
    deadline_s: float = 5.0

    async def run(self) -> Outcome:
        if isinstance(self.outcome, Reason):
            raise ProbeError(self.outcome, "in the machine's own words")
        return self.outcome


PROBES = [
    Fixed(SourceId("camera:cong"), Reason.UNAUTHORISED),
    Fixed(SourceId("loudspeaker:cum-1"), Outcome(state=State.OK)),
    Fixed(SourceId("mobile:viettel"), Reason.NO_EQUIPMENT),
]


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk_module, "build", lambda *_: PROBES)
    monkeypatch.setattr(walk_module, "_CONNECT_S", 0.5)


def found(*arguments: str | Path) -> dict[str, dict[str, Any]]:
    ended = xom_gateway("doctor", "--json", *arguments)
    assert ended.exit_code in (0, 1), ended.output
    return {one["thing"]: one for one in map(json.loads, ended.stdout.splitlines())}


@pytest.mark.usefixtures("probes")
def test_without_a_gateway_the_doctor_looks_itself_and_says_what_to_do(tmp_path: Path) -> None:
    config = config_of(tmp_path, '[[device]]\ndev_eui = "a840410000000001"\nprofile = "dragino/ldds75"')
    things = found("-c", config)
    states = {thing: one["state"] for thing, one in things.items()}
    assert states | {"clock": ""} == {
        "gateway": "fail", "key": "fail", "spool": "unknown", "clock": "", "hub": "fail", "chirpstack": "fail",
        "lorawan:a840410000000001": "fail", "camera:cong": "fail", "loudspeaker:cum-1": "ok",
        "mobile:viettel": "unknown",
    }  # fmt: skip
    assert things["camera:cong"]["reason"] == "unauthorised"
    assert things["camera:cong"]["detail"] == "in the machine's own words"
    assert all(one["remedy"] for one in things.values() if one["state"] != "ok")


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize(
    ("language", "word"), [("vi", "sai tên đăng nhập hoặc mật khẩu"), ("en", "the login is refused")]
)
def test_it_speaks_the_language_that_it_is_asked_in(tmp_path: Path, language: str, word: str) -> None:
    ended = xom_gateway("doctor", "-c", config_of(tmp_path), "--lang", language, "--only", "camera:")
    assert ended.exit_code == 1
    assert word in ended.stdout
    assert "✗ camera:cong" in ended.stdout


@pytest.mark.usefixtures("probes")
def test_all_well_is_exit_code_0(tmp_path: Path) -> None:
    assert xom_gateway("doctor", "-c", config_of(tmp_path), "--only", "loudspeaker:").exit_code == 0


@pytest.mark.usefixtures("probes")
def test_a_running_gateway_is_asked_and_what_it_holds_stays_its_own(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    settings = read(config)

    async def word() -> None:
        async with assemble(settings, SystemClock()) as gateway:
            told = [
                ProbeWord(source=str(one.source), state=State.FAIL, rung="", reason=Reason.TIMEOUT, explanation="",
                          at_ms=1_768_435_200_000, runs=1, overruns=0)
                for one in PROBES
            ]  # fmt: skip
            now = msgspec.structs.replace(running(gateway), at_ms=int(time.time() * 1000), probes=told[:2])
            StatusFile(settings.gateway.data / "status.json").write(now)

    asyncio.run(word())
    things = found("-c", config)
    assert things["gateway"]["state"] == "ok"
    assert things["key"]["state"] == "ok"
    assert (things["camera:cong"]["reason"], things["camera:cong"]["at_ms"]) == ("timeout", 1_768_435_200_000)
    assert things["mobile:viettel"]["reason"] == "not_yet"
    fresh = found("-c", config, "--fresh")
    assert fresh["camera:cong"]["reason"] == "unauthorised", "asked again"
    assert fresh["mobile:viettel"]["reason"] == "not_yet", "only one program can hold a modem"


def test_a_configuration_that_cannot_be_read_ends_in_one_line(tmp_path: Path) -> None:
    ended = xom_gateway("doctor", "-c", tmp_path / "none.toml")
    assert ended.exit_code == 2
    assert "none.toml" in ended.stderr
    assert ended.stdout == ""


def test_the_terminal_decides_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert language_of_terminal() is Language.VI
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    assert language_of_terminal() is Language.EN
    monkeypatch.setenv("LC_ALL", "vi_VN.UTF-8")
    assert language_of_terminal() is Language.VI
