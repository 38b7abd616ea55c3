"""`xom bench probes`: 50 and 200 probes in one process, one hamlet in ten dead: do they keep their schedule?

Loudspeakers (SIP and HTTP), cameras (RTSP, without the picture: a decoder is a process of its own, one at a time),
lines, wifi and instruments on serial buses, all of them the product's own, asked over real sockets and ptys.
What counts: how late a probe begins at the worst, as a share of its interval, every wait included: for the event loop,
for its turn among those that run at a time, for its bus. The limit is what timers that do nothing reach in the same
process. Each size runs in a process of its own, whose peak memory is read from the kernel; what it talks to is in
another (stand_ins.py), which takes its share of the same machine.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import structlog

from bench import machine
from bench.report import Report, Table
from bench.stand_ins import ON_A_BUS, StandIns, stand_ins
from gateway.clock import SystemClock
from gateway.probes.cameras.build import build as cameras
from gateway.probes.credentials import Credentials
from gateway.probes.loudspeakers.build import build as loudspeakers
from gateway.probes.outcome import Outcome
from gateway.probes.probe import Probe
from gateway.probes.schedule import Schedule, offset_s
from gateway.probes.serial.build import build as serial
from gateway.probes.serial.settings import SerialBus, SerialInstrument
from gateway.probes.setup import Setup
from wire.identity import SourceId
from wire.reading import Reading
from xom.infrastructure import Infrastructure, Rhythm

_GOAL: Final = 0.10  # issue 5: 200 probes keep their schedule within 10 %
_GOAL_MB: Final = 100.0
_LIBRARIES: Final = ("httpx", "serial", "dbus_fast", "aiomqtt", "pysnmp.hlapi.v3arch.asyncio")
_ON_BUSES: Final = 5  # one probe of so many
_IN_A_HAMLET: Final = 4
_TIMED_S: Final = 5.0


class Sizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many probes, how often, for how long. The interval is far shorter than in the field, where it is minutes."""

    probes: tuple[int, ...] = (50, 200)
    every_s: float = 20.0
    slots: int = 3


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    """One process: lateness as shares of the interval, peak memory, what the probes came to."""

    probes: int
    runs: int
    worst: float
    mean: float
    timers: float
    rss_mb: float
    peak_mb: float
    cpu_share: float
    outcomes: dict[str, int]


def measure(sizes: Sizes) -> Report:
    """Run each size in a process of its own."""
    runs = [_measured(sizes, count) for count in sizes.probes]
    last = runs[-1]
    named: dict[str, str | int | float | None] = {"goal": _GOAL, "goal_mb": _GOAL_MB}
    for run in runs:
        named |= {f"lateness_{run.probes}": run.worst, f"peak_mb_{run.probes}": run.peak_mb}
    head = ("probes", "runs", "worst", "mean", "timers alone", "peak MB", "MB at rest", "CPU", "ok", "fail", "unknown")
    rows = [
        (
            run.probes, run.runs, run.worst, run.mean, run.timers, run.peak_mb, run.rss_mb, run.cpu_share,
            run.outcomes.get("ok", 0), run.outcomes.get("fail", 0), run.outcomes.get("unknown", 0),
        )
        for run in runs
    ]  # fmt: skip
    return Report(
        bench="probes",
        figure="worst_lateness",
        value=last.worst,
        unit="of the interval",
        limit_name="timers that do nothing",
        limit=last.timers,
        ratio=last.worst / last.timers if last.timers else 0.0,
        named=named,
        tables=[Table(title="lateness as a share of the interval", head=head, rows=rows)],
        notes=[
            f"goal: within {_GOAL:.0%} of the interval and under {_GOAL_MB:.0f} MB with 200 probes",
            f"an interval of {sizes.every_s} s, a fifteenth of what is usual in the field",
        ],
    )


