"""What is at a serial port: first it is listened to, then a modem's port is asked by AT, and a bus only if ordered."""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gateway.clock import SystemClock
from gateway.discover.modbus_scan import Bus, scan
from gateway.discover.serial_ports import SerialPort, Tree, holder
from gateway.probes.limits import shown_text
from gateway.probes.network.at import Exchange, Flood, Reply, word_of
from gateway.probes.outcome import Reason
from gateway.probes.serial.ear import Ear
from gateway.probes.serial.line_error import LineError
from gateway.probes.serial.port import Line, Port

_MODEM_BAUD: Final = 115_200
_AT_S: Final = 1.5
_MOST_KINDS: Final = 16


class Role(enum.Enum):
    """What a port turned out to be."""

    CONFIGURED = enum.auto()  # the gateway's own: not opened
    CONSOLE = enum.auto()  # the machine's own: not opened
    MANAGED = enum.auto()  # ModemManager's: not opened
    HELD = enum.auto()  # another program's: not opened
    HIDDEN = enum.auto()  # whether somebody has it open cannot be seen: not opened
    CLOSED = enum.auto()  # it does not open
    GNSS = enum.auto()
    NMEA = enum.auto()
    MODEM = enum.auto()
    MODBUS = enum.auto()
    TALKS = enum.auto()  # something that we do not know
    SIBLING = enum.auto()  # another port of a modem that is named already
    SILENT = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How far to go. `ask_ports`: AT also where the driver is none of modems; `scan_bus`: Modbus up to `last_address`.

    `deadline_s` is for one port.
    """

    ask_ports: bool = False
    scan_bus: bool = False
    last_address: int = 32
    listen_s: float = 2.5
    bauds: tuple[int, ...] = (9600, 4800, 115_200, 38_400)
    deadline_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found out about a port. `detail`: who holds it, why it does not open, a modem's maker and model."""

    port: SerialPort
    role: Role
    detail: str = ""
    baud: int = 0
    kinds: tuple[str, ...] = ()
    bus: Bus | None = None


async def look(
    ports: Sequence[SerialPort], configured: dict[Path, str], managed: Collection[str], manner: Manner, tree: Tree
) -> list[Looked]:
    """Look at all ports beside each other. `configured` are the gateway's own, `managed` ModemManager's names."""
    return list(await asyncio.gather(*(_look(port, configured, managed, manner, tree) for port in ports)))


async def _look(
    port: SerialPort, configured: dict[Path, str], managed: Collection[str], manner: Manner, tree: Tree
) -> Looked:
    if name := configured.get(port.node.resolve()):
        return Looked(port=port, role=Role.CONFIGURED, detail=name)
    if port.is_console:
        return Looked(port=port, role=Role.CONSOLE)
    if port.node.name in managed:
        return Looked(port=port, role=Role.MANAGED)
    if not os.access(port.node, os.R_OK | os.W_OK):
        return Looked(port=port, role=Role.CLOSED, detail=Reason.NO_PERMISSION)
    held_by = await asyncio.to_thread(holder, port, tree)
    if held_by is None:
        return Looked(port=port, role=Role.HIDDEN)
    if held_by:
        return Looked(port=port, role=Role.HELD, detail=held_by)
    try:
        async with asyncio.timeout(manner.deadline_s):
            return await _opened(port, manner)
    except LineError as error:
        return Looked(port=port, role=Role.CLOSED, detail=shown_text(str(error)))
    except TimeoutError:
        return Looked(port=port, role=Role.CLOSED, detail=f"not done within {manner.deadline_s:g} s")


async def _opened(port: SerialPort, manner: Manner) -> Looked:
    heard = False
    for baud in manner.bauds:
        kinds, heard = await _listen(port, baud, manner.listen_s)
        if kinds:
            role = Role.GNSS if any(kind.endswith("RMC") for kind in kinds) else Role.NMEA
            return Looked(port=port, role=role, baud=baud, kinds=kinds)
        if not heard or port.may_be_modem:
            break  # at a wrong speed there would be bytes all the same; to a modem its speed is nothing
    if port.may_be_modem or (manner.ask_ports and not heard):
        model = await _modem(port)
        if model is not None:
            return Looked(port=port, role=Role.MODEM, detail=model, baud=_MODEM_BAUD)
    if manner.scan_bus and not heard and not port.may_be_modem:
        bus = await scan(str(port.node), manner.last_address)
        if bus is not None:
            return Looked(port=port, role=Role.MODBUS, baud=bus.baud, bus=bus)
    return Looked(port=port, role=Role.TALKS if heard else Role.SILENT)


async def _listen(port: SerialPort, baud: int, listen_s: float) -> tuple[tuple[str, ...], bool]:
    """Return which sentences are said, and whether anything is."""
    async with Port(_line(port, baud)) as opened:
        ear = Ear(port=opened, clock=SystemClock(), listen_s=listen_s)
        async for sentence, _ in ear.sentences():
            if len(ear.kinds) >= _MOST_KINDS or sentence.formatter == "RMC":
                break
    return tuple(sorted(ear.kinds))[:_MOST_KINDS], ear.heard > 0


async def _modem(port: SerialPort) -> str | None:
    """Return maker and model of a modem, "" for one that does not tell; None where nothing answers AT.

    Nothing is set, and nothing is asked that tells who owns it: no IMEI, no number.
    """
    async with Port(_line(port, _MODEM_BAUD)) as opened:
        for _ in range(2):  # the first may fall into somebody else's half line
            reply = await _ask(opened, "AT")
            if reply is not None and reply.ok:
                break
        else:
            return None
        replies = [await _ask(opened, command) for command in ("AT+CGMI", "AT+CGMM")]
    words = [word_of(reply) for reply in replies if reply is not None and reply.ok]
    return shown_text(" ".join(word for word in words if word))


async def _ask(port: Port, command: str) -> Reply | None:
    """Send one command; returns its reply, None where none comes."""
    exchange = Exchange(command)
    port.send(f"{command}\r".encode())
    try:
        async with asyncio.timeout(_AT_S):
            while True:
                reply = exchange.feed(await port.receive(_AT_S))
                if reply is not None:
                    return reply
    except (TimeoutError, Flood):
        return None


def _is_named(one: Looked) -> bool:
    """Whether the port is a modem's that ModemManager or the configuration has."""
    return one.role is Role.MANAGED or (one.role is Role.CONFIGURED and one.detail.startswith("modem "))


def one_port_a_modem(looked: Iterable[Looked]) -> list[Looked]:
    """Let the first port that answers AT stand for its USB device: a modem has several. Pure."""
    given = list(looked)
    named = {one.port.usb for one in given if _is_named(one)} - {""}
    told: list[Looked] = []
    for one in given:
        is_sibling = one.role is Role.MODEM and one.port.usb in named
        told.append(replace(one, role=Role.SIBLING) if is_sibling else one)
        if one.role is Role.MODEM and one.port.usb:
            named.add(one.port.usb)
    return told


def _line(port: SerialPort, baud: int) -> Line:
    return Line(path=str(port.node), baud=baud, data_bits=8, parity="N", stop_bits=1)
