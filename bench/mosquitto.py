"""A real Mosquitto of our own: a free port on loopback, stated settings, nothing kept after it ends."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Settings = Mapping[str, int | str]
DEFAULT_INFLIGHT: Settings = {"max_queued_messages": 0}
RECOMMENDED: Settings = {"max_inflight_messages": 400, "max_queued_messages": 0, "set_tcp_nodelay": "true"}
_START_S = 5.0
_STOP_S = 5.0


class NoBrokerError(RuntimeError):
    """Mosquitto is not installed here, or does not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosquitto:
    """A running broker. Its log names every subscription, so that an outsider can see when somebody listens."""

    port: int
    pid: int
    log: Path

    def has_subscription(self, pattern: str) -> bool:
        """Whether somebody has subscribed to a topic filter."""
        return pattern in self.log.read_text()


@contextmanager
def mosquitto(folder: Path, settings: Settings) -> Iterator[Mosquitto]:
    """Run a broker while the context is open; raises NoBrokerError."""
    port, log = free_port(), folder / "mosquitto.log"
    config = folder / "mosquitto.conf"
    config.write_text("".join(f"{line}\n" for line in _lines(port, settings)))
    with log.open("wb") as said:  # opened by us: started as root, Mosquitto gives its rights away and could not
        process = subprocess.Popen([_program(), "-c", str(config)], stderr=said)
    try:
        _wait_until_open(process, port)
        yield Mosquitto(port=port, pid=process.pid, log=log)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, and wait for it."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_S)


def free_port() -> int:
    """Return a port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lines(port: int, settings: Settings) -> Iterator[str]:
    yield f"listener {port} 127.0.0.1"
    yield "allow_anonymous true"
    yield "log_dest stderr"
    yield "log_type error"
    yield "log_type subscribe"
    for name, value in settings.items():
        yield f"{name} {value}"


def _program() -> str:
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NoBrokerError("mosquitto is not installed; scripts/install-system-packages does it")
    return found


def _wait_until_open(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    stop(process)
    raise NoBrokerError(f"mosquitto did not open port {port} within {_START_S:g} s")
