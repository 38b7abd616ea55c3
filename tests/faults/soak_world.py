"""A gateway, a hub, its broker and its database as real processes, which a soak breaks at will; and the verdict."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from bench import machine
from bench.uplinks import Key
from gateway.config import Config, Identity
from gateway.config import Hub as HubSection
from hub.store.incidents import IncidentKind
from hub.store.migrate import migrate
from tests.faults.gateway_bed import Bed, Sensors, key_of, read_only, read_row
from tests.faults.gateway_broken import Switch
from tests.faults.harness import Case, end, poll
from tests.faults.hub_postgres import MortalPostgres
from tests.faults.hub_world import HubProcess, enrol, home_below, stored_batches, stored_incidents
from tests.faults.soak_line import SoakLine
from tests.real_mosquitto import Mosquitto
from wire.batch import GAP, Batch, Gap, genesis, open_batch
from wire.keys import PublicKey

PASSWORD = "mat-khau-ma-khong-nhat-ky-nao-duoc-ghi"
GATEWAY_MB, HUB_MB = 120.0, 250.0  # caps of resident memory: twice what a drain takes
SPOOL_MB, CARD_MB = 192, 256
_TOML = (
    "[seal]\nevery_s = 1.0\nidle_s = 2.0\nmost_readings = 25\nunsynchronised_s = 0.0\n"
    f"[spool]\nmegabytes = {SPOOL_MB}\nreserve = 8\n"
)
_BACK_S = 60.0  # the standing verdict's: healthy again, with no human
_QUIET_S = 3.0
_NEVER = {IncidentKind.CONFLICT, IncidentKind.CHAIN_BREAK, IncidentKind.BAD_SIGNATURE, IncidentKind.MALFORMED}


@dataclass(slots=True)
class World:
    """Everything, and what has become of it. `places`: where each reading stood when the card was damaged, by epoch and
    sequence, None where no batch held it yet."""

    folder: Path
    sensors_broker: Mosquitto
    hub_broker: Mosquitto
    postgres: MortalPostgres
    hub: HubProcess
    bed: Bed
    line: SoakLine
    sensors: Sensors
    card: bool
    switch: Switch = Switch.NONE
    places: dict[Key, tuple[str, int] | None] = field(default_factory=dict)
    backup: str = ""
    gateway_mb: float = 0.0
    hub_mb: float = 0.0
    restarts: int = 0

    # ---- the processes

    def start_gateway(self, extra: Mapping[str, str] | None = None) -> None:
        there = {
            "XOM_GATEWAY_HUB_PORT": str(self.line.port),
            "XOM_GATEWAY_HUB_USERNAME": str(self.bed.village.gateway_id),
            "XOM_GATEWAY_HUB_PASSWORD_FILE": str(self.folder / "password"),
            "XOM_GATEWAY_HUB_RESEND_S": "2",
        }
        self.bed.start(there | dict(extra or {}), self.switch)

    def supervise(self) -> None:
        """Start again what has ended, as systemd would, and note what is used."""
        for ended, start in (
            (self.bed.running.poll() is not None, self.start_gateway),
            (self.hub.returncode is not None, self.hub.start),
        ):
            if ended:
                self.restarts += 1
                start()
        with suppress(OSError):
            self.gateway_mb = max(self.gateway_mb, machine.rss_mb(self.bed.running.pid))
        with suppress(OSError):
            self.hub_mb = max(self.hub_mb, machine.rss_mb(self.hub.pid))

    # ---- where it stands

    def look(self, sql: str) -> int | str | None:
        """Ask the spool; None while it cannot be read."""
        try:
            with closing(read_only(self.bed.spool)) as db:
                found = db.execute(sql).fetchone()
        except apsw.Error:
            return None
        value = found[0] if found else None
        return value if isinstance(value, int | str) else None

    def stand(self) -> tuple[str, int, int] | None:
        """Epoch, watermark and last sequence; None while the spool cannot be read."""
        epoch = self.look("SELECT epoch FROM spool")
        through, sealed = self.look("SELECT through FROM spool"), self.look("SELECT last_seq FROM spool")
        if isinstance(epoch, str) and isinstance(through, int) and isinstance(sealed, int):
            return epoch, through, sealed
        return None

    def wait_until_it_flows(self, what: str) -> float:
        """Wait until what was sealed after now is acknowledged; returns the seconds that it took."""
        began = time.monotonic()
        epoch, _, sealed = poll("a spool", self.stand, deadline_s=_BACK_S)

        def flows() -> bool:
            self.supervise()
            now = self.stand()
            return now is not None and now[1] > (sealed if now[0] == epoch else 0)

        poll(f"it flows again after {what}", flows, deadline_s=2 * _BACK_S)
        return time.monotonic() - began

    def settle(self) -> float:
        """Heal the line, fall silent, wait until all is acknowledged; returns the seconds that it took."""
        self.line.heal()
        self.wait_until_it_flows("the end")
        self.sensors.stop()
        began = last_news = time.monotonic()
        heard: object = None

        def settled() -> bool:
            nonlocal heard, last_news
            self.supervise()
            known, heard = heard, self.look("SELECT sum(frames) FROM heard")
            if known != heard or self._waits():
                last_news = time.monotonic()
            # ChirpStack's broker says nothing of what it still holds for us: while it does, new frames come.
            return time.monotonic() - last_news > _QUIET_S

        poll("everything acknowledged", settled, deadline_s=4 * _BACK_S)
        return time.monotonic() - began - _QUIET_S

    def _waits(self) -> bool:
        open_batches = "SELECT count(*) FROM header WHERE confirmed = 0 AND gone = '' AND readings > 0"
        return (self.look(open_batches), self.look("SELECT count(*) FROM reading")) != (0, 0)

    def note_places(self) -> None:
        """Note where every reading stands that the hub may lack, before the card is damaged; no gateway runs now."""
        with tempfile.TemporaryDirectory(prefix="xom-test-") as name:
            for file in self.bed.data.glob("spool.db*"):
                shutil.copy(file, name)
            with closing(read_only(Path(name) / "spool.db")) as db:
                rows = db.execute("SELECT bytes FROM envelope JOIN header USING (id) WHERE confirmed = 0").fetchall()
                waiting = db.execute("SELECT body FROM reading").fetchall()
        verifier = self.bed.key.public.verifier()
        sealed = [open_batch(row[0], verifier) for row in rows]  # type: ignore[arg-type]
        unsealed = [read_row(row[0]) for row in waiting]  # type: ignore[arg-type]
        self.places.update({key_of(one): None for one in unsealed})
        self.places.update({key_of(one): (batch.epoch, batch.seq) for batch in sealed for one in batch.readings()})

    # ---- the verdict

    def judge(self, case: Case) -> None:
        """Hold the hub's log against the oracle; whatever is wrong becomes a number or a note of the case."""
        batches = asyncio.run(stored_batches(self.hub.dsn))
        gaps = [Gap.of(event) for batch in batches for event in batch.body.ev if event.name == GAP]
        keys = [key for batch in batches for one in batch.readings() if (key := key_of(one))[1] >= 0]
        verdict = self.sensors.oracle.judge(keys)
        unexplained = self.unexplained(verdict.lost, gaps)
        # A damaged log can give back readings that a batch had taken already. Whether the hub has that batch nobody can
        # know then, so they go again, in a new epoch: twice rather than never. What was not on the card may not.
        repeated = verdict.duplicate & self.places.keys()
        case.stored, case.lost, case.gaps = verdict.stored, len(unexplained), len(gaps)
        case.duplicate = len(verdict.duplicate - repeated)
        explained = len(verdict.lost) - len(unexplained)
        print(f"lost and accounted for {explained}, sent again after damage {len(repeated)}")  # noqa: T201
        print(f"unaccounted: {sorted(unexplained)[:5]}")  # noqa: T201
        print("\n".join(line for line in self.bed.said.splitlines() if "salvaged" in line))  # noqa: T201
        case.notes += self.wrong(batches, gaps)

    def unexplained(self, lost: set[Key], gaps: Sequence[Gap]) -> set[Key]:
        """Return what no gap record accounts for: by sequence where a batch held it, else by number."""
        told = {(gap.epoch, seq) for gap in gaps if gap.first for seq in range(gap.first, gap.last + 1)}
        rest = {key for key in lost if self.places.get(key, ("", 0)) not in told}
        loose = {key for key in rest if key in self.places and self.places[key] is None}
        loss = [gap.readings for gap in gaps if not gap.first]
        counted = None in loss or len(loose) <= sum(filter(None, loss))
        return rest - loose if counted else rest

    def wrong(self, batches: Sequence[Batch], gaps: Sequence[Gap]) -> list[str]:
        """Return a word for each other part of the standing verdict that does not hold."""
        held = {
            "silent_gaps": bool(silent(batches, gaps)),
            "chain": bool(broken_links(batches, self.bed.key.public)),
            "incidents": any(one.kind in _NEVER for one in asyncio.run(stored_incidents(self.hub.dsn))),
            "gateway_memory": self.gateway_mb > GATEWAY_MB,
            "hub_memory": self.hub_mb > HUB_MB,
            "disk": self.used_mb() > SPOOL_MB + 16,
            "secret_in_a_log": bool(self.leaks()),
            "hub_not_ready": not self.hub.ready(),
        }
        return [word for word, bad in held.items() if bad]

    def used_mb(self) -> float:
        """What spool and log take, without what is in quarantine."""
        return sum(file.stat().st_size for file in self.bed.data.glob("spool.*")) / 1e6

    def leaks(self) -> list[str]:
        """Return the logs that hold a key or a password."""
        pems = [self.bed.data / "signing-key.pem", self.hub.home / "signing-key.pem"]
        secrets = [PASSWORD, *("".join(pem.read_text().splitlines()[1:-1]) for pem in pems)]
        logs = [*self.folder.rglob("*.log"), self.postgres.home / "log"]
        return [log.name for log in logs if any(secret in log.read_text(errors="replace") for secret in secrets)]


