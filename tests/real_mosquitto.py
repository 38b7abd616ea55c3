"""A real Mosquitto for a test: on a free loopback port, with a configuration of its own, ended by us."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

_DEADLINE_S = 15.0
_RUNNING = re.compile(r"mosquitto version \S+ running")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
PROGRAM = shutil.which("mosquitto", path=_PATH)
MISSING = "Mosquitto is not installed here (apt-get install mosquitto): nothing was proved against a real broker"


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """One broker. `restart` keeps the port; sessions and retained messages survive it when `persistence` is on."""

    def __init__(self, home: Path) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.home = home
        self.acl: list[str] = []
        self.options: list[str] = []
        self.persistence = True
        self._process: subprocess.Popen[bytes] | None = None
        self._began_at = 0

    @property
    def pid(self) -> int:
        """The broker's process id, while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the broker has written so far."""
        return (self.home / "mosquitto.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it with the present options and wait until it accepts connections."""
        assert PROGRAM is not None, MISSING
        lines = [f"listener {self.port} {self.host}", "allow_anonymous true", *self.options]
        if self.persistence:
            lines += ["persistence true", f"persistence_location {self.home}/", "autosave_interval 1800"]
        if self.acl:
            (self.home / "acl").write_text("\n".join(self.acl) + "\n")
            lines.append(f"acl_file {self.home / 'acl'}")
        if os.geteuid() == 0:
            lines.append("user root")  # else Mosquitto becomes `mosquitto`, who may not write our directory
        config = self.home / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        self._began_at = len(self.log) if (self.home / "mosquitto.log").exists() else 0
        with (self.home / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-v", "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait_until_it_listens()
        except AssertionError:
            self.kill()
            raise

    def _wait_until_it_listens(self) -> None:
        """Wait for its own word: asking it over a network that a test makes lossy may take minutes."""
        end = time.monotonic() + _DEADLINE_S
        while not _RUNNING.search(self.log, self._began_at):
            assert self._process is not None
            assert self._process.poll() is None, f"Mosquitto ended at once:\n{self.log}"
            assert time.monotonic() < end, f"Mosquitto does not listen:\n{self.log}"
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in order, as `systemctl stop` does."""
        self._end(kill=False)

    def kill(self) -> None:
        """End it as a power cut does: nothing is saved."""
        self._end(kill=True)

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def _end(self, *, kill: bool) -> None:
        if self._process is None:
            return
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        try:
            self._process.wait(_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
