"""A real `xom hub serve` on a folder and a database of its own, watched from outside by its HTTP port."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.mosquitto import free_port, stop
from wire.identity import GatewayId
from wire.keys import PublicKey, SigningKey

PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class HubProcess:
    """A running hub."""

    pid: int
    http: int

    def metric(self, name: str) -> float:
        """Return one counter of /metrics, summed over its labels, 0 while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0.0
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def is_ready(self) -> bool:
        """Whether it has database and broker."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=5):
                return True
        except OSError:
            return False


def hub_key(folder: Path) -> PublicKey:
    """Return the public key of the hub that runs on a folder, made where there is none yet."""
    return SigningKey.read_or_make(folder / "hub" / "signing-key.pem").public


@contextmanager
def hub_process(
    folder: Path, dsn: str, port: int, enrolled: Mapping[GatewayId, PublicKey], since_ms: int
) -> Iterator[HubProcess]:
    """Run `xom hub serve` with gateways enrolled since a time, until the context ends."""
    registry, http = folder / "registry.toml", free_port()
    registry.write_text("\n".join(_enrolment(enrolled, since_ms)))
    environment = os.environ | {
        "XOM_HUB_HUB_DATA": str(folder / "hub"),
        "XOM_HUB_DATABASE_DSN": dsn,
        "XOM_HUB_MQTT_PORT": str(port),
        "XOM_HUB_HTTP_PORT": str(http),
    }
    command = [sys.executable, "-m", "xom", "hub"]
    subprocess.run(
        [*command, "registry", "load", str(registry)], env=environment, check=True, stdout=subprocess.DEVNULL
    )
    with (folder / "hub.log").open("wb") as said:
        process = subprocess.Popen([*command, "serve"], env=environment, stderr=said)
    hub = HubProcess(process.pid, http)
    try:
        wait(hub.is_ready, lambda: (folder / "hub.log").read_text()[-2000:])
        yield hub
    finally:
        stop(process)


def wait(
    done: Callable[[], bool], standing: Callable[[], str], *, every_s: float = 0.05, at_most_s: float = PATIENCE_S
) -> None:
    """Return when something is done; raises TimeoutError with what stands in the way."""
    deadline = time.monotonic() + at_most_s
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(standing())
        time.sleep(every_s)


def _enrolment(enrolled: Mapping[GatewayId, PublicKey], since_ms: int) -> Iterator[str]:
    for gateway, key in enrolled.items():
        written = base64.b64encode(key.encoded).decode()
        yield f'[[gateway]]\nid = "{gateway}"\nalgorithm = "{key.algorithm}"\npublic_key = "{written}"'
        yield f"enrolled_at = {datetime.fromtimestamp(since_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}\n"