def silent(batches: Sequence[Batch], gaps: Sequence[Gap]) -> list[tuple[str, int]]:
    """Return the numbers below each epoch's highest that are neither stored nor accounted for."""
    stored = {(batch.epoch, batch.seq) for batch in batches}
    told = {(gap.epoch, seq) for gap in gaps if gap.first for seq in range(gap.first, gap.last + 1)}
    highest: dict[str, int] = {}
    for epoch, seq in stored:
        highest[epoch] = max(seq, highest.get(epoch, 0))
    return [(e, n) for e, top in highest.items() for n in range(1, top + 1) if not {(e, n)} & (stored | told)]


def broken_links(batches: Sequence[Batch], key: PublicKey) -> list[tuple[str, int]]:
    """Return the stored batches that do not follow the stored one before them, or their enrolment."""
    hashes = {(batch.epoch, batch.seq): batch.payload_sha256 for batch in batches}
    for batch in batches:
        hashes.setdefault((batch.epoch, 0), genesis(batch.gateway, batch.epoch, key))
    before = {(batch.epoch, batch.seq): hashes.get((batch.epoch, batch.seq - 1)) for batch in batches}
    return [
        (batch.epoch, batch.seq)
        for batch in batches
        if (prev := before[batch.epoch, batch.seq]) is not None and prev != batch.body.prev
    ]