def _measured(sizes: Sizes, count: int) -> _Run:
    asked = msgspec.json.encode(msgspec.structs.replace(sizes, probes=(count,)))
    done = subprocess.run([sys.executable, "-m", "bench.probes"], input=asked, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process with {count} probes ended: {done.stderr.decode()[-2000:]}")
    return msgspec.json.decode(done.stdout, type=_Run)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A probe that notes how late it begins, s after its slot."""

    probe: Probe
    began: float
    lateness: list[float] = field(default_factory=list)

    @property
    def source(self) -> SourceId:
        """The probe's."""
        return self.probe.source

    @property
    def device(self) -> str:
        """The probe's."""
        return self.probe.device

    @property
    def rungs(self) -> tuple[str, ...]:
        """The probe's."""
        return self.probe.rungs

    @property
    def every_s(self) -> float:
        """The probe's."""
        return self.probe.every_s

    @property
    def deadline_s(self) -> float:
        """The probe's."""
        return self.probe.deadline_s

    async def run(self) -> Outcome:
        """Note, then run. A turn that never comes is an overrun, which the outcomes count."""
        since = time.monotonic() - self.began - offset_s(self.probe)
        self.lateness.append(since % self.every_s)
        return await self.probe.run()


def _mixed(count: int, every_s: float, found: StandIns, folder: Path) -> list[Probe]:
    """One in five on serial buses; the others are hamlets with four each."""
    clock = SystemClock()
    setup = Setup(credentials=Credentials(None), clock=clock, data=folder)
    around = Infrastructure()
    for at, place in enumerate(found.hamlets):
        around.furnish(f"bench-{at}", place, Rhythm(every_s=every_s, camera_s=every_s, picture=False), clock)
    probes = [
        *_instruments(found.buses, every_s, setup),
        *loudspeakers(around.loudspeakers, setup),
        *cameras(around.cameras, setup),
        *around.lines,
    ]
    return probes[:count]


def _instruments(paths: Sequence[str], every_s: float, setup: Setup) -> list[Probe]:
    buses = [
        SerialBus(
            name=f"bus-{at}", port=path, every_s=every_s, timeout_s=0.2, late_s=0.0, retries=0,
            instrument=[
                SerialInstrument(name=f"bus-{at}-{address}", address=str(address), map="ph")
                for address in range(1, 1 + ON_A_BUS)
            ],
        )
        for at, path in enumerate(paths)
    ]  # fmt: skip
    return serial(buses, setup)


async def _timers(count: int, every_s: float) -> float:
    """Return the worst lateness of as many timers over one interval, as a share of it."""
    began, loop = time.monotonic(), asyncio.get_running_loop()
    late: list[float] = []

    async def wait(at: int) -> None:
        due = began + every_s * (at + 1) / count
        await asyncio.sleep(due - loop.time())
        late.append(time.monotonic() - due)

    await asyncio.gather(*(wait(at) for at in range(count)))
    return max(late) / every_s


async def _run(sizes: Sizes) -> _Run:
    count, every_s = sizes.probes[0], sizes.every_s
    for name in _LIBRARIES:
        importlib.import_module(name)
    states: Counter[str] = Counter()

    async def keep(readings: list[Reading]) -> None:
        for reading in readings:
            states[msgspec.json.decode(reading.frame.raw)["state"]] += 1

    timers = await _timers(count, min(every_s, _TIMED_S)) * min(every_s, _TIMED_S) / every_s
    with tempfile.TemporaryDirectory() as folder:
        buses = count // _ON_BUSES // ON_A_BUS
        with stand_ins(-(-(count - buses * ON_A_BUS) // _IN_A_HAMLET), buses) as found:
            mixed = _mixed(count, every_s, found, Path(folder))
            began = time.monotonic()
            probes = [Timed(probe=probe, began=began) for probe in mixed]
            schedule = Schedule(probes=probes, clock=SystemClock(), keep=keep)
            cpu = machine.cpu_s(os.getpid())
            running = asyncio.create_task(schedule.run())
            await asyncio.sleep(every_s * sizes.slots)
            used = machine.cpu_s(os.getpid()) - cpu
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    late = [one / every_s for probe in probes for one in probe.lateness]
    return _Run(
        probes=len(probes),
        runs=len(late),
        worst=max(late),
        mean=sum(late) / len(late),
        timers=timers,
        rss_mb=machine.rss_mb(os.getpid()),
        peak_mb=machine.peak_rss_mb(os.getpid()),
        cpu_share=used / (every_s * sizes.slots),
        outcomes=dict(states),
    )


def _main() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    told = asyncio.run(_run(msgspec.json.decode(sys.stdin.buffer.read(), type=Sizes)))
    sys.stdout.buffer.write(msgspec.json.encode(told))


if __name__ == "__main__":
    _main()
