"""A gateway under test: a real `python -m gateway` on a real Mosquitto, uplinks from outside, a hub that acknowledges.

The oracle is what the publisher sent and the broker took (PUBACK). Everything here runs beside the gateway.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Protocol

import apsw
import msgspec

from bench.flood import Publisher, packet
from bench.gateway_process import configuration
from bench.hub_stub import HubStub
from bench.uplinks import Key, flow, hamlet
from simulators.commune import SimGateway
from tests.faults.gateway_broken import Switch
from tests.faults.harness import Oracle, end, environment, poll
from tests.real_mosquitto import Mosquitto
from wire.batch import Batch, open_batch
from wire.identity import from_plain
from wire.keys import SigningKey
from wire.reading import Reading

ROOT = Path(__file__).parent.parent.parent
read_row = msgspec.msgpack.Decoder(Reading, dec_hook=from_plain).decode
_BURST = 4


class Line(Protocol):
    """A broker: a real Mosquitto, or our own `Surroundings`."""

    port: int

    @property
    def log(self) -> str:
        """What it has said so far, in Mosquitto's words."""
        ...


@dataclass(slots=True)
class Bed:
    """One gateway's surroundings, which outlive its process. `card` is where its data lies when that is to fail."""

    folder: Path
    broker: Line
    extra_toml: str = "[seal]\nevery_s = 1.0\nidle_s = 1.0\nmost_readings = 25\nunsynchronised_s = 0.0\n"
    village: SimGateway = field(default_factory=hamlet)
    hub_key: SigningKey = field(default_factory=SigningKey.generate)
    card: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    key: SigningKey = field(default_factory=SigningKey.generate)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        if (self.data / "signing-key.pem").exists():
            self.key = SigningKey.read(self.data / "signing-key.pem")
        else:
            self.key.write(self.data / "signing-key.pem")
        text = configuration(self.village, self.data, self.broker.port, self.hub_key.public)
        self.config.write_text(text + self.extra_toml)

    @property
    def data(self) -> Path:
        return (self.card or self.folder) / "data"

    @property
    def config(self) -> Path:
        return self.folder / "gateway.toml"

    @property
    def spool(self) -> Path:
        return self.data / "spool.db"

    @property
    def said(self) -> str:
        return (self.folder / "gateway.log").read_text(errors="replace")

    # ---- the process

    def command(self, *switches: Switch) -> list[str]:
        """How it is started, with guarantees switched off."""
        thrown = "+".join(switch for switch in switches if switch is not Switch.NONE)
        module = ["tests.faults.gateway_broken", thrown] if thrown else ["gateway"]
        return [sys.executable, "-m", *module, "--config", str(self.config)]

    def start(self, extra: Mapping[str, str] | None = None, *switches: Switch) -> None:
        """Start it; does not wait."""
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(self.command(*switches), cwd=ROOT, env=environment(extra), stderr=log)

    def wait_until_it_hears(self, deadline_s: float = 60.0) -> float:
        """Wait until its session at the broker is up; returns the seconds that it took."""
        began, known = time.monotonic(), self._hearings()

        def hears() -> bool:
            assert self.running.poll() is None, f"the gateway ended with {self.running.returncode}: {self.said[-2000:]}"
            return self._hearings() > known

        poll("the gateway's subscription", hears, deadline_s=deadline_s)
        return time.monotonic() - began

    def _hearings(self) -> int:
        return self.broker.log.count(f"Sending SUBACK to xom-{self.village.gateway_id}")

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    def freeze(self) -> None:
        """Let it do nothing more, not one call: what it has said until now is all that it will have said."""
        self.running.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.running.pid}/task")
        poll("every thread to stand still", lambda: all(_stands_still(task) for task in tasks.iterdir()))

    def kill(self) -> int:
        """End it as a power cut does; returns the exit code."""
        return end(self.running)

    # ---- its spool, from outside

    def kept(self) -> list[Key]:
        """Every uplink in the spool, sealed batches opened with the key; one entry for each time that it is there."""
        return [key for reading in self.readings() if (key := key_of(reading))[1] >= 0]

    def readings(self) -> list[Reading]:
        """Every reading in the spool, sealed ones first."""
        with closing(read_only(self.spool)) as db, db:
            envelopes = [row[0] for row in db.execute("SELECT envelope FROM batch WHERE envelope IS NOT NULL")]
            waiting = [read_row(row[0]) for row in db.execute("SELECT body FROM reading")]
        return [reading for batch in self._opened(envelopes) for reading in batch.readings()] + waiting

    def batches(self) -> list[Batch]:
        """Every sealed batch, opened."""
        with closing(read_only(self.spool)) as db:
            return self._opened([row[0] for row in db.execute("SELECT envelope FROM batch ORDER BY id")])

    def _opened(self, envelopes: list[bytes]) -> list[Batch]:
        verifier = self.key.public.verifier()
        return [open_batch(envelope, verifier) for envelope in envelopes]


