"""What is at a serial port: real pseudo-terminals in a made tree of /sys, /dev and /proc."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gateway.discover.finding import Finding, Standing, Unsearched
from gateway.discover.known import Known, Sections
from gateway.discover.modbus_scan import scan
from gateway.discover.serial import Looked, Manner, Role, look, one_port_a_modem
from gateway.discover.serial_findings import findings
from gateway.discover.serial_ports import SerialPort, holder, serial_ports
from gateway.probes.network.settings import Modem
from gateway.probes.serial.line_error import LineError
from gateway.probes.serial.port import Line, Port
from gateway.probes.serial.settings import SerialBus as SerialBusSettings
from simulators import modem, nmea
from simulators.pty import PtyLine
from simulators.serial_bus import Fault, SerialBus, SimInstrument
from tests.gateway.discover.discover_bed import MadeTree

QUICK = Manner(listen_s=0.4, last_address=5)
AT = datetime(2026, 5, 1, 7, 0, tzinfo=UTC)


@pytest.fixture
def made(tmp_path: Path) -> MadeTree:
    return MadeTree(tmp_path)


async def seen(made: MadeTree, manner: Manner = QUICK, known: Known | None = None, *managed: str) -> list[Looked]:
    known = known or Known()
    return one_port_a_modem(await look(serial_ports(made.tree), known.serial_ports, set(managed), manner, made.tree))


async def only(made: MadeTree, manner: Manner = QUICK) -> Looked:
    [one] = await seen(made, manner)
    return one


def said(looked: list[Looked]) -> tuple[list[Finding], list[Unsearched]]:
    return findings(looked, Known().names())


# ---- which ports there are


def test_a_port_is_named_by_its_place_and_told_by_its_maker(made: MadeTree) -> None:
    made.plug("ttyUSB0", "/dev/null", by_path="platform-usb-0:1.2:1.0-port0", by_id="usb-Maker_A")
    made.plug("ttyUSB1", "/dev/null", usb="1-1.3", by_id="usb-Maker_B")
    made.plug("ttyUSB2", "/dev/null", usb="1-1.4")
    first, second, third = serial_ports(made.tree)
    assert first.path.name == "platform-usb-0:1.2:1.0-port0"
    assert (first.driver, first.product, first.usb, first.is_stable) == ("ftdi_sio", "Maker Adapter", "1-1.2", True)
    assert (second.path.name, second.is_stable) == ("usb-Maker_B", True)
    assert (third.path, third.is_stable) == (made.tree.dev / "ttyUSB2", False)


def test_a_name_that_may_hold_an_imei_is_not_used(made: MadeTree) -> None:
    made.plug("ttyUSB0", "/dev/null", driver="option1", by_id="usb-Huawei_866758042319055-if00-port0")
    assert "866758042319055" not in repr(serial_ports(made.tree))


def test_a_uart_that_is_not_there_and_a_terminal_without_hardware_are_no_ports(made: MadeTree) -> None:
    made.plug("ttyS0", "/dev/null", driver="serial8250", usb="x")
    (made.tree.sys / "class/tty/ttyS0/type").write_text("0\n")
    (made.tree.sys / "class/tty/tty1").mkdir()
    made.plug("ttyUSB7", str(made.tree.dev / "gone"))
    assert serial_ports(made.tree) == []


def test_the_layers_of_a_new_kernel_do_not_hide_the_driver(made: MadeTree) -> None:
    made.plug("ttyAMA0", "/dev/null", driver="port", usb="fe201000.serial")
    device = (made.tree.sys / "class/tty/ttyAMA0/device").resolve()
    drivers = made.tree.sys / "drivers/uart-pl011"
    drivers.mkdir()
    (device.parent / "driver").symlink_to(drivers)
    assert [one.driver for one in serial_ports(made.tree)] == ["uart-pl011"]


def test_a_machine_without_ports_has_none(made: MadeTree, tmp_path: Path) -> None:
    assert serial_ports(made.tree) == []
    (made.tree.sys / "class/tty").rmdir()
    assert serial_ports(made.tree) == []


# ---- which of them are left alone


async def test_ports_of_others_are_not_opened(made: MadeTree) -> None:
    async with PtyLine() as line:
        node = made.plug("ttyUSB0", line.path)
        usb = SerialBusSettings(name="rs485-1", port=str(node))
        [configured] = await seen(made, QUICK, Known(sections=Sections(serial_bus=[usb])))
        own = Modem(name="viettel", device=str(node))
        [modems] = await seen(made, QUICK, Known(sections=Sections(modem=[own])))
        [managed] = await seen(made, QUICK, None, "ttyUSB0")
        (made.tree.sys / "class/tty/console").mkdir()
        (made.tree.sys / "class/tty/console/active").write_text("tty1 ttyUSB0\n")
        [console] = await seen(made)
        (made.tree.sys / "class/tty/console/active").write_text("tty1\n")
        made.hold(line.path, "ModemManager")
        [held] = await seen(made)
    assert [one.role for one in (configured, modems, managed, console, held)] == [
        Role.CONFIGURED, Role.CONFIGURED, Role.MANAGED, Role.CONSOLE, Role.HELD,
    ]  # fmt: skip
    found, left = said([configured, modems, managed, console, held])
    assert [one.standing for one in found] == [Standing.KNOWN, Standing.KNOWN, Standing.SEEN, Standing.SEEN]
    assert "ModemManager" in left[0].what.vi
    assert left[0].remedy.vi


async def test_where_holders_cannot_be_seen_nothing_is_opened(made: MadeTree) -> None:
    async with PtyLine() as line:
        made.plug("ttyUSB0", line.path)
        (made.tree.proc / "1/fd").rmdir()
        looked = await seen(made)
    assert [one.role for one in looked] == [Role.HIDDEN]
    assert "sudo" in said(looked)[1][0].remedy.vi


async def test_a_port_that_is_locked_is_left_alone(made: MadeTree) -> None:
    async with PtyLine() as line:
        made.plug("ttyUSB0", line.path)
        async with Port(Line(path=line.path, baud=9600, data_bits=8, parity="N", stop_bits=1)):
            looked = await only(made)
        assert looked.role is Role.CLOSED
        assert "another program" in looked.detail
        assert (await only(made)).role is Role.SILENT


def test_the_real_proc_shows_who_holds_a_port(made: MadeTree) -> None:
    if os.geteuid() != 0:
        pytest.skip("LEFT OUT: only root sees who holds a port")
    reader, writer = os.pipe()
    far, near = os.openpty()
    port = SerialPort(node=Path(os.ttyname(near)), path=Path(os.ttyname(near)))
    try:
        child = os.posix_spawn(
            "/bin/cat", ["cat"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0), (os.POSIX_SPAWN_CLOSE, writer),
                                                   (os.POSIX_SPAWN_DUP2, near, 5)],
        )  # fmt: skip
        real = type(made.tree)()
        assert holder(port, real) == "cat"
    finally:
        os.close(writer)
        os.waitpid(child, 0)
    assert holder(port, real) == ""  # we ourselves still have it open, and do not count
    for fd in (reader, far, near):
        os.close(fd)


async def test_an_adapter_that_is_pulled_out_is_said(made: MadeTree) -> None:
    async with PtyLine() as line:
        made.plug("ttyUSB0", line.path)
        port = serial_ports(made.tree)
    looked = await look(port, {}, set(), QUICK, made.tree)
    assert [one.role for one in looked] == [Role.CLOSED]
    assert len(said(looked)[1]) == 1


# ---- what is at the others


async def test_a_gnss_receiver_is_heard_and_never_asked(made: MadeTree) -> None:
    heard: list[bytes] = []
    async with nmea.Talker(lambda: nmea.fix(AT)) as talker:
        talker.line._heard = heard.append
        made.plug("ttyUSB0", talker.line.path, by_path="gnss")
        looked = await only(made, Manner(listen_s=5.0, ask_ports=True, scan_bus=True))
    assert (looked.role, looked.baud) == (Role.GNSS, 9600)
    assert heard == []
    [found], _ = said([looked])
    assert found.section is not None
    assert found.section.settings == SerialBusSettings(
        name="gnss", port=str(made.tree.dev / "serial/by-path/gnss"), protocol="gnss", timeout_s=5.0
    )


async def test_an_instrument_that_talks_is_told_by_its_sentences(made: MadeTree) -> None:
    async with nmea.Talker(lambda: [nmea.sentence("YXMTW,28.1,C"), nmea.sentence("WIMWV,1,R,2,N,A")]) as talker:
        made.plug("ttyUSB0", talker.line.path)
        looked = await only(made)
    assert (looked.role, looked.kinds) == (Role.NMEA, ("WIMWV", "YXMTW"))


@pytest.mark.parametrize("words", [b"hello\r\n", b"\x00\xff" * 40, nmea.sentence("GPRMC,1,A", wrong=True)])
async def test_what_talks_otherwise_is_shown_and_not_asked(made: MadeTree, words: bytes) -> None:
    heard: list[bytes] = []
    async with nmea.Talker(lambda: [words]) as talker:
        talker.line._heard = heard.append
        made.plug("ttyUSB0", talker.line.path)
        looked = await only(made, Manner(listen_s=0.2, ask_ports=True, scan_bus=True))
    assert looked.role is Role.TALKS
    assert heard == []
    assert said([looked])[0][0].standing is Standing.SEEN


@pytest.mark.parametrize("make", list(modem.Make))
async def test_a_modem_is_asked_for_its_make_and_for_nothing_that_names_its_owner(
    made: MadeTree, make: modem.Make
) -> None:
    with modem.SimModem(make=make) as there:
        made.plug("ttyUSB2", there.path, driver="option1", by_path="modem")
        looked = await only(made)
    assert (looked.role, looked.detail) == (Role.MODEM, " ".join(make.value))
    assert there.asked == ["AT", "AT+CGMI", "AT+CGMM"]
    [found], _ = said([looked])
    assert found.section is not None
    assert isinstance(found.section.settings, Modem)
    assert (found.section.settings.via, found.section.settings.interface) == ("at", "")
    assert found.section.settings.device == str(made.tree.dev / "serial/by-path/modem")


@pytest.mark.parametrize(
    ("fault", "role"),
    [
        (modem.Fault.NO_SIM, Role.MODEM),
        (modem.Fault.NOISY, Role.MODEM),
        (modem.Fault.HALF_LINES, Role.MODEM),
        (modem.Fault.SILENT, Role.SILENT),
        (modem.Fault.GARBAGE, Role.SILENT),
        (modem.Fault.FLOOD, Role.SILENT),
    ],
)
async def test_a_modem_with_a_fault_is_still_one_as_long_as_it_answers(
    made: MadeTree, fault: modem.Fault, role: Role
) -> None:
    with modem.SimModem(fault=fault) as there:
        made.plug("ttyUSB2", there.path, driver="option1")
        looked = await only(made)
    assert looked.role is role


async def test_an_adapter_is_asked_nothing_unless_ordered(made: MadeTree) -> None:
    with modem.SimModem() as there:
        made.plug("ttyUSB0", there.path, driver="ftdi_sio")
        assert (await only(made)).role is Role.SILENT
        assert there.asked == []
        assert (await only(made, Manner(listen_s=0.2, ask_ports=True))).role is Role.MODEM


async def test_a_modem_with_several_ports_is_proposed_once(made: MadeTree) -> None:
    with modem.SimModem() as second, modem.SimModem() as third:
        made.plug("ttyUSB2", second.path, driver="option1", usb="1-1.2")
        made.plug("ttyUSB3", third.path, driver="option1", usb="1-1.2")
        assert [one.role for one in await seen(made)] == [Role.MODEM, Role.SIBLING]
        own = Known(sections=Sections(modem=[Modem(name="a", device=str(made.tree.dev / "ttyUSB3"))]))
        assert [one.role for one in await seen(made, QUICK, own)] == [Role.SIBLING, Role.CONFIGURED]
        assert [one.role for one in await seen(made, QUICK, None, "ttyUSB2")] == [Role.MANAGED, Role.SIBLING]


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.EXCEPTION, Fault.BUSY, Fault.NOISE, Fault.ECHO, Fault.HELD])
async def test_a_bus_is_found_by_whoever_answers(made: MadeTree, fault: Fault) -> None:
    async with SerialBus([SimInstrument(2, [1, 2], fault), SimInstrument(4, [3])]) as bus:
        made.plug("ttyUSB0", bus.line.path, by_path="rs485")
        looked = await only(made, Manner(listen_s=0.2, scan_bus=True, last_address=5))
    assert looked.bus is not None
    assert (looked.role, looked.bus.baud, looked.bus.addresses) == (Role.MODBUS, 9600, (2, 4))
    assert [request[:2] for request in bus.requests] == [(address, 3) for address in range(1, 6)]  # it is only read
    [found], _ = said([looked])
    assert (found.standing, found.candidate) == (Standing.HAND, True)


async def test_a_real_modbus_server_is_found() -> None:
    """pymodbus's server at the far end of two joined pseudo-terminals: frames and CRCs that we did not write."""
    ours, theirs = PtyLine(lambda data: theirs.say(data)), PtyLine(lambda data: ours.say(data))
    async with ours, theirs:
        registers = SimData(address=100, values=[689, 301], datatype=DataType.REGISTERS)  # none at 0: an exception
        server = ModbusSerialServer(
            [SimDevice(id=3, simdata=[registers])], framer=FramerType.RTU, port=theirs.path, baudrate=9600
        )
        try:
            assert await server.listen()
            found = await scan(ours.path, 4)
        finally:
            await server.shutdown()  # type: ignore[no-untyped-call]
    assert found is not None
    assert 3 in found.addresses


