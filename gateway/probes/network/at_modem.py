"""Asks a modem over its AT port: a serial device of its own, read on the event loop."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import termios
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.probes.errors import ProbeError
from gateway.probes.network.at import Exchange, Flood, Reply, fields_of, number, word_of
from gateway.probes.network.layer import OK, Layer
from gateway.probes.network.mobile import Registration, Told
from gateway.probes.network.signal import UNKNOWN, Signal, generation_of, read_cesq, read_cpsi, read_csq, read_qeng
from gateway.probes.outcome import Fact, Reason, State

_REPLY_S: Final = 3.0
_LONG_REPLY_S: Final = 12.0  # +COPS, +CPIN while the SIM starts
_GREETING_S: Final = 1.5
_GREETINGS: Final = 3
_QUIET_S: Final = 0.2

_STATS: Final = {
    0: Registration.IDLE, 1: Registration.HOME, 2: Registration.SEARCHING, 3: Registration.DENIED,
    4: Registration.UNKNOWN, 5: Registration.ROAMING,
}  # fmt: skip
_WEIGHT: Final = (
    Registration.HOME, Registration.ROAMING, Registration.SEARCHING, Registration.DENIED, Registration.IDLE,
    Registration.UNKNOWN,
)  # fmt: skip
_NO_SIM: Final = ("10", "13", "15", "SIM NOT INSERTED", "SIM FAILURE", "SIM WRONG")
_PIN: Final = ("11", "12", "17", "18", "SIM PIN", "SIM PUK", "SIM PIN2", "SIM PUK2")
_SIM_BUSY: Final = ("14", "SIM BUSY")


class Silent(Exception):
    """No result code came in time; `noise` lines of something else did."""

    def __init__(self, noise: int) -> None:
        super().__init__("no answer")
        self.noise = noise


@dataclass(slots=True)
class _Port:
    """An open AT port."""

    fd: int
    news: list[str] = field(default_factory=list)

    async def ask(self, command: str, prefix: str = "", *, within_s: float = _REPLY_S) -> Reply:
        """Send a command and wait for its result code; raises Silent, Flood, OSError."""
        exchange = Exchange(command, prefix)
        try:
            async with asyncio.timeout(within_s):
                await self._write(f"{command}\r".encode())
                while True:
                    reply = exchange.feed(await self._read())
                    if reply is not None:
                        self.news += reply.news
                        return reply
        except TimeoutError:
            raise Silent(exchange.noise) from None

    async def query(self, command: str, prefix: str, *, within_s: float = _REPLY_S) -> Reply:
        """Ask for what must have a line; an OK without one belonged to the question before, so ask once more."""
        for _ in range(2):
            reply = await self.ask(command, prefix, within_s=within_s)
            if reply.lines or not reply.ok:
                break
            await self.quiet()
        return reply

    async def quiet(self) -> None:
        """Throw away what still comes, e.g. the late answer to a question that we gave up."""
        try:
            async with asyncio.timeout(_QUIET_S):
                for _ in range(64):
                    await self._read()
        except TimeoutError:
            return

    async def _read(self) -> bytes:
        while True:
            try:
                data = os.read(self.fd, 1024)
            except BlockingIOError:
                await self._ready(write=False)
                continue
            if not data:
                raise OSError(errno.EIO, "the port is gone")
            return data

    async def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.fd, data) :]
            except BlockingIOError:
                await self._ready(write=True)

    async def _ready(self, *, write: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        add(self.fd, _settle, ready)
        try:
            await ready
        finally:
            remove(self.fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtModem:
    """`sinr` is how this model writes it: see `read_qeng`."""

    device: str
    baud: int = 115_200
    sinr: str = ""

    async def ask(self) -> Told:
        """Ask for everything that a modem of this kind tells; raises ProbeError, OSError."""
        async with _opened(self.device, self.baud) as port:
            try:
                await _greet(port)
                return await self._told(port)
            except Silent as silent:
                reason = Reason.NOT_THE_PROTOCOL if silent.noise else Reason.TIMEOUT
                why = "what it says is not AT" if silent.noise else "the modem does not answer"
                return Told(modem=Layer(State.UNKNOWN, reason, f"{self.device}: {why}"))
            except Flood as flood:
                return Told(modem=Layer(State.UNKNOWN, Reason.TOO_LARGE, str(flood)))

    async def _told(self, port: _Port) -> Told:
        facts: dict[str, Fact] = {}
        lines: dict[str, Fact] = {}
        maker, model = word_of(await port.ask("AT+CGMI")), word_of(await port.ask("AT+CGMM"))
        facts["maker"], facts["model"], facts["lines"] = maker, model, lines
        sim = await _sim(port)
        if sim.state is not State.OK:
            return Told(modem=OK, sim=sim, facts=facts)
        registration = await _registration(port, lines)
        radio_off = registration is Registration.IDLE and await _radio_off(port)
        plmn, act = await _operator(port, lines)
        signal = await self._signal(port, maker, model, lines)
        if port.news:
            news: list[Fact] = list(dict.fromkeys(port.news[:8]))
            facts["news"] = news
        return Told(
            modem=OK,
            sim=sim,
            radio_off=radio_off,
            registration=registration,
            signal=signal,
            plmn=plmn,
            generation=generation_of(act) if registration.stands else None,
            facts=facts,
        )

    async def _signal(self, port: _Port, maker: str, model: str, lines: dict[str, Fact]) -> Signal:
        """Ask the vendor's own line first: it is the exact one; then what every modem knows."""
        found = UNKNOWN
        if "quectel" in maker.lower():
            reply = await _kept(port, 'AT+QENG="servingcell"', "+QENG:", lines)
            found = read_qeng(reply.lines, sinr=self.sinr)
        elif "simcom" in maker.lower() or model.upper().startswith(("SIM", "A76")):
            reply = await _kept(port, "AT+CPSI?", "+CPSI:", lines)
            found = read_cpsi(reply.lines, model, sinr=self.sinr)
        found = found.filled(read_cesq((await _kept(port, "AT+CESQ", "+CESQ:", lines)).lines))
        return found.filled(read_csq((await _kept(port, "AT+CSQ", "+CSQ:", lines)).lines))


