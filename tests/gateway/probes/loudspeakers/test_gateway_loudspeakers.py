"""Loudspeakers: reachable is not linked, linked is not played, played is not heard; hostile peers stay bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest

from gateway.clock import SteppedClock
from gateway.probes.credentials import Credentials
from gateway.probes.loudspeakers.build import build
from gateway.probes.loudspeakers.settings import Loudspeaker
from gateway.probes.outcome import Outcome, Reason, State
from gateway.probes.probe import Probe
from gateway.probes.schedule import Schedule
from gateway.probes.setup import Setup
from simulators.loudspeaker_http import HttpSpeaker
from simulators.loudspeaker_sip import SipSpeaker
from tests.real_mosquitto import Mosquitto, free_port
from wire.configuration import ConfigError

MORNING = 1_767_580_200_000  # Monday 5 January 2026, 09:30 in Viet Nam
MINUTE = 60_000


class Place:
    """One gateway's folder and clock."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = SteppedClock(MORNING)
        path = home / "credentials.toml"
        path.write_text(
            '[good]\nusername = "loa"\npassword = "bí mật"\n[bad]\nusername = "loa"\npassword = "wrong"\n'
            '[v2]\ncommunity = "xom"\n[v2bad]\ncommunity = "other"\n'
            '[v3]\nusername = "xom"\nauth_key = "auth-secret-1"\nprivacy_key = "priv-secret-1"\n'
            '[v3bad]\nusername = "xom"\nauth_key = "auth-secret-2"\nprivacy_key = "priv-secret-1"\n'
        )
        path.chmod(0o600)

    def probe(self, **settings: Any) -> Probe:
        """Build one cluster."""
        plain = {"name": "cum-1", "timeout_s": 3.0, **settings}
        setup = Setup(credentials=Credentials(self.home / "credentials.toml"), clock=self.clock, data=self.home)
        (probe,) = build([msgspec.convert(plain, Loudspeaker)], setup)
        return probe

    async def look(self, **settings: Any) -> Outcome:
        """Run one cluster once, as the doctor does; so does a gateway that crashes before the reading is kept."""
        return await Schedule(probes=[], clock=self.clock, keep=_keep).once(self.probe(**settings))

    async def run(self, **settings: Any) -> Outcome:
        """Run one cluster once, and let its reading be kept."""
        outcome = await self.look(**settings)
        if outcome.settle is not None:
            outcome.settle()
        return outcome


async def _keep(_: object) -> None: ...


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def said(outcome: Outcome) -> tuple[State, str, Reason]:
    return outcome.state, outcome.rung, outcome.reason