def _stands_still(task: Path) -> bool:
    """proc(5), `stat`: the state follows the name in brackets. A thread that waits for the card ends its call first."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"


def read_only(spool: Path) -> apsw.Connection:
    db = apsw.Connection(str(spool), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(5_000)
    return db


def key_of(reading: Reading) -> Key:
    link = reading.frame.link
    return reading.frame.source.partition(":")[2], link.f_cnt if link is not None else -1


@contextmanager
def bed(folder: Path, broker: Mosquitto, extra_toml: str | None = None) -> Iterator[Bed]:
    """Prepare a gateway; whatever still runs at the end is ended."""
    with attended(Bed(folder, broker) if extra_toml is None else Bed(folder, broker, extra_toml)) as made:
        yield made


@contextmanager
def attended(made: Bed) -> Iterator[Bed]:
    """End its process at the end, whatever happens."""
    try:
        yield made
    finally:
        if made.process is not None:
            end(made.process)


class Sensors(threading.Thread):
    """Uplinks at a steady pace until `stop`: whatever the broker has taken is promised to the oracle."""

    def __init__(self, port: int, *, per_s: float) -> None:
        super().__init__(daemon=True)
        self._pairs = flow(hamlet())
        self._port = port
        self._pause_s = _BURST / per_s
        self._silent = threading.Event()
        self.oracle: Oracle[Key] = Oracle()

    def run(self) -> None:
        with Publisher(self._port, "fault-sensors") as publisher:
            while not self._silent.wait(self._pause_s):
                self._send(publisher, _BURST)

    def _send(self, publisher: Publisher, count: int) -> list[Key]:
        pairs = list(islice(self._pairs, count))
        self.oracle.produce(*(key for _, key in pairs))
        publisher.publish([packet(uplink, at) for at, (uplink, _) in enumerate(pairs, start=1)])
        self.oracle.promise(*(key for _, key in pairs))
        return [key for _, key in pairs]

    def burst(self, count: int) -> list[Key]:
        """Send so many at once, without the thread; returns their keys."""
        with Publisher(self._port, "fault-sensors") as publisher:
            return self._send(publisher, count)

    def stop(self) -> Oracle[Key]:
        """Fall silent; returns what was promised."""
        self._silent.set()
        self.join(30)
        return self.oracle


class Hub:
    """The stub that opens and acknowledges every batch, in a thread with a loop of its own."""

    def __init__(self, bed: Bed) -> None:
        self._stub = HubStub(
            gateway=bed.village.gateway_id, verifier=bed.key.public.verifier(), key=bed.hub_key, port=bed.broker.port
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._task: asyncio.Task[None] | None = None

    @property
    def through(self) -> int:
        return self._stub.through

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def _run(self) -> None:
        self._task = self._loop.create_task(self._stub.run())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        poll("the stub's task", lambda: self._task)
        if self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(30)