@contextmanager
def a_card(folder: Path) -> Iterator[bool]:
    """Make a directory a small card of its own, where we may; yields whether."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={CARD_MB}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def world(
    folder: Path, sensors_broker: Mosquitto, postgres: MortalPostgres, *, per_s: float, hub_broken: str = ""
) -> Iterator[World]:
    """Start everything, and end it."""
    home = home_below(folder, "hub-broker")
    hub_broker = Mosquitto(home)
    sensors_broker.options = hub_broker.options = ["max_queued_messages 0"]
    sensors_broker.restart()
    hub_broker.start()
    (folder / "password").write_text(PASSWORD)
    hub = HubProcess(home_below(folder, "hub"), postgres.dsn, hub_broker.port, hub_broken)
    asyncio.run(migrate(postgres.dsn))
    with a_card(folder / "bed" / "data") as card, SoakLine(hub_broker.port) as line:
        bed = Bed(folder / "bed", sensors_broker, _TOML, hub_key=hub.key)
        config = Config(
            gateway=Identity(id=bed.village.gateway_id, data=bed.data),
            hub=HubSection(public_key=hub.key.public.encoded.hex(), algorithm=hub.key.public.algorithm),
        )
        asyncio.run(enrol(postgres.dsn, config))
        sensors = Sensors(sensors_broker.port, per_s=per_s)
        made = World(folder, sensors_broker, hub_broker, postgres, hub, bed, line, sensors, card)
        try:
            hub.start()
            made.start_gateway()
            made.wait_until_it_flows("the start")
            sensors.start()
            yield made
        finally:
            sensors.stop()
            hub.kill()
            if bed.process is not None:
                end(bed.process)
            hub_broker.stop()