OK = (State.OK, "reach", Reason.NONE)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, OK), (404, OK), (405, OK), (486, OK),
        (503, (State.DEGRADED, "reach", Reason.BUSY)), (500, (State.DEGRADED, "reach", Reason.DEVICE_ERROR)),
    ],
)  # fmt: skip
async def test_any_final_answer_proves_the_stack(place: Place, transport: str, status: int, expected: object) -> None:
    async with SipSpeaker(status=status) as speaker:
        outcome = await place.run(sip=[{"host": "127.0.0.1", "port": speaker.port, "transport": transport}])
    assert said(outcome) == expected


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("challenge", [401, 407])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_a_login_is_answered(place: Place, transport: str, challenge: Any, algorithm: Any) -> None:
    sip = {"host": "127.0.0.1", "transport": transport}
    async with SipSpeaker(challenge=challenge, algorithm=algorithm) as speaker:
        good = await place.run(sip=[{**sip, "port": speaker.port, "credentials": "good"}])
        none = await place.run(sip=[{**sip, "port": speaker.port}])
        bad = await place.run(sip=[{**sip, "port": speaker.port, "credentials": "bad"}])
    assert (said(good), said(none)) == (OK, OK)
    assert good.facts["adapters"] == [{"name": "sip", "status": 200, "rung": "ready"}]
    assert none.facts["adapters"] == [{"name": "sip", "status": challenge, "rung": "answers"}]
    assert said(bad) == (State.DEGRADED, "reach", Reason.UNAUTHORISED)
    assert "wrong" not in str(bad)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("late", OK), ("slow_start", OK),
        ("silent", (State.FAIL, "", Reason.TIMEOUT)), ("foreign", (State.FAIL, "", Reason.TIMEOUT)),
        ("garbage", (State.FAIL, "", Reason.NOT_THE_PROTOCOL)),
    ],
)  # fmt: skip
async def test_datagrams_that_are_lost_late_foreign_or_noise(place: Place, fault: Any, expected: object) -> None:
    async with SipSpeaker(fault=fault) as speaker:
        assert said(await place.run(sip=[{"host": "127.0.0.1", "port": speaker.port}])) == expected


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("drip", Reason.TIMEOUT), ("endless_header", Reason.TOO_LARGE), ("garbage", Reason.TIMEOUT),
    ],
)  # fmt: skip
async def test_slow_and_endless_peers_are_bounded(place: Place, fault: Any, reason: Reason) -> None:
    async with SipSpeaker(fault=fault) as speaker:
        outcome = await place.run(sip=[{"host": "127.0.0.1", "port": speaker.port, "transport": "tcp"}])
    assert said(outcome) == (State.FAIL, "", reason)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_nobody_there_is_refused(place: Place, transport: str) -> None:
    outcome = await place.run(sip=[{"host": "127.0.0.1", "port": free_port(), "transport": transport}])
    assert said(outcome) == (State.FAIL, "", Reason.REFUSED)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, (State.OK, "link", Reason.NONE)), (404, (State.FAIL, "", Reason.NOT_LINKED)),
        (480, (State.FAIL, "", Reason.NOT_LINKED)), (408, (State.FAIL, "", Reason.TIMEOUT)),
        (403, (State.UNKNOWN, "", Reason.UNAUTHORISED)),
    ],
)  # fmt: skip
async def test_the_registrar_knows_the_link(place: Place, status: int, expected: object) -> None:
    async with SipSpeaker(status=status) as registrar:
        sip = {"host": "127.0.0.1", "port": registrar.port, "asks": "registrar", "user": "cum1"}
        assert said(await place.run(sip=[sip], rungs=["link"])) == expected


HTTP_FAULTS = [
    ("drip", Reason.TIMEOUT), ("endless", Reason.TOO_LARGE), ("redirect", Reason.REDIRECTED),
    ("deep", Reason.NOT_THE_PROTOCOL), ("not_json", Reason.NOT_THE_PROTOCOL), ("cut", Reason.CLOSED),
    ("packed", Reason.NOT_THE_PROTOCOL),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "reason"), HTTP_FAULTS)
async def test_hostile_pages_are_told_apart(place: Place, fault: Any, reason: Reason) -> None:
    async with HttpSpeaker(fault=fault) as speaker:
        assert said(await place.run(http=[{"url": speaker.url}])) == (State.FAIL, "", reason)


@pytest.mark.parametrize("fault", ["", "huge_refusal"])
async def test_a_login_over_http(place: Place, fault: Any) -> None:
    async with HttpSpeaker(username="loa", fault=fault) as speaker:
        bad = await place.run(http=[{"url": speaker.url + "/s?a=1", "credentials": "bad"}])
        good = await place.run(http=[{"url": speaker.url + "/s?a=1", "credentials": "good"}])
    assert said(bad) == (State.FAIL, "", Reason.UNAUTHORISED)
    assert said(good) == OK


async def test_a_platform_that_is_silent_says_nothing_about_the_cluster(place: Place) -> None:
    http = {"url": f"http://127.0.0.1:{free_port()}/", "asks": "platform", "online": "online"}
    assert said(await place.run(http=[http], rungs=["link"])) == (State.UNKNOWN, "", Reason.REFUSED)


async def test_mute_but_reachable(place: Place) -> None:
    page = {"registered": True, "test": {"ok": False, "at": MORNING - 3_600_000}}
    async with HttpSpeaker(page=page) as speaker:
        http = {"url": speaker.url, "registered": "registered", "sound": "test.ok", "sound_at": "test.at"}
        outcome = await place.run(http=[http], rungs=["reach", "link", "sound"])
    assert said(outcome) == (State.FAIL, "link", Reason.NOT_HEARD)
    assert outcome.checks == {"reach": State.OK, "link": State.OK, "sound": State.FAIL}


