"""Modbus RTU instruments on a pseudo-terminal: every fault told apart, no answer given to another's question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.clock import SystemClock
from gateway.probes.credentials import Credentials
from gateway.probes.outcome import Outcome, Reason, State
from gateway.probes.probe import Probe
from gateway.probes.schedule import Schedule
from gateway.probes.serial.build import build
from gateway.probes.serial.bus import Bus
from gateway.probes.serial.settings import SerialBus, SerialInstrument
from gateway.probes.setup import Setup
from simulators.pty import PtyLine
from simulators.serial_bus import Fault, SimInstrument
from simulators.serial_bus import SerialBus as SimBus
from wire.configuration import ConfigError
from wire.reading import Quality, Quantity, Reading

MAP = """
title = "test"
[[block]]
name = "values"
function = 3
register = 0
count = 2
[[quantity]]
field = "values_1"
name = "ph"
unit = "[pH]"
min = 0
max = 14
divisor = 100
[[quantity]]
field = "values"
take = { at = 2, type = "s16" }
name = "water_temperature"
unit = "Cel"
min = -5
max = 50
divisor = 10
fault = [{ value = 32767, quality = "no_sensor" }]
[steady]
times = 3
s = 0
names = ["ph"]
"""
LONG_S = 20.0  # for what will answer: however slow this machine is
SHORT_S = 0.3  # for what will not


async def discard(_: list[Reading]) -> None:
    """Keep nothing."""


def setup(folder: Path) -> Setup:
    return Setup(credentials=Credentials(None), clock=SystemClock(), data=folder)


def probes(
    folder: Path, port: str, *addresses: int, timeouts: dict[int, float] | None = None, text: str = MAP,
    retries: int = 0, late_s: float = 0.1,
) -> list[Probe]:  # fmt: skip
    path = folder / "map.toml"
    path.write_text(text)
    instruments = [
        SerialInstrument(name=f"i{one}", address=str(one), map=str(path), timeout_s=(timeouts or {}).get(one, 0.0))
        for one in addresses
    ]
    bus = SerialBus(
        name="b", port=port, timeout_s=LONG_S, late_s=late_s, retries=retries, every_s=3600, instrument=instruments
    )
    return build([bus], setup(folder))


async def once(probe: Probe) -> Outcome:
    return await Schedule(probes=[probe], clock=SystemClock(), keep=discard).once(probe)


def values(outcome: Outcome) -> dict[str, float | None]:
    return {one.name: one.value for one in outcome.figures}


async def test_an_instrument_is_read_by_its_map_and_kept_raw(tmp_path: Path) -> None:
    async with SimBus([SimInstrument(7, [712, 285])]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 7)
        outcome = await once(probe)
    assert (outcome.state, outcome.rung, outcome.reason) == (State.OK, "plausible", Reason.NONE)
    assert values(outcome) == {"ph": 7.12, "water_temperature": 28.5}
    assert outcome.facts["blocks"] == {"values": "02c8011d"}
    assert (outcome.facts["attempts"], outcome.facts["noise"], outcome.facts["late"]) == (1, 0, 0)
    assert str(probe.source) == "serial:i7"


@pytest.mark.parametrize(
    ("fault", "state", "rung", "reason", "timeout_s"),
    [
        (Fault.DEAD, State.FAIL, "port", Reason.TIMEOUT, SHORT_S),
        (Fault.LATE, State.FAIL, "port", Reason.TIMEOUT, SHORT_S),
        (Fault.WRONG_ADDRESS, State.FAIL, "heard", Reason.WRONG_DEVICE, 1.0),
        (Fault.WRONG_FUNCTION, State.FAIL, "heard", Reason.NOT_THE_PROTOCOL, 1.0),
        (Fault.WRONG_LENGTH, State.FAIL, "heard", Reason.NOT_THE_PROTOCOL, 1.0),
        (Fault.FLIPPED, State.FAIL, "heard", Reason.BAD_CHECKSUM, LONG_S),
        (Fault.EXCEPTION, State.FAIL, "answer", Reason.DEVICE_ERROR, LONG_S),
        (Fault.BUSY, State.FAIL, "answer", Reason.BUSY, LONG_S),
        (Fault.GARBAGE, State.FAIL, "heard", Reason.NOT_THE_PROTOCOL, 1.0),
        (Fault.HALF, State.FAIL, "heard", Reason.TIMEOUT, 1.0),
        (Fault.CHATTER, State.FAIL, "heard", Reason.TOO_LARGE, LONG_S),
        (Fault.NOISE, State.OK, "plausible", Reason.NONE, LONG_S),
        (Fault.ECHO, State.OK, "plausible", Reason.NONE, LONG_S),
    ],
)
async def test_every_fault_is_told_apart_and_gone_with_its_cause(
    tmp_path: Path, fault: Fault, state: State, rung: str, reason: Reason, timeout_s: float
) -> None:
    sick = SimInstrument(7, [712, 285], fault)
    async with SimBus([sick]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 7, timeouts={7: timeout_s})
        outcome = await once(probe)
        assert (outcome.state, outcome.rung, outcome.reason) == (state, rung, reason)
        assert values(outcome) == ({"ph": 7.12, "water_temperature": 28.5} if state is State.OK else {})
        if fault is Fault.NOISE:
            assert outcome.facts["noise"] == 4
        if fault in (Fault.EXCEPTION, Fault.BUSY):
            assert outcome.facts["exception"] == (4 if fault is Fault.EXCEPTION else 6)
        # G9: the bus recovers by the next cycle.
        sick.fault = Fault.NONE
        sick.held.clear()
        (probe,) = probes(tmp_path, bus.line.path, 7)
        assert (await once(probe)).state is State.OK


async def test_what_the_map_asks_for_and_the_instrument_has_not_is_its_exception_2(tmp_path: Path) -> None:
    async with SimBus([SimInstrument(7, [712])]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 7)
        outcome = await once(probe)
    assert (outcome.reason, outcome.facts["exception"]) == (Reason.DEVICE_ERROR, 2)


async def test_a_passing_fault_costs_an_attempt_and_no_value(tmp_path: Path) -> None:
    async with SimBus([SimInstrument(7, [712, 285], Fault.ONCE_FLIPPED)]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 7, retries=1)
        outcome = await once(probe)
    assert (outcome.state, outcome.facts["attempts"]) == (State.OK, 2)


async def test_one_dead_instrument_of_four_costs_its_neighbours_one_time_out_and_nothing_else(tmp_path: Path) -> None:
    instruments = [SimInstrument(one, [700 + one, 250], Fault.DEAD if one == 2 else Fault.NONE) for one in range(1, 5)]
    async with SimBus(instruments) as bus:
        asked = probes(tmp_path, bus.line.path, 1, 2, 3, 4, timeouts={2: SHORT_S})
        plan = Schedule(probes=asked, clock=SystemClock(), keep=discard)
        order: list[str] = []

        async def run(probe: Probe) -> Outcome:
            outcome = await plan.once(probe)
            order.append(str(probe.source))
            return outcome

        outcomes = [await one for one in [asyncio.create_task(run(probe)) for probe in asked]]
    assert [one.state for one in outcomes] == [State.OK, State.FAIL, State.OK, State.OK]
    assert [values(outcomes[at])["ph"] for at in (0, 2, 3)] == [7.01, 7.03, 7.04]
    # Asked once, not again: who waits behind it waits for one time-out. Nobody lost a turn, nobody was asked twice.
    assert order == ["serial:i1", "serial:i2", "serial:i3", "serial:i4"]
    assert [address for address, *_ in bus.requests] == [1, 2, 3, 4]
    assert asked[1].deadline_s < 3 * SHORT_S + 2


async def test_a_late_answer_is_never_taken_for_a_neighbours(tmp_path: Path) -> None:
    slow = SimInstrument(1, [111, 111], Fault.HELD)
    async with SimBus([slow, SimInstrument(2, [222, 222])]) as bus:
        first, second = probes(tmp_path, bus.line.path, 1, 2, timeouts={1: SHORT_S})
        assert (await once(first)).reason is Reason.TIMEOUT
        outcome = await once(second)  # the late answer comes first now, from address 1
    assert (outcome.state, values(outcome)["ph"]) == (State.OK, 2.22)


async def owed_answer_then(folder: Path, bus: SimBus, slow: SimInstrument) -> Outcome:
    """Ask once in vain; then change the value and ask again: the old answer comes, and behind it the true one."""
    (impatient,) = probes(folder, bus.line.path, 1, timeouts={1: SHORT_S}, late_s=1.5)
    slow.fault = Fault.HELD
    waiting = asyncio.create_task(once(impatient))
    assert (await waiting).reason is Reason.TIMEOUT
    slow.registers[0], slow.fault = 222, Fault.NONE
    return await once(impatient)


async def test_a_late_answer_of_the_same_instrument_is_never_taken_for_the_next_one(tmp_path: Path) -> None:
    slow = SimInstrument(1, [111, 100])
    async with SimBus([slow]) as bus:
        outcome = await owed_answer_then(tmp_path, bus, slow)
    assert (values(outcome).get("ph"), outcome.facts.get("late")) == (2.22, 1)


async def test_without_the_guard_the_late_answer_would_be_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: with the guard broken, the old value comes out as the new one."""
    monkeypatch.setattr(Bus, "owes", lambda *_: False)
    slow = SimInstrument(1, [111, 100])
    async with SimBus([slow]) as bus:
        outcome = await owed_answer_then(tmp_path, bus, slow)
    assert values(outcome) == {"ph": 1.11, "water_temperature": 10.0}


