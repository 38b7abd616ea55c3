"""A real `python -m gateway` on a folder of its own, watched from outside: by the kernel, and its spool read-only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw
import msgspec

from bench import machine
from bench.mosquitto import Mosquitto, stop
from bench.uplinks import Key
from simulators.commune import SimGateway
from wire.batch import open_batch
from wire.identity import from_plain
from wire.keys import PublicKey, SigningKey
from wire.reading import Reading

_START_S = 20.0
_POLL_S = 0.005
_reading = msgspec.msgpack.Decoder(Reading, dec_hook=from_plain).decode


class GatewayError(RuntimeError):
    """The gateway under test did not start, ended, or did not finish in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What both processes have used: CPU s so far, resident memory MB now and at the peak."""

    main_cpu_s: float
    worker_cpu_s: float
    main_rss_mb: float
    worker_rss_mb: float
    main_peak_mb: float
    worker_peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayProcess:
    """A running gateway. `start_s` is from its start until the broker had its subscription."""

    pid: int
    worker_pid: int
    spool: Path
    key: PublicKey
    start_s: float

    def usage(self) -> Usage:
        """Return what it uses now."""
        return Usage(
            main_cpu_s=machine.cpu_s(self.pid),
            worker_cpu_s=machine.cpu_s(self.worker_pid),
            main_rss_mb=machine.rss_mb(self.pid),
            worker_rss_mb=machine.rss_mb(self.worker_pid),
            main_peak_mb=machine.peak_rss_mb(self.pid),
            worker_peak_mb=machine.peak_rss_mb(self.worker_pid),
        )

    def durable(self) -> int:
        """Return how many readings are committed: those waiting and those in sealed batches."""
        return self._one(_DURABLE)

    def sealed(self) -> int:
        """Return how many readings have ever been sealed."""
        return self._one("SELECT coalesce(sum(readings), 0) FROM header")

    def last_seq(self) -> int:
        """Return the last sealed batch's sequence."""
        return self._one("SELECT last_seq FROM spool")

    def _one(self, sql: str) -> int:
        with closing(_read_only(self.spool)) as db:
            return int(next(db.execute(sql))[0])

    def kept(self) -> Counter[Key]:
        """Return every uplink in the spool with the number of times it is there."""
        with closing(_read_only(self.spool)) as db, db:
            envelopes = [row[0] for row in db.execute("SELECT envelope FROM batch ORDER BY seq")]
            waiting = [_reading(row[0]) for row in db.execute("SELECT body FROM reading")]
        verifier = self.key.verifier()
        sealed = [reading for envelope in envelopes for reading in open_batch(envelope, verifier).readings()]
        return Counter(_key(reading) for reading in (*sealed, *waiting))


_DURABLE = "SELECT (SELECT count(*) FROM reading) + (SELECT coalesce(sum(readings), 0) FROM batch)"


@contextmanager
def gateway_process(
    village: SimGateway, folder: Path, broker: Mosquitto, hub_key: PublicKey, extra_toml: str = ""
) -> Iterator[GatewayProcess]:
    """Run a gateway while the context is open; raises GatewayError with its last words when it does not start."""
    config, data, said = folder / "gateway.toml", folder / "data", folder / "gateway.log"
    key = SigningKey.read_or_make(data / "signing-key.pem").public
    config.write_text(configuration(village, data, broker.port, hub_key) + extra_toml)
    # Sealing is part of the work, also on a machine whose clock nobody sets.
    environment = os.environ | {"XOM_GATEWAY_SEAL_UNSYNCHRONISED_S": "0"}
    command = [sys.executable, "-m", "gateway", "--config", str(config)]
    began = time.monotonic()
    with said.open("wb") as log:
        process = subprocess.Popen(command, stderr=log, env=environment)
    try:
        _wait_until_subscribed(process, village, broker, said)
        start_s = time.monotonic() - began
        worker = _worker_of(process.pid)
        yield GatewayProcess(pid=process.pid, worker_pid=worker, spool=data / "spool.db", key=key, start_s=start_s)
    finally:
        stop(process)


def configuration(village: SimGateway, data: Path, port: int, hub_key: PublicKey) -> str:
    """Write what an installer would have: every sensor enrolled, so that its codec runs."""
    devices = (
        f'[[device]]\ndev_eui = "{one.dev_eui}"\nprofile = "{one.model}"\ninterval_s = {one.interval_s}\n'
        for one in village.devices
    )
    return (
        f'[gateway]\nid = "{village.gateway_id}"\ndata = "{data}"\n'
        f'[hub]\nport = {port}\npublic_key = "{hub_key.encoded.hex()}"\nalgorithm = "{hub_key.algorithm}"\n'
        f'[machine]\nenabled = false\n[chirpstack]\nport = {port}\napplication = "{village.application_id}"\n'
        + "".join(devices)
    )


def _wait_until_subscribed(
    process: subprocess.Popen[bytes], village: SimGateway, broker: Mosquitto, said: Path
) -> None:
    deadline = time.monotonic() + _START_S
    while not broker.has_subscription(f"application/{village.application_id}/"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise GatewayError(f"the gateway did not start: {said.read_text()[-2000:]}")
        time.sleep(_POLL_S)


def _worker_of(pid: int) -> int:
    deadline = time.monotonic() + _START_S
    while len(found := machine.children(pid)) != 1:
        if time.monotonic() > deadline:
            raise GatewayError(f"the gateway has {len(found)} child processes where its codec worker was expected")
        time.sleep(_POLL_S)
    return found[0]


def _read_only(spool: Path) -> apsw.Connection:
    db = apsw.Connection(str(spool), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(5_000)
    return db


def _key(reading: Reading) -> Key:
    link = reading.frame.link
    return reading.frame.source.partition(":")[2], link.f_cnt if link is not None else -1