@asynccontextmanager
async def _opened(device: str, baud: int) -> AsyncIterator[_Port]:
    """Hold the port for ourselves; raises ProbeError."""
    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise ProbeError(Reason.MISCONFIGURED, f"{baud} is no speed of a serial port")
    try:
        fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ProbeError(Reason.NO_EQUIPMENT, f"{device} is not there: is the modem plugged in?") from error
    except PermissionError as error:
        raise ProbeError(Reason.NO_PERMISSION, f"{device}: add the gateway's user to the group dialout") from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise ProbeError(Reason.MISCONFIGURED, f"{device}: another program (ModemManager?) holds it") from error
        raise ProbeError(Reason.NO_EQUIPMENT, f"{device}: {error.strerror}") from error
    try:
        try:
            tty.setraw(fd, termios.TCSANOW)
            settings = termios.tcgetattr(fd)
            settings[4] = settings[5] = speed
            # Without HUPCL: some modems start anew when closing the port drops DTR.
            settings[2] = (settings[2] | termios.CLOCAL | termios.CREAD) & ~termios.HUPCL
            termios.tcsetattr(fd, termios.TCSANOW, settings)
            termios.tcflush(fd, termios.TCIOFLUSH)
            fcntl.ioctl(fd, termios.TIOCEXCL)
        except (termios.error, OSError) as error:
            raise ProbeError(Reason.NO_EQUIPMENT, f"{device} is no serial port: {error}") from error
        try:
            yield _Port(fd)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise ProbeError(Reason.NO_EQUIPMENT, f"{device} went away: {error.strerror or error}") from error
    finally:
        os.close(fd)


async def _greet(port: _Port) -> None:
    """Get the modem's attention: the first AT may fall into somebody else's half line."""
    for attempt in range(_GREETINGS):
        try:
            reply = await port.ask("AT", within_s=_GREETING_S)
            if reply.ok:
                break
        except Silent:
            if attempt + 1 == _GREETINGS:
                raise
    await port.ask("ATE0")
    await port.quiet()
    await port.ask("AT+CMEE=1")  # errors by number
    await port.ask("AT+COPS=3,2")  # operators by number: names differ between firmwares


async def _sim(port: _Port) -> Layer:
    reply = await port.query("AT+CPIN?", "+CPIN:", within_s=_LONG_REPLY_S)
    said = (reply.lines[-1].partition(":")[2] if reply.lines else reply.error).strip().upper()
    if said == "READY":
        return OK
    if said in _PIN:
        return Layer(State.UNKNOWN, Reason.CREDENTIALS_MISSING, f"the SIM wants a code ({said}): take its PIN off")
    if said in _SIM_BUSY:
        return Layer(State.UNKNOWN, Reason.BUSY, "the SIM is still starting")
    if said in _NO_SIM or said == "ERROR":
        return Layer(State.UNKNOWN, Reason.NO_SIM, f"the modem finds no SIM ({said})")
    return Layer(State.UNKNOWN, Reason.DEVICE_ERROR, f"the SIM: {said:.40}")


async def _registration(port: _Port, lines: dict[str, Fact]) -> Registration:
    """Return the best word of LTE, 5G and 3G: a modem that is registered in one is not so in the others."""
    found = [Registration.UNKNOWN]
    for command in ("CEREG", "C5GREG", "CGREG"):
        reply = await _kept(port, f"AT+{command}?", f"+{command}:", lines)
        for line in reply.lines:
            values = line.partition(":")[2].split(",")
            # The modem's own news has no <n> before <stat>: `+CEREG: 5`, or a quoted area code in second place.
            stat = number(values[1].strip()) if len(values) > 1 else None
            if stat is not None:
                found.append(_STATS.get(stat, Registration.UNKNOWN))
    return min(found, key=_WEIGHT.index)


async def _radio_off(port: _Port) -> bool:
    reply = await port.query("AT+CFUN?", "+CFUN:")
    return bool(reply.lines) and number(fields_of(reply.lines[-1])[0]) in (0, 4)


async def _operator(port: _Port, lines: dict[str, Fact]) -> tuple[str, int | None]:
    """Return PLMN and access technology."""
    reply = await _kept(port, "AT+COPS?", "+COPS:", lines, within_s=_LONG_REPLY_S)
    values = fields_of(reply.lines[-1]) if reply.lines else []
    plmn = values[2] if len(values) > 2 and values[1] == "2" and re.fullmatch("[0-9]{5,6}", values[2]) else ""
    return plmn, number(values[3]) if len(values) > 3 else None


async def _kept(port: _Port, command: str, prefix: str, lines: dict[str, Fact], *, within_s: float = _REPLY_S) -> Reply:
    """Ask, and keep the lines as they came. A question that gets no answer leaves its figure out, not the others."""
    try:
        reply = await port.query(command, prefix, within_s=within_s)
    except Silent:
        await port.quiet()
        reply = Reply(error="silent")
    raw: list[Fact] = [line[:200] for line in reply.lines[:4]]
    lines[command] = raw if reply.ok else reply.error[:60]
    return reply
