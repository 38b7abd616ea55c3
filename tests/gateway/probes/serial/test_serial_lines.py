"""What talks in lines: SDI-12 through an adapter, NMEA gauges, a GNSS receiver; every fault told apart."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.probes.credentials import Credentials
from gateway.probes.outcome import Outcome, Reason, State
from gateway.probes.probe import Probe
from gateway.probes.schedule import Schedule
from gateway.probes.serial.build import build
from gateway.probes.serial.nmea import BadChecksumError, parse, time_of
from gateway.probes.serial.sdi12 import crc_text
from gateway.probes.serial.settings import SerialBus, SerialInstrument
from gateway.probes.setup import Setup
from simulators import sdi12
from simulators.nmea import Talker, fix, sentence
from simulators.pty import PtyLine
from simulators.sdi12 import Sdi12Line, SimSensor
from wire.reading import Reading

LONG_S, SHORT_S = 20.0, 0.5
CTD = "sdi12-depth-ctd"
GAUGE = "nmea-water-temperature-depth"


async def discard(_: list[Reading]) -> None:
    """Keep nothing."""


async def once(probe: Probe) -> Outcome:
    return await Schedule(probes=[probe], clock=SystemClock(), keep=discard).once(probe)


def built(folder: Path, bus: SerialBus) -> Probe:
    (probe,) = build([bus], Setup(credentials=Credentials(None), clock=SystemClock(), data=folder))
    return probe


def sensor(folder: Path, port: str, timeout_s: float = LONG_S, *, map_: str = CTD, retries: int = 0) -> Probe:
    one = SerialInstrument(name="ctd", address="3", map=map_)
    bus = SerialBus(
        name="s", port=port, protocol="sdi-12", baud=9600, every_s=86_400, timeout_s=timeout_s, late_s=0.1,
        retries=retries, measure_s=30, instrument=[one],
    )  # fmt: skip
    return built(folder, bus)


def values(outcome: Outcome) -> dict[str, float | None]:
    return {one.name: one.value for one in outcome.figures}


@pytest.mark.parametrize("seconds", [0, 1])
async def test_a_sensor_is_asked_measured_and_read_in_parts(tmp_path: Path, seconds: int) -> None:
    one = SimSensor("3", ["+2025+28.5", "+1200.5"], seconds=seconds)
    async with Sdi12Line([one]) as line:
        outcome = await once(sensor(tmp_path, line.line.path))
    assert (outcome.state, outcome.rung) == (State.OK, "plausible")
    assert {"water_depth": 2025, "water_temperature": 28.5, "electrical_conductivity": 1200.5}.items() <= values(
        outcome
    ).items()
    assert "salinity" in values(outcome)
    assert one.commands == ["I", "MC", "D0", "D1"]
    assert outcome.facts["identity"] == "14XOM     SIM   001"
    lines = ["3+2025+28.5" + crc_text("3+2025+28.5"), "3+1200.5" + crc_text("3+1200.5")]
    assert outcome.facts["lines"] == {"values": lines}


async def test_a_concurrent_measurement_without_crc_is_waited_for_in_silence(tmp_path: Path) -> None:
    text = (Path(__file__).parents[4] / "device_profiles" / "instruments" / f"{CTD}.toml").read_text()
    path = tmp_path / "own.toml"
    path.write_text(text.replace('command = "M"', 'command = "C2"').replace("crc = true", "crc = false"))
    one = SimSensor("3", ["+1+2+3"], seconds=1)
    async with Sdi12Line([one]) as line:
        outcome = await once(sensor(tmp_path, line.line.path, map_=str(path)))
    assert (outcome.state, one.commands) == (State.OK, ["I", "C2", "D0"])


@pytest.mark.parametrize(
    ("fault", "state", "rung", "reason", "timeout_s"),
    [
        (sdi12.Fault.DEAD, State.FAIL, "port", Reason.TIMEOUT, SHORT_S),
        (sdi12.Fault.WRONG_ADDRESS, State.FAIL, "heard", Reason.WRONG_DEVICE, 1.0),
        (sdi12.Fault.FLIPPED, State.FAIL, "heard", Reason.BAD_CHECKSUM, LONG_S),
        (sdi12.Fault.ABORTED, State.FAIL, "answer", Reason.DEVICE_ERROR, LONG_S),
        (sdi12.Fault.SLOW, State.FAIL, "answer", Reason.SLOW, LONG_S),
        (sdi12.Fault.HALF, State.FAIL, "heard", Reason.TIMEOUT, 1.0),
        (sdi12.Fault.GARBAGE, State.FAIL, "heard", Reason.NOT_THE_PROTOCOL, 1.0),
        (sdi12.Fault.NO_REQUEST, State.OK, "plausible", Reason.NONE, 1.0),
        (sdi12.Fault.ECHO, State.OK, "plausible", Reason.NONE, LONG_S),
        (sdi12.Fault.STALE_LINE, State.OK, "plausible", Reason.NONE, LONG_S),
    ],
)
async def test_every_sdi12_fault_is_told_apart(
    tmp_path: Path, fault: sdi12.Fault, state: State, rung: str, reason: Reason, timeout_s: float
) -> None:
    seconds = 1 if fault is sdi12.Fault.NO_REQUEST else 0
    async with Sdi12Line([SimSensor("3", ["+2025+28.5+1200"], fault, seconds=seconds)]) as line:
        outcome = await once(sensor(tmp_path, line.line.path, timeout_s))
    assert (outcome.state, outcome.rung, outcome.reason) == (state, rung, reason)


async def test_a_broken_answer_is_asked_for_again_from_the_start(tmp_path: Path) -> None:
    one = SimSensor("3", ["+2025+28.5+1200"], sdi12.Fault.FLIPPED)
    async with Sdi12Line([one]) as line:
        outcome = await once(sensor(tmp_path, line.line.path, retries=1))
    assert (outcome.reason, outcome.facts["attempts"]) == (Reason.BAD_CHECKSUM, 2)
    assert one.commands == ["I", "MC", "D0"] * 2


def test_the_crc_is_that_of_the_specification() -> None:
    assert crc_text("0+3.14") == "OqZ"  # SDI-12 1.4, 4.4.12.3: its own example


def gauge(folder: Path, port: str, talker: str = "", listen_s: float = LONG_S) -> Probe:
    one = SerialInstrument(name="tide", address=talker, map=GAUGE)
    bus = SerialBus(name="n", port=port, protocol="nmea", baud=4800, every_s=600, timeout_s=listen_s, instrument=[one])
    return built(folder, bus)


DPT, MTW = sentence("YXDPT,2.125,0.0"), sentence("YXMTW,28.5,C")


@pytest.mark.parametrize(
    ("said", "talker", "listen_s", "state", "rung", "reason"),
    [
        ([DPT, MTW], "", LONG_S, State.OK, "plausible", Reason.NONE),
        ([b"\xff\x00half,1*", DPT, MTW], "YX", LONG_S, State.OK, "plausible", Reason.NONE),
        ([DPT, sentence("YXMTW,28.5,C", wrong=True)], "", SHORT_S, State.DEGRADED, "answer", Reason.NOT_FOUND),
        ([sentence("YXDPT,2.1,0.0", wrong=True)], "", SHORT_S, State.FAIL, "heard", Reason.BAD_CHECKSUM),
        ([sentence("WIMWV,10,R,2.0,M,A")], "", SHORT_S, State.FAIL, "heard", Reason.NOT_FOUND),
        ([DPT, MTW], "SD", SHORT_S, State.FAIL, "heard", Reason.WRONG_DEVICE),
        ([b"\x80\x91\xfe\r\n"], "", SHORT_S, State.FAIL, "heard", Reason.NOT_THE_PROTOCOL),
        ([b"x" * 900], "", SHORT_S, State.FAIL, "heard", Reason.NOT_THE_PROTOCOL),
        ([], "", SHORT_S, State.FAIL, "port", Reason.TIMEOUT),
        ([DPT, sentence("YXMTW,,C")], "", LONG_S, State.DEGRADED, "values", Reason.DEVICE_ERROR),
        ([DPT, sentence("YXMTW,85,C")], "", LONG_S, State.DEGRADED, "values", Reason.OUT_OF_RANGE),
    ],
)
async def test_every_fault_of_a_talker_is_told_apart(
    tmp_path: Path, said: list[bytes], talker: str, listen_s: float, state: State, rung: str, reason: Reason
) -> None:
    async with Talker(lambda: said) as line:
        outcome = await once(gauge(tmp_path, line.line.path, talker, listen_s))
    assert (outcome.state, outcome.rung, outcome.reason) == (state, rung, reason)
    if state is State.OK:
        assert values(outcome) == {"water_depth": 2125.0, "water_temperature": 28.5}


def receiver(folder: Path, port: str, listen_s: float = LONG_S, skew_s: float = 600.0) -> Probe:
    bus = SerialBus(name="gps", port=port, protocol="gnss", every_s=600, timeout_s=listen_s, skew_s=skew_s)
    return built(folder, bus)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def test_a_receiver_with_a_fix_tells_how_far_the_clock_is(tmp_path: Path) -> None:
    async with Talker(lambda: fix(now() - datetime.timedelta(seconds=100))) as line:
        probe = receiver(tmp_path, line.line.path)
        outcome = await once(probe)
    assert (str(probe.source), outcome.state, outcome.rung) == ("gnss:gps", State.OK, "time")
    assert values(outcome)["satellites"] == 9
    offset_ms = values(outcome)["gnss_clock_offset"]
    assert offset_ms is not None
    assert 99_900 <= offset_ms < 600_000
    assert "0936" not in str(outcome.facts)  # where it stands is not told


@pytest.mark.parametrize(
    ("words", "state", "rung", "reason"),
    [
        (lambda: fix(now(), valid=False, satellites=2), State.FAIL, "answer", Reason.NO_FIX),
        (lambda: fix(now() - datetime.timedelta(hours=3)), State.DEGRADED, "fix", Reason.CLOCK_SKEW),
        (lambda: fix(now() + datetime.timedelta(hours=3)), State.DEGRADED, "fix", Reason.CLOCK_SKEW),
        (lambda: [sentence("GPGSV,1,1,00")], State.FAIL, "heard", Reason.NOT_FOUND),
        (list, State.FAIL, "port", Reason.TIMEOUT),
        (
            lambda: [sentence("GPRMC,250000.00,A,,,,,,,311399,,")],
            State.FAIL, "fix", Reason.NOT_THE_PROTOCOL,
        ),
    ],
)  # fmt: skip
async def test_every_fault_of_a_receiver_is_told_apart(
    tmp_path: Path, words: object, state: State, rung: str, reason: Reason
) -> None:
    assert callable(words)
    heard_s = SHORT_S if rung in ("port", "heard") or reason is Reason.NOT_THE_PROTOCOL else LONG_S
    async with Talker(words) as line:
        outcome = await once(receiver(tmp_path, line.line.path, heard_s))
    assert (outcome.state, outcome.rung, outcome.reason) == (state, rung, reason)


async def test_a_receiver_that_was_unplugged_is_unknown(tmp_path: Path) -> None:
    async with PtyLine() as line:
        probe = receiver(tmp_path, line.path)
        line.hang_up()
        outcome = await once(probe)
    assert (outcome.state, outcome.reason) == (State.UNKNOWN, Reason.NO_EQUIPMENT)


def test_a_sentence_has_talker_formatter_and_fields_and_a_checksum_that_counts() -> None:
    found = parse("$GPGLL,5057.970,N,00146.110,E,142451,A*27")  # NMEA Revealed, its example
    assert found is not None
    assert (found.talker, found.formatter, found.field(6), found.field(7)) == ("GP", "GLL", "A", "")
    with pytest.raises(BadChecksumError):
        parse("$GPGLL,5057.970,N,00146.110,E,142451,V*27")
    assert parse("$GPGLL,5057.970,N") is None
    assert parse("$" + "G" * 200 + "*00") is None
    own = parse("$PXTIDE,2.1*" + f"{sum_of('PXTIDE,2.1'):02X}")
    assert own is not None
    assert (own.talker, own.formatter) == ("", "PXTIDE")


def sum_of(body: str) -> int:
    total = 0
    for byte in body.encode():
        total ^= byte
    return total


@pytest.mark.parametrize(
    ("clock", "date", "expected"),
    [
        ("235960.00", "311226", datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)),
        ("120000.5", "150126", datetime.datetime(2026, 1, 15, 12, 0, 0, 500_000, tzinfo=datetime.UTC)),
        ("", "150126", None),
        ("120000", "", None),
        ("246000", "150126", None),
        ("120000", "320126", None),
    ],
)
def test_a_time_is_read_or_there_is_none(clock: str, date: str, expected: datetime.datetime | None) -> None:
    body = f"GPRMC,{clock},A,,,,,,,{date},,"
    found = parse(f"${body}*{sum_of(body):02X}")
    assert found is not None
    assert time_of(found) == expected
