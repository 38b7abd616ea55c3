"""A stand-in for systemd over one gateway: READY, WATCHDOG, kill and restart, by the protocol of sd_notify(3)."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from types import TracebackType

from tests.faults.gateway_bed import ROOT, Bed
from tests.faults.gateway_broken import Switch
from tests.faults.harness import end, environment

_RESTART_S = 0.2
_ABORT_S = 0.5  # systemd's TimeoutAbortSec: SIGABRT first, then SIGKILL
_TICK_S = 0.05


class Supervisor:
    """Type=notify, Restart=always, WatchdogSec=`watchdog_s` (None: it does not watch).

    `patience_s`, where given, is how long it really waits: for tests that a busy machine's pauses must not end early.
    """

    def __init__(
        self, gateway: Bed, *switches: Switch, watchdog_s: float | None = 2.0, patience_s: float | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.gateway, self.watchdog_s = gateway, watchdog_s
        self.patience_s = patience_s or watchdog_s
        self.starts: list[float] = []
        self.exits: list[int] = []
        self.hung = 0  # how often the watchdog ran out
        self.signs: list[float] = []  # when it said that it lives
        self._command = gateway.command(*switches)
        self._extra = dict(extra or {})
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._supervise, daemon=True)

    def __enter__(self) -> Supervisor:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0xom-supervisor-{id(self)}")
        self._socket.settimeout(_TICK_S)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(30)
        if self.gateway.process is not None:
            end(self.gateway.process)
        self._socket.close()

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return len(self.starts) - 1

    def _supervise(self) -> None:
        while not self._over.is_set():
            self._start()
            self._watch()
            self._over.wait(_RESTART_S)

    def _start(self) -> None:
        told = {"NOTIFY_SOCKET": f"@xom-supervisor-{id(self)}"}
        if self.watchdog_s is not None:
            told["WATCHDOG_USEC"] = str(int(self.watchdog_s * 1e6))
        with (self.gateway.folder / "gateway.log").open("ab") as log:
            self.gateway.process = subprocess.Popen(
                self._command, cwd=ROOT, env=environment(self._extra | told), stderr=log
            )
        self.starts.append(time.monotonic())

    def _watch(self) -> None:
        last: float | None = None  # the watchdog runs from READY on
        while not self._over.is_set():
            word = self._hear()
            if word:
                last = time.monotonic()
            if word == b"WATCHDOG=1":
                self.signs.append(time.monotonic())
            code = self.gateway.running.poll()
            if code is not None:
                self.exits.append(code)
                return
            if last is not None and self.patience_s is not None and time.monotonic() - last > self.patience_s:
                self.hung += 1
                self._abort()

    def _abort(self) -> None:
        process = self.gateway.running
        process.send_signal(signal.SIGABRT)
        try:
            process.wait(_ABORT_S)
        except subprocess.TimeoutExpired:  # a stopped process takes no SIGABRT
            end(process)

    def _hear(self) -> bytes:
        try:
            return self._socket.recv(100)
        except TimeoutError:
            return b""