async def test_a_bus_is_not_asked_unless_ordered(made: MadeTree) -> None:
    async with SerialBus([SimInstrument(1, [1])]) as bus:
        made.plug("ttyUSB0", bus.line.path)
        looked = await only(made)
    assert (looked.role, bus.requests) == (Role.SILENT, [])
    assert "--scan-bus" in said([looked])[0][0].advice.vi


@pytest.mark.parametrize(
    "fault", [Fault.DEAD, Fault.FLIPPED, Fault.GARBAGE, Fault.HALF, Fault.WRONG_ADDRESS, Fault.WRONG_FUNCTION]
)
async def test_what_is_no_right_answer_is_no_instrument(fault: Fault) -> None:
    async with SerialBus([SimInstrument(2, [1], fault)]) as bus:
        assert await scan(bus.line.path, 3, answer_s=0.1, settings=((9600, "N"), (19_200, "N"))) is None
    assert len(bus.requests) == 6  # every address with every setting


async def test_a_line_that_is_never_silent_ends_the_scan() -> None:
    async with nmea.Talker(lambda: [b"\x55" * 64], every_s=0.001) as talker:
        with pytest.raises(LineError, match="never silent"):
            await scan(talker.line.path, 3)


def test_every_role_has_words_in_both_languages() -> None:
    port = SerialPort(node=Path("/dev/ttyUSB0"), path=Path("/dev/ttyUSB0"), usb="1-1")
    for role in Role:
        found, left = said([Looked(port=port, role=role, detail="x")])
        texts = [one.what for one in found] + [text for one in left for text in (one.what, one.remedy)]
        assert texts
        assert all(len(text.vi) > 3 and len(text.en) > 3 for text in texts), role