async def test_an_answer_after_the_time_out_is_dropped_and_told(tmp_path: Path) -> None:
    slow = SimInstrument(1, [111, 100], Fault.LATE)
    async with SimBus([slow]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 1, timeouts={1: SHORT_S}, late_s=LONG_S)
        running = asyncio.create_task(once(probe))
        await bus.requested.wait()
        await asyncio.sleep(3 * SHORT_S)
        bus.release(1)
        outcome = await running
    assert (outcome.state, outcome.rung, outcome.reason) == (State.FAIL, "heard", Reason.TIMEOUT)
    assert outcome.facts["late"] == 1
    assert "raise timeout_s" in str(outcome.facts["explanation"])


async def test_what_lies_on_the_line_before_the_request_is_read_away(tmp_path: Path) -> None:
    old = bytes.fromhex("0703040000000000") + b"\x00"
    async with SimBus([SimInstrument(7, [712, 285])]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 7)
        bus.line.say(old)
        outcome = await once(probe)
    assert values(outcome)["ph"] == 7.12


async def test_a_line_that_is_never_silent_is_busy_and_nothing_is_asked(tmp_path: Path) -> None:
    async with SimBus([SimInstrument(7, [712, 285])]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 7, timeouts={7: SHORT_S})

        async def babble() -> None:
            while True:
                bus.line.say(b"\x55" * 64)
                await asyncio.sleep(0)

        babbling = asyncio.create_task(babble())
        outcome = await once(probe)
        babbling.cancel()
        await asyncio.gather(babbling, return_exceptions=True)
    assert (outcome.state, outcome.rung, outcome.reason) == (State.FAIL, "port", Reason.BUSY)
    assert bus.requests == []


