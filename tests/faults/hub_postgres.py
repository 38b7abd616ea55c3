"""A PostgreSQL that a case may kill and start again under the same address."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from hub.store import embedded

_DEADLINE_S = 60.0


class MortalPostgres:
    """The embedded server's program on a cluster of its own, with a socket that stays where it is."""

    def __init__(self) -> None:
        # Not under pytest's own folder: PostgreSQL's account may not enter it when we are root.
        self.home = Path(tempfile.mkdtemp(prefix="xom-test-"))
        self.home.chmod(0o755)
        self.sockets = self.home / "sockets"
        self.dsn = make_conninfo("", host=str(self.sockets), user="xom", dbname="xom")
        self._runner = embedded._runner()
        self._binaries = embedded._binaries()
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make the cluster, start it and make the database."""
        embedded._prepare(self.home / "data", self._binaries, self._runner)
        self.sockets.mkdir(mode=0o700)
        self._runner.own(self.sockets)
        self.start()
        with psycopg.connect(self.dsn, dbname="postgres", autocommit=True) as connection:
            connection.execute("create database xom")

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self._binaries / "postgres"), "-D", str(self.home / "data"), "-k", str(self.sockets)]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-c", "listen_addresses="], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                **self._runner.options(),
            )  # fmt: skip
        end = time.monotonic() + _DEADLINE_S
        while True:
            try:
                psycopg.connect(self.dsn, dbname="postgres").close()
            except psycopg.OperationalError:
                assert time.monotonic() < end, (self.home / "log").read_text(errors="replace")[-2000:]
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Kill the postmaster and every server process of this cluster: what a power cut leaves."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        self._process.wait(30)
        (self.home / "data" / "postmaster.pid").unlink(missing_ok=True)

    def stop_at_once(self) -> None:
        """Stop it as `pg_ctl stop -m immediate` does: no checkpoint, the sessions are cut."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def remove(self) -> None:
        """End it and take its files away."""
        if self._process is not None and self._process.poll() is None:
            self.stop_at_once()
        shutil.rmtree(self.home)
