"""A modem on a pseudo-terminal: speaks AT as three makers' modems do, with the faults of the field on demand."""

from __future__ import annotations

import os
import select
import threading
import tty
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Final, Self


class Make(Enum):
    """Whose modem it is: maker and model as it names itself."""

    EC25 = ("Quectel", "EC25")
    RM500 = ("Quectel", "RM500Q-GL")
    SIM7600 = ("SIMCOM INCORPORATED", "SIMCOM_SIM7600E-H")
    A7670 = ("SIMCOM INCORPORATED", "A7670E-FASE")


class Fault(Enum):
    """What can be wrong with it. A SIM out of data shows only to who sends something through it."""

    NONE = "none"
    NO_SIM = "no_sim"
    PIN = "pin"
    SEARCHING = "searching"
    NO_NETWORK = "no_network"
    DENIED = "denied"
    RADIO_OFF = "radio_off"
    UNKNOWN_SIGNAL = "unknown_signal"
    SILENT = "silent"
    NOISY = "noisy"
    GARBAGE = "garbage"
    HALF_LINES = "half_lines"
    FLOOD = "flood"
    LATE = "late"  # the answer to the first +COPS comes after the question has been given up


_STAT: Final = {Fault.SEARCHING: 2, Fault.NO_NETWORK: 2, Fault.DENIED: 3, Fault.RADIO_OFF: 0}
_REGISTERED: Final = 1


