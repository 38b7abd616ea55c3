"""A12, the line's part: on 128 kbit/s a backlog uses what the line has, and live batches and alarms overtake it.

The gateway is a process in a network namespace whose way out is a token bucket with seconds of buffer behind it, as a
modem has. Hub, broker and sensors are on our side; the way to the gateway is not slowed.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench.backlog import Backlog
from bench.drain import prepare, tally
from bench.gateway_process import configuration
from bench.hub_process import hub_key, hub_process
from bench.uplinks import hamlet, render_with_alarms
from bench.witness import LiveSensors, Witness, delays, settled
from tests.faults.gateway_bed import ROOT, read_only
from tests.faults.gateway_broken import Switch
from tests.faults.harness import Case, end, environment, seed, trials
from tests.faults.hub_world import stored_batches, until
from tests.faults.network_namespace import MISSING, Cable
from tests.real_mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]

_LINE_BYTES_PER_S = 128_000 / 8
_BUCKET = ("rate", "128kbit", "burst", "4kb", "latency", "30s")
_BATCHES, _READINGS = 120, 200  # some 5 KB each: as large as the field's rhythm makes them
_ALARMS = 8
_PER_S = 2.0  # every other uplink is an alarm
_SEALING = "[seal]\nevery_s = 1.0\nmost_readings = 10\nunsynchronised_s = 0.0\n"
_SHARE = 0.8
_AHEAD_BYTES = 2.0 * _LINE_BYTES_PER_S  # of backlog that may pass while an alarm is under way: two seconds of the line


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    try:
        made.lay()
        made.inside("tc", "qdisc", "add", "dev", "far0", "root", "tbf", *_BUCKET)
    except (OSError, subprocess.CalledProcessError) as error:
        made.cut()
        pytest.skip(f"{MISSING}; a backlog on a slow line was NOT tested ({error})")
    yield made
    made.cut()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen while the backlog was on the slow line. `ahead`: bytes of backlog that passed during an alarm."""

    share: float  # of the line, in bytes of sealed batches that were acknowledged, live ones among them
    wire_share: float  # of the line, in all bytes
    alarm_s: list[float]
    ahead: list[int]


@dataclass(slots=True)
class SlowGateway:
    """A gateway beyond the slow line."""

    folder: Path
    cable: Cable
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, cable: Cable, port: int, switch: Switch) -> SlowGateway:
        config = folder / "gateway.toml"
        config.write_text(configuration(hamlet(), folder / "data", port, hub_key(folder)) + _SEALING)
        module = ["gateway"] if switch is Switch.NONE else ["tests.faults.gateway_broken", switch]
        there = {"XOM_GATEWAY_HUB_HOST": cable.near, "XOM_GATEWAY_CHIRPSTACK_HOST": cable.near}
        with (folder / "gateway.log").open("ab") as log:
            process = subprocess.Popen(
                cable.command(sys.executable, "-m", *module, "--config", str(config)),
                cwd=ROOT, env=environment(there), stderr=log,
            )  # fmt: skip
        return cls(folder, cable, process)

    def look(self, sql: str) -> int:
        with closing(read_only(self.folder / "data" / "spool.db")) as db:
            return int(next(db.execute(sql))[0])

    def sizes(self) -> dict[int, int]:
        """The bytes of every batch."""
        with closing(read_only(self.folder / "data" / "spool.db")) as db:
            rows: list[tuple[Any, ...]] = db.execute("SELECT seq, length(envelope) FROM batch").fetchall()
        return {int(seq): int(size) for seq, size in rows}

    @property
    def last_seq(self) -> int:
        return self.look("SELECT last_seq FROM spool")

    @property
    def carried(self) -> int:
        """Bytes that have come from it over the line."""
        return int(Path(f"/sys/class/net/{self.cable.name}/statistics/rx_bytes").read_text())

    def is_confirmed(self, witness: Witness, live: int) -> bool:
        """Whether the backlog and so many live readings are acknowledged."""
        assert self.process.poll() is None, (self.folder / "gateway.log").read_text()[-2000:]
        sealed = self.look("SELECT sum(readings) FROM header")
        return sealed >= _BATCHES * _READINGS + live and witness.through == self.last_seq