BROADCAST = [{"days": [1], "start": "10:00", "minutes": 20}]
START = MORNING + 30 * MINUTE


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ([{"start": START, "end": START + 19 * MINUTE}], State.OK),
        ([{"start": START, "end": START + 10 * MINUTE}], State.FAIL),
        ([], State.FAIL),
    ],
)
async def test_a_broadcast_is_judged_once_by_its_log(place: Place, log: Any, expected: State) -> None:
    async with HttpSpeaker(page={"log": log}) as speaker:
        settings = {
            "http": [{"url": speaker.url, "play_log": "log"}],
            "rungs": ["reach", "play"],
            "broadcast": BROADCAST,
        }
        assert "play" not in (await place.run(**settings)).checks
        place.clock.advance(START + 31 * MINUTE)
        seen = await place.look(**settings)
        outcome = await place.run(**settings)
        again = await place.run(**settings)
    assert seen.checks["play"] is expected, "a look that nobody keeps takes no verdict away"
    assert outcome.checks["play"] is expected
    assert (outcome.reason is Reason.NOT_PLAYED) == (expected is State.FAIL)
    assert "play" not in again.checks


@pytest.mark.parametrize(("amperes", "expected"), [(0.8, State.OK), (0.0, State.FAIL)])
async def test_a_broadcast_is_judged_by_the_line_current_across_restarts(
    place: Place, amperes: float, expected: State
) -> None:
    figure = {"at": "amp", "name": "line_current", "unit": "A", "evidence": "current", "at_least": 0.2}
    async with HttpSpeaker(page={"amp": amperes, "playing": True}) as speaker:
        http = {"url": speaker.url, "figure": [figure], "playing": "playing"}
        settings = {"http": [http], "rungs": ["reach", "play"], "broadcast": BROADCAST}
        for minute in (-10, 3, 8, 13, 18):
            place.clock.advance(START + minute * MINUTE)
            assert "play" not in (await place.run(**settings)).checks
        place.clock.advance(START + 31 * MINUTE)
        assert (await place.run(**settings)).checks["play"] is expected


async def test_a_broadcast_that_nobody_watched_is_unknown(place: Place) -> None:
    async with HttpSpeaker(page={"playing": True}) as speaker:
        settings = {"http": [{"url": speaker.url, "playing": "playing"}], "rungs": ["reach", "play"]}
        await place.run(**settings, broadcast=BROADCAST)
        place.clock.advance(START + 31 * MINUTE)
        assert (await place.run(**settings, broadcast=BROADCAST)).checks["play"] is State.UNKNOWN


@pytest.mark.parametrize(
    ("test", "tested_at", "expected"),
    [
        ("OK", "2026-01-04T02:00:00Z", State.OK), ("Failed", "2026-01-04T02:00:00Z", State.FAIL),
        ("OK", "2025-11-01T02:00:00Z", State.UNKNOWN), ("Uncalibrated", "", State.UNKNOWN),
        ("DisabledInHardware", "", State.UNKNOWN), ("Pending", "", State.UNKNOWN),
    ],
)  # fmt: skip
async def test_the_speaker_test_of_axis(place: Place, test: str, tested_at: str, expected: State) -> None:
    async with HttpSpeaker(username="loa", test=test, tested_at=tested_at) as speaker:
        axis = {"url": speaker.url, "credentials": "good", "test": True, "serial": speaker.serial}
        outcome = await place.run(axis=[axis], rungs=["reach", "sound"])
    assert outcome.checks == {"reach": State.OK, "sound": expected}


async def test_the_test_tone_sounds_by_day_and_once_a_week(place: Place) -> None:
    async with HttpSpeaker(test="Calibrated") as speaker:
        settings = {"axis": [{"url": speaker.url, "test": True}], "rungs": ["reach", "sound"]}
        for hours, times in ((0, 1), (1, 1), (14, 1), (24, 1), (7 * 24 - 5, 1), (7 * 24, 2)):
            place.clock.advance(MORNING + hours * 3_600_000)
            await place.run(**settings)
            assert speaker.asked.count("axast:PerformSpeakerTest") == times


async def test_another_speaker_and_a_muted_one(place: Place) -> None:
    async with HttpSpeaker(mute=True) as speaker:
        other = await place.run(axis=[{"url": speaker.url, "serial": "0"}])
        muted = await place.run(axis=[{"url": speaker.url}])
    assert said(other) == (State.FAIL, "", Reason.WRONG_DEVICE)
    assert said(muted) == (State.DEGRADED, "reach", Reason.DEVICE_ERROR)