@dataclass(slots=True)
class SimModem:
    """Used as a context; `path` is its AT port. `rsrp_dbm` is what it hears, a whole number of dBm."""

    make: Make = Make.EC25
    fault: Fault = Fault.NONE
    rsrp_dbm: int = -95
    path: str = ""
    asked: list[str] = field(default_factory=list)
    _ends: tuple[int, int] = (-1, -1)
    _stop: tuple[int, int] = (-1, -1)
    _thread: threading.Thread | None = None
    _echo: bool = True
    _late: str = ""

    def __enter__(self) -> Self:
        near, far = os.openpty()
        tty.setraw(near)
        tty.setraw(far)
        self._ends, self.path, self._stop = (near, far), os.ttyname(far), os.pipe()
        self._thread = threading.Thread(target=self._serve, name="sim-modem")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._stop[1], b"x")
        if self._thread is not None:
            self._thread.join()
        for fd in (*self._ends, *self._stop):
            os.close(fd)

    def _serve(self) -> None:
        heard = b""
        while True:
            ready, _, _ = select.select([self._ends[0], self._stop[0]], [], [])
            if self._stop[0] in ready:
                return
            heard += os.read(self._ends[0], 1024)
            *commands, heard = heard.split(b"\r")
            for command in commands:
                self._answer(command.decode("ascii", "replace").strip())

    def _answer(self, command: str) -> None:
        self.asked.append(command)
        if self.fault is Fault.SILENT:
            return
        if self.fault is Fault.FLOOD:
            self._say(b"+XNOISE: " + b"0123456789" * 40 + b"\r\n", times=30)
            return
        if self.fault is Fault.GARBAGE:
            self._say(b"\x00\xfe\x81\x93\xff\r\n$GPGGA,,,,\r\n")
            return
        if self._echo:
            self._say(command.encode() + b"\r")
        if command == "ATE0":
            self._echo = False
        lines, final = self.reply(command)
        text = "".join(f"\r\n{line}\r\n" for line in lines) + f"\r\n{final}\r\n"
        if self.fault is Fault.NOISY:
            news = '\r\n+CMTI: "SM",3\r\n\r\n+CEREG: 5\r\n\x01\xff\xfe\r\n\r\n+CREG: 1,"1A2B","0DEF"\r\n'
            text = news + text + "\r\nRING\r\n"
        if self.fault is Fault.LATE and command == "AT+COPS?" and self.asked.count(command) == 1:
            self._late = text
            return
        self._say(text.encode("latin-1"))

    def _say(self, data: bytes, times: int = 1) -> None:
        if self.fault is Fault.LATE and self._late and times == 1:
            data, self._late = self._late.encode() + data, ""
        step = 5 if self.fault is Fault.HALF_LINES else len(data)
        for _ in range(times):
            for at in range(0, len(data), step):
                os.write(self._ends[0], data[at : at + step])

    def reply(self, command: str) -> tuple[list[str], str]:
        """Return the lines and the result code of a command."""
        maker, model = self.make.value
        match command:
            case "AT" | "ATE0" | "AT+CMEE=1" | "AT+COPS=3,2":
                return [], "OK"
            case "AT+CGMI":
                return [maker], "OK"
            case "AT+CGMM":
                return [model], "OK"
            case "AT+CPIN?":
                return self._pin()
            case "AT+CFUN?":
                return [f"+CFUN: {4 if self.fault is Fault.RADIO_OFF else 1}"], "OK"
            case "AT+CEREG?":
                return [f'+CEREG: 2,{self._stat},"1A2B","01A2B3C4",7'], "OK"
            case "AT+CGREG?":
                return [f"+CGREG: 0,{0 if self._stat == _REGISTERED else self._stat}"], "OK"
            case "AT+C5GREG?":
                return ([f"+C5GREG: 0,{self._stat}"], "OK") if self.make is Make.RM500 else ([], "+CME ERROR: 100")
            case "AT+COPS?":
                return ['+COPS: 0,2,"45204",7' if self._stat == _REGISTERED else "+COPS: 0"], "OK"
            case "AT+CSQ":
                return ["+CSQ: 99,99" if self._deaf else "+CSQ: 18,99"], "OK"
            case "AT+CESQ":
                index = 255 if self._deaf else self.rsrp_dbm + 140
                return [f"+CESQ: 99,99,255,255,{255 if self._deaf else 17},{index}"], "OK"
            case 'AT+QENG="servingcell"' if maker == "Quectel":
                return self._serving_cell(), "OK"
            case "AT+CPSI?" if maker != "Quectel":
                return [self._system()], "OK"
        return [], "ERROR"

    @property
    def _stat(self) -> int:
        return _STAT.get(self.fault, _REGISTERED)

    @property
    def _deaf(self) -> bool:
        return self.fault in (Fault.UNKNOWN_SIGNAL, Fault.NO_NETWORK, Fault.SEARCHING, Fault.RADIO_OFF)

    def _pin(self) -> tuple[list[str], str]:
        if self.fault is Fault.NO_SIM:
            return [], "+CME ERROR: 10"
        return ["+CPIN: SIM PIN" if self.fault is Fault.PIN else "+CPIN: READY"], "OK"

    def _serving_cell(self) -> list[str]:
        if self._stat != _REGISTERED:
            return ['+QENG: "servingcell","SEARCH"']
        rsrp = "-" if self.fault is Fault.UNKNOWN_SIGNAL else str(self.rsrp_dbm)
        rsrq, rssi = ("-", "-32768") if self.fault is Fault.UNKNOWN_SIGNAL else ("-9", "-67")
        cell = f'"LTE","FDD",452,04,1A2B3C4,271,1650,3,5,5,1A2B,{rsrp},{rsrq},{rssi},18,11,-,35'
        if self.make is Make.RM500:
            return [
                '+QENG: "servingcell","NOCONN"',
                f"+QENG: {cell}",
                '+QENG: "NR5G-NSA",452,04,77,-88,20,-11,640000,78,8,1',
            ]
        return [f'+QENG: "servingcell","NOCONN",{cell}']

    def _system(self) -> str:
        if self._stat != _REGISTERED:
            return "+CPSI: NO SERVICE,Online"
        head = "+CPSI: LTE,Online,452-04,0x1A2B,27439044,271,EUTRAN-BAND3,1650,5,5"
        if self.fault is Fault.UNKNOWN_SIGNAL:
            return f"{head},0,0,0,0" if self.make is Make.SIM7600 else f"{head},255,255,255,255"
        if self.make is Make.SIM7600:
            return f"{head},-69,{self.rsrp_dbm * 10},-661,18"
        return f"{head},21,{self.rsrp_dbm + 140},42,5"