@pytest.mark.parametrize(
    ("registers", "state", "reason", "quality"),
    [
        ([1500, 285], State.DEGRADED, Reason.OUT_OF_RANGE, Quality.IMPLAUSIBLE),
        ([712, 32767], State.DEGRADED, Reason.DEVICE_ERROR, Quality.GOOD),
    ],
)
async def test_values_that_cannot_be_are_marked(
    tmp_path: Path, registers: list[int], state: State, reason: Reason, quality: Quality
) -> None:
    async with SimBus([SimInstrument(7, registers)]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 7)
        outcome = await once(probe)
    assert (outcome.state, outcome.rung, outcome.reason) == (state, "values", reason)
    assert outcome.figures[0].quality is quality


async def test_a_probe_that_gives_no_value_at_all_has_failed(tmp_path: Path) -> None:
    text = MAP.replace('field = "values_1"', 'field = "values"\ntake = { at = 0, type = "f32" }').replace("ph", "ph")
    text = text.replace('take = { at = 2, type = "s16" }', 'take = { at = 0, type = "f32" }')
    async with SimBus([SimInstrument(7, [0x7FC0, 0])]) as bus:  # not a number
        (probe,) = probes(tmp_path, bus.line.path, 7, text=text)
        outcome = await once(probe)
    assert (outcome.state, outcome.rung, outcome.reason) == (State.FAIL, "answer", Reason.DEVICE_ERROR)
    assert outcome.figures[0] == Quantity("ph", "[pH]", None, Quality.SENSOR_FAULT)


async def test_a_value_that_stands_still_is_stuck_until_it_moves(tmp_path: Path) -> None:
    instrument = SimInstrument(7, [712, 285])
    async with SimBus([instrument]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 7)
        reasons = [(await once(probe)).reason for _ in range(4)]
        instrument.registers[0] = 713
        moved = await once(probe)
    assert reasons == [Reason.NONE, Reason.NONE, Reason.STUCK, Reason.STUCK]
    assert moved.state is State.OK


async def unplugged(bus: SimBus) -> None:
    bus.line.hang_up()


