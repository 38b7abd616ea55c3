"""Hub ingest: broker → verify → decode → dedup → COMMIT, by a real hub process, beside raw binary COPY of the same
rows.

The broker is a real Mosquitto; the limit is measured in the same run, on the same server, with as many rows a commit as
the hub had on average, into a table of the same form. Both figures are for what PostgreSQL has on disk.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.flood import Publisher, packets
from bench.hub_process import HubProcess, hub_process, wait
from bench.machine import cpu_s, peak_rss_mb
from bench.mosquitto import RECOMMENDED, mosquitto
from bench.report import Report, Table
from bench.sealed import START_MS, Fleet
from hub.store.database import Database, open_database
from hub.store.embedded import embedded_postgres
from hub.store.log import count_observations
from hub.store.migrate import migrate
from wire.keys import SigningKey

READINGS = 100
GATEWAYS = 20
_COLUMNS = "observed_at, batch_no, value, datastream_no, quality, reading_index"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One size's figures."""

    batches: int
    seconds: float
    commits: float
    hub_cpu_s: float
    hub_rss_mb: float
    stored: int
    copy_rows_per_s: float

    @property
    def rows(self) -> int:
        """Readings sent; each gives one observation."""
        return self.batches * READINGS

    @property
    def rows_per_s(self) -> float:
        """Readings stored per second, end to end."""
        return self.rows / self.seconds


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much to send: `floods` in batches of a hundred readings, `rounds` of all of them."""

    floods: tuple[int, ...] = (1_000, 4_000)
    rounds: int = 3


def measure(sizes: Sizes) -> Report:
    """Flood a hub at each size; returns the medians and their limits."""
    runs = [asyncio.run(_run(size)) for _ in range(sizes.rounds) for size in sizes.floods]
    largest = [run for run in runs if run.batches == max(sizes.floods)]
    rate = statistics.median(run.rows_per_s for run in largest)
    limit = statistics.median(run.copy_rows_per_s for run in largest)
    return Report(
        bench="ingest",
        figure="readings_per_s",
        value=round(rate),
        unit="readings/s",
        limit_name="raw binary COPY of the same rows, same rows a commit",
        limit=round(limit),
        ratio=round(rate / limit, 3),
        named={
            "readings_per_s": round(rate),
            "ratio_to_copy": round(rate / limit, 3),
            "copy_rows_per_s": round(limit),
            "rss_mb": max(run.hub_rss_mb for run in runs),
            "lost": sum(run.rows - run.stored for run in runs),
        },
        tables=[_table(runs)],
    )


def _table(runs: list[Run]) -> Table:
    head = (
        "readings",
        "readings/s",
        "COPY rows/s",
        "ratio",
        "rows/commit",
        "hub CPU us/reading",
        "hub peak MB",
        "lost",
    )
    rows = [
        (
            run.rows,
            round(run.rows_per_s),
            round(run.copy_rows_per_s),
            round(run.rows_per_s / run.copy_rows_per_s, 2),
            round(run.rows / run.commits),
            round(run.hub_cpu_s / run.rows * 1e6, 2),
            round(run.hub_rss_mb, 1),
            run.rows - run.stored,
        )
        for run in runs
    ]
    return Table(title="hub ingest, 100 readings a batch, 20 gateways", head=head, rows=rows)


async def _run(batches: int) -> Run:
    fleet = Fleet(gateways=GATEWAYS, batches=batches, readings=READINGS, key=SigningKey.generate())
    ready = packets(fleet.uplinks())
    with tempfile.TemporaryDirectory(prefix="xom-bench-") as name, mosquitto(_open(Path(name)), RECOMMENDED) as broker:
        async with embedded_postgres(Path(name) / "postgres") as dsn:
            await migrate(dsn)
            enrolled = dict.fromkeys(fleet.ids(), fleet.key.public)
            with hub_process(Path(name), dsn, broker.port, enrolled, START_MS) as hub:
                cpu_before = cpu_s(hub.pid)
                seconds = await asyncio.to_thread(_flood, broker.port, ready, hub, batches * READINGS)
                used, peak, commits = (
                    cpu_s(hub.pid) - cpu_before,
                    peak_rss_mb(hub.pid),
                    hub.metric("xom_hub_commit_seconds_count"),
                )
            async with open_database(dsn) as database:
                stored = await count_observations(database)
                copied = await _copy(database, batches * READINGS, max(1, round(batches * READINGS / commits)))
    return Run(
        batches=batches,
        seconds=seconds,
        commits=commits,
        hub_cpu_s=used,
        hub_rss_mb=peak,
        stored=stored,
        copy_rows_per_s=copied,
    )


def _open(folder: Path) -> Path:
    folder.chmod(0o755)  # PostgreSQL's and Mosquitto's own accounts pass through; what they keep is theirs alone
    return folder


def _flood(port: int, ready: list[bytes], hub: HubProcess, readings: int) -> float:
    """Publish everything; return the seconds from the first packet until all readings are committed."""
    with Publisher(port) as publisher:
        began = time.monotonic()
        sender = threading.Thread(target=publisher.publish, args=(ready,))
        sender.start()
        wait(lambda: hub.metric("xom_hub_readings_total") >= readings, lambda: "the hub stands still")
        seconds = time.monotonic() - began
        sender.join()
    return seconds


async def _copy(database: Database, rows: int, a_commit: int) -> float:
    """Return rows per second of a bare binary COPY: rows made beforehand, as many a commit, the same indexes."""
    async with database.connection() as connection:
        await connection.execute("create table bare (like observation including all)")
        at = datetime.fromtimestamp(START_MS / 1000, UTC)
        ready = [
            (at, number // 100, float(number % 3000), number % 1000 + 1, 0, number % 100) for number in range(rows)
        ]
        began = time.monotonic()
        for start in range(0, rows, a_commit):
            statement = f"copy bare ({_COLUMNS}) from stdin (format binary)"
            async with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.set_types(["timestamptz", "int8", "float8", "int4", "int2", "int2"])
                for row in ready[start : start + a_commit]:
                    await copy.write_row(row)
        seconds = time.monotonic() - began
        await connection.execute("drop table bare")
    return rows / seconds
