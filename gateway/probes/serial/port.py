"""A serial port: opened for one run, read as bytes arrive, never more of them than asked for, never for longer."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from gateway.probes.outcome import Reason
from gateway.probes.serial.line_error import LineError, shown
from gateway.probes.serial.settings import SerialBus

_CHUNK: Final = 4_096
_MOST_WAITING: Final = 4_096
# Above 19,200 baud the gap stays at 1.75 ms (Modbus over serial line V1.02, 2.5.1.1). A USB adapter hands bytes over in
# packets some milliseconds apart, so less than 5 ms of silence tells nothing here.
_LEAST_GAP_S: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How a port is set: what `[[serial_bus]]` says of it."""

    path: str
    baud: int
    data_bits: int
    parity: str
    stop_bits: int

    @classmethod
    def of(cls, bus: SerialBus) -> Line:
        """Return a bus's."""
        return cls(path=bus.port, baud=bus.baud, data_bits=bus.data_bits, parity=bus.parity, stop_bits=bus.stop_bits)

    @property
    def gap_s(self) -> float:
        """The silence between two frames: 3.5 characters of 11 bits."""
        return max(3.5 * 11 / self.baud, _LEAST_GAP_S)


class Port:
    """One open port. Opening takes it for us alone: a second program on the line would read our answers."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._serial: Any = None
        self._fd = -1
        self._waiting = bytearray()
        self._arrived = asyncio.Event()
        self._lost = ""

    async def __aenter__(self) -> Self:
        import serial  # type: ignore[import-untyped]  # only a gateway with a serial line pays for it

        line = self._line
        try:
            self._serial = serial.Serial(
                line.path,
                line.baud,
                bytesize=line.data_bits,
                parity=line.parity,
                stopbits=line.stop_bits,
                timeout=0,
                exclusive=True,
            )
            self._fd = self._serial.fileno()
            _keep_dtr(self._fd)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            self._close()
            raise _unopened(line.path, error) from error
        asyncio.get_running_loop().add_reader(self._fd, self._readable)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        self._close()

    def send(self, data: bytes) -> None:
        """Write a request; raises LineError where the port does not take it."""
        self._check()
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise _gone(self._line.path, str(error)) from error
        if written != len(data):
            raise _gone(self._line.path, f"the port took {written} of {len(data)} bytes")

    async def receive(self, within_s: float) -> bytes:
        """Return what has come, as soon as something has; b"" when nothing has come in time."""
        if not self._waiting:
            self._arrived.clear()
            self._check()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(within_s, 0.0)):
                    await self._arrived.wait()
        if not self._waiting:
            self._check()
        heard = bytes(self._waiting)
        self._waiting.clear()
        return heard

    async def quieten(self, within_s: float) -> bytes:
        """Wait for a gap and return what was still said before it; raises LineError (BUSY) when there is none."""
        until, heard = time.monotonic() + within_s, bytearray()
        while chunk := await self.receive(self._line.gap_s):
            heard += chunk
            if time.monotonic() > until or len(heard) > _MOST_WAITING:
                raise LineError(
                    Reason.BUSY,
                    f"the line is never silent: {len(heard)} bytes before we had asked anything",
                    rung="port",
                    facts={"heard": shown(bytes(heard))},
                )
        return bytes(heard)

    def _readable(self) -> None:
        try:
            chunk = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            chunk, self._lost = b"", str(error)
        if not chunk:
            self._lost = self._lost or "the port ended"
            asyncio.get_running_loop().remove_reader(self._fd)
        # Who babbles is cut off, not stored: what is dropped here would have failed its check anyway.
        self._waiting += chunk[: max(0, _MOST_WAITING - len(self._waiting))]
        self._arrived.set()

    def _check(self) -> None:
        if self._lost:
            raise _gone(self._line.path, self._lost)

    def _close(self) -> None:
        if self._serial is not None:
            with suppress(OSError):
                self._serial.close()
            self._serial = None


def _keep_dtr(descriptor: int) -> None:
    """Leave DTR raised when the port closes: an adapter with a microcontroller would start anew at each of our runs."""
    import termios

    with suppress(termios.error):  # a port without modem lines
        attributes = termios.tcgetattr(descriptor)
        attributes[2] &= ~termios.HUPCL
        termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def _unopened(path: str, error: OSError | ValueError) -> LineError:
    if isinstance(error, ValueError):
        return LineError(Reason.MISCONFIGURED, f"{path}: {error}")
    if error.errno == errno.EACCES:
        return LineError(Reason.NO_PERMISSION, f"{path}: the gateway may not open it; put its user in group dialout")
    if error.errno in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        return LineError(Reason.NO_EQUIPMENT, f"{path}: another program has this port open")
    return LineError(Reason.NO_EQUIPMENT, f"{path}: {error}")


def _gone(path: str, why: str) -> LineError:
    return LineError(Reason.NO_EQUIPMENT, f"{path}: the adapter went away while we used it: {why}", rung="port")