async def nothing(_: SimBus) -> None:
    """Leave it as it is."""


@pytest.mark.parametrize(("before", "port"), [(nothing, "/dev/serial/by-path/none"), (unplugged, "")])
async def test_our_own_port_missing_says_nothing_about_the_instrument(
    tmp_path: Path, before: Callable[[SimBus], Awaitable[None]], port: str
) -> None:
    async with SimBus([SimInstrument(7, [712, 285])]) as bus:
        (probe,) = probes(tmp_path, port or bus.line.path, 7)
        await before(bus)
        outcome = await once(probe)
    assert (outcome.state, outcome.reason) == (State.UNKNOWN, Reason.NO_EQUIPMENT)


async def test_an_adapter_pulled_in_the_middle_is_our_fault_too(tmp_path: Path) -> None:
    async with SimBus([SimInstrument(7, [712, 285], Fault.DEAD)]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 7)
        running = asyncio.create_task(once(probe))
        await bus.requested.wait()
        bus.line.hang_up()
        outcome = await running
    assert (outcome.state, outcome.reason) == (State.UNKNOWN, Reason.NO_EQUIPMENT)


async def test_a_port_that_another_program_holds_is_not_shared(tmp_path: Path) -> None:
    import serial  # type: ignore[import-untyped]

    async with SimBus([SimInstrument(7, [712, 285])]) as bus:
        (probe,) = probes(tmp_path, bus.line.path, 7)
        with serial.Serial(bus.line.path, exclusive=True):
            outcome = await once(probe)
    assert (outcome.state, outcome.reason) == (State.UNKNOWN, Reason.NO_EQUIPMENT)
    assert "another program" in str(outcome.facts["explanation"])


async def test_a_real_modbus_server_is_read(tmp_path: Path) -> None:
    """pymodbus's server at the far end of two joined pseudo-terminals: frames and CRCs that we did not write."""
    ours, theirs = PtyLine(lambda data: theirs.say(data)), PtyLine(lambda data: ours.say(data))
    async with ours, theirs:
        registers = SimData(address=0, values=[689, 301], datatype=DataType.REGISTERS)
        server = ModbusSerialServer(
            [SimDevice(id=5, simdata=[registers])], framer=FramerType.RTU, port=theirs.path, baudrate=9600
        )
        try:
            assert await server.listen()
            (probe,) = probes(tmp_path, ours.path, 5)
            outcome = await once(probe)
            missing = MAP.replace("register = 0", "register = 100")
            (elsewhere,) = probes(tmp_path, ours.path, 5, text=missing)
            refused = await once(elsewhere)
        finally:
            await server.shutdown()  # type: ignore[no-untyped-call]
    assert values(outcome) == {"ph": 6.89, "water_temperature": 30.1}
    assert (refused.reason, refused.facts["exception"]) == (Reason.DEVICE_ERROR, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": ""}, "port is missing"),
        ({"instrument": []}, "says what is on it"),
        ({"every_s": 1.0}, "times the time there is"),
        ({"protocol": "sdi-12"}, "for another protocol"),
        ({"protocol": "gnss"}, "has no instruments"),
        ({"baud": 0}, "baud must be above 0"),
        ({"retries": 99}, "retries lie in"),
    ],
)
def test_a_bus_that_cannot_be_is_named_at_the_start(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(MAP)
    instrument = [SerialInstrument(name="i1", address="1", map=str(path))]
    bus = {"name": "b", "port": "/dev/ttyS9", "every_s": 60.0, "instrument": instrument} | changes
    with pytest.raises(ConfigError, match=message):
        build([SerialBus(**bus)], setup(tmp_path))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "name", "message"),
    [("0", "ok", "none of 1 to 247"), ("248", "ok", "none of 1"), ("x", "ok", "none of 1"), ("1", "Not", "source id")],
)
def test_an_instrument_that_cannot_be_is_named(tmp_path: Path, address: str, name: str, message: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(MAP)
    bus = SerialBus(name="b", port="/dev/x", instrument=[SerialInstrument(name=name, address=address, map=str(path))])
    with pytest.raises(ConfigError, match=message):
        build([bus], setup(tmp_path))


def test_one_port_is_one_bus(tmp_path: Path) -> None:
    gnss = [SerialBus(name=name, port="/dev/ttyS9", protocol="gnss") for name in ("a", "b")]
    with pytest.raises(ConfigError, match="one port is one bus"):
        build(gnss, setup(tmp_path))