async def drain_slowly(
    case: Case, folder: Path, dsn: str, broker: Mosquitto, cable: Cable, switch: Switch = Switch.NONE
) -> Seen:  # fmt: skip
    broker.options = [f"listener {broker.port} {cable.near}", "allow_anonymous true", "max_queued_messages 0"]
    broker.restart()
    backlog = Backlog(batches=_BATCHES, readings=_READINGS, until_ms=time.time_ns() // 1_000_000)
    waiting = await asyncio.to_thread(prepare, folder, backlog)
    load = render_with_alarms(8 * trials(_ALARMS), 2)
    witness = Witness(gateway=waiting.gateway, hub=hub_key(folder).verifier(), port=broker.port)
    hearing = asyncio.create_task(witness.run())
    with hub_process(folder, dsn, broker.port, {waiting.gateway: waiting.key.public}, backlog.began_ms):
        gateway = SlowGateway.start(folder, cable, broker.port, switch)
        try:
            await until("the backlog is on the line", lambda: witness.through > 4)
            before = time.monotonic(), gateway.carried
            with LiveSensors(broker.port, load, _PER_S) as sensors:
                await until("alarms on the way", lambda: len(sensors.sent) >= 2 * trials(_ALARMS), deadline_s=600)
            after = time.monotonic(), gateway.carried
            assert witness.through < _BATCHES, "the backlog was gone before the alarms were: the test was too small"
            cable.inside("tc", "qdisc", "del", "dev", "far0", "root")
            await until("everything", lambda: gateway.is_confirmed(witness, len(sensors.sent)), deadline_s=120)
        finally:
            end(gateway.process)
    await settled(hearing)
    tallied = tally(waiting, await stored_batches(dsn), sensors.sent.keys())
    case.trials, case.stored = len(load.alarms & sensors.sent.keys()), backlog.total + len(tallied.batch_of)
    case.lost, case.duplicate = tallied.lost, tallied.duplicate
    stored_at = witness.stored_at(range(1, gateway.last_seq + 1))
    late = delays(sensors.sent, tallied.batch_of, stored_at)
    alarms = [late[key] for key in load.alarms & late.keys()]
    sizes = gateway.sizes()

    def passed(since: float, until: float, seqs: Iterable[int]) -> int:
        return sum(sizes[seq] for seq in seqs if since < stored_at[seq] <= until)

    seconds = after[0] - before[0]
    return Seen(
        share=passed(before[0], after[0], sizes) / seconds / _LINE_BYTES_PER_S,
        wire_share=(after[1] - before[1]) / seconds / _LINE_BYTES_PER_S,
        alarm_s=sorted(s for _, s in alarms),
        ahead=sorted(passed(at, at + s, range(1, _BATCHES + 1)) for at, s in alarms),
    )


def said(seen: Seen) -> str:
    return (
        f"share={seen.share:.2f} wire_share={seen.wire_share:.2f} alarm_p50_s={median(seen.alarm_s):.2f} "
        f"alarm_worst_s={seen.alarm_s[-1]:.2f} ahead_p50_kb={median(seen.ahead) / 1000:.1f} "
        f"ahead_worst_kb={seen.ahead[-1] / 1000:.1f}"
    )


async def test_a12_on_a_slow_line_alarms_overtake_the_backlog_that_fills_it(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, cable: Cable
) -> None:  # fmt: skip
    case = Case(id="A12-line", seed=seed(1212))
    seen = await drain_slowly(case, tmp_path, dsn, mosquitto, cable)
    print(said(seen))  # noqa: T201
    case.recovered(seen.alarm_s[-1])
    case.close()
    assert seen.wire_share >= _SHARE, said(seen)
    assert median(seen.ahead) <= _AHEAD_BYTES, said(seen)


async def test_a12_fails_when_a_window_of_backlog_is_put_on_the_line_at_once(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto, cable: Cable
) -> None:  # fmt: skip
    case = Case(id="A12-line-broken:no_pace", seed=seed(1212))
    seen = await drain_slowly(case, tmp_path, dsn, mosquitto, cable, Switch.NO_PACE)
    print(said(seen))  # noqa: T201
    case.recovered(seen.alarm_s[-1])
    case.print()
    assert median(seen.ahead) > _AHEAD_BYTES, said(seen)