@pytest.mark.mosquitto
async def test_what_a_topic_says_is_worth_its_time(place: Place, tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        mqtt = {"port": broker.port, "topic": "loa/1", "online": "online"}
        seen = {**mqtt, "last_seen": "at"}
        silent = await place.run(mqtt=[seen], rungs=["link"])
        results = []
        for payload, settings in (
            (b'{"online": true}', mqtt), (b'{"online": true}', seen), (b'{"online": false}', mqtt),
            (b'{"online": true, "at": %d}' % (MORNING - 60_000), seen),
            (b'{"online": true, "at": %d}' % (MORNING - 3_600_000), seen), (b"[" * 1_000, seen),
        ):  # fmt: skip
            async with aiomqtt.Client("127.0.0.1", broker.port) as device:
                await device.publish("loa/1", payload, qos=1, retain=True)
            outcome = await place.run(mqtt=[settings], rungs=["link"])
            results.append((outcome.state, outcome.reason))
    finally:
        broker.stop()
    gone = await place.run(mqtt=[seen], rungs=["link"])
    assert said(silent) == (State.UNKNOWN, "", Reason.STALE)
    assert results == [
        (State.UNKNOWN, Reason.STALE), (State.UNKNOWN, Reason.STALE), (State.FAIL, Reason.NOT_LINKED),
        (State.OK, Reason.NONE), (State.FAIL, Reason.STALE), (State.UNKNOWN, Reason.NOT_THE_PROTOCOL),
    ]  # fmt: skip
    assert gone.state is State.UNKNOWN


async def test_one_dead_way_degrades_and_does_not_hide_the_other(place: Place) -> None:
    async with SipSpeaker() as alive:
        ways = [{"host": "127.0.0.1", "port": port} for port in (alive.port, free_port())]
        assert said(await place.run(sip=ways)) == (State.DEGRADED, "reach", Reason.REFUSED)


async def test_a_memory_that_is_damaged_is_begun_anew(place: Place) -> None:
    (place.home / "loudspeakers").mkdir()
    (place.home / "loudspeakers" / "cum-1.json").write_bytes(b"\x00{")
    async with SipSpeaker() as speaker:
        assert said(await place.run(sip=[{"host": "127.0.0.1", "port": speaker.port}])) == OK


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"rungs": ["sound"]}, "sound"), ({"rungs": []}, "reach or link"), ({"name": "Cụm 1"}, "a name"),
        ({"broadcast": [{"days": [8], "start": "05:30", "minutes": 5}]}, "days 1"), ({"every_s": 5.0}, "timeout_s"),
        ({"mqtt": [{"topic": "loa/#"}]}, "one topic"), ({"http": [{"url": "file:///etc"}]}, "http"),
    ],
)  # fmt: skip
def test_what_cannot_be_probed_is_named_at_the_start(place: Place, settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        place.probe(**settings)


@pytest.mark.parametrize(("level", "expected"), [(75.0, State.OK), (35.0, State.FAIL)])
async def test_a_silent_horn_is_played_and_not_heard(place: Place, level: float, expected: State) -> None:
    figure = {"at": "db", "name": "sound_level", "unit": "dB", "evidence": "level", "at_least": 60.0}
    page = {"log": [{"start": START, "end": START + 20 * MINUTE}], "db": level}
    async with HttpSpeaker(page=page) as speaker:
        http = {"url": speaker.url, "play_log": "log", "figure": [figure]}
        settings = {"http": [http], "rungs": ["reach", "play", "sound"], "broadcast": BROADCAST}
        for minute in (-10, 3, 8, 13, 18):
            place.clock.advance(START + minute * MINUTE)
            assert (await place.run(**settings)).checks == {"reach": State.OK, "sound": State.UNKNOWN}
        place.clock.advance(START + 31 * MINUTE)
        outcome = await place.run(**settings)
    assert outcome.checks == {"reach": State.OK, "play": State.OK, "sound": expected}
    assert outcome.reason is (Reason.NONE if expected is State.OK else Reason.NOT_HEARD)
