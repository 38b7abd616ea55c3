"""B10 over the wire: replayed, shuffled, overlapped, doubled, every second word of the hub lost: the same tables."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

from hub.store import batches as store_batches
from hub.store.admission import Admitted, judge
from hub.store.database import open_database
from tests.faults import harness
from tests.faults.hub_world import home_below, running_hub
from tests.hub.unset_clock import Boot, BootLog
from tests.hub.written import Log, reading, series
from tests.hub_database import Server, enrol
from tests.real_mosquitto import Mosquitto
from wire.ack import AckError, open_ack
from wire.identity import GatewayId
from wire.keys import Verifier
from wire.mqtt import Broker, Link, Terms
from wire.reading import Undecoded
from wire.topics import Subject, Topic

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
_PACK: Final = 8  # published side by side: the broker's order is not ours

# Every table that follows from batches, without the numbers and times that a run gives by itself.
_DUMPS: Final = {
    "batch": "select gateway_id, epoch, seq, payload_sha256, prev_sha256, window_from, window_to, readings, envelope, "
    "chain from batch order by 1, 2, 3",
    "observation": "select b.gateway_id, b.epoch, b.seq, o.reading_index, s.source_id, d.observed_property, d.unit, "
    "o.observed_at, o.value, o.quality from observation o join batch b using (batch_no) "
    "join datastream d using (datastream_no) join source s using (source_no) order by 1, 2, 3, 4, 5, 6, 7",
    "original_time": "select b.gateway_id, b.epoch, b.seq, t.reading_index, t.observed_at "
    "from original_time t join batch b using (batch_no) order by 1, 2, 3, 4",
    "unset_batch": "select b.gateway_id, b.epoch, b.seq, u.boot, u.settled_monotonic_ms, u.settled_wall_ms, "
    "u.settings, u.dated_from, u.dated_to from unset_batch u join batch b using (batch_no) order by 1, 2, 3",
    "clock_setting": "select c.gateway_id, boot, monotonic_ms, wall_ms, b.epoch, b.seq "
    "from clock_setting c join batch b using (batch_no) order by 1, 2, 3, 4",
    "redating": "select * from redating",
    "delivery": "select gateway_id, epoch, through, highest from delivery order by 1, 2",
    "batch_account": "select b.gateway_id, b.epoch, b.seq, a.expected, a.received, a.missed "
    "from batch_account a join batch b using (batch_no) order by 1, 2, 3",
    "source": "select s.gateway_id, s.source_id, t.readings, t.undecoded "
    "from source s join source_tally t using (source_no) order by 1, 2",
    "datastream": "select s.gateway_id, s.source_id, observed_property, unit, first_observed_at, last_observed_at "
    "from datastream d join source s using (source_no) order by 1, 2, 3, 4",
    "incident": "select kind, gateway_id, epoch, seq, detail, count from incident order by 1, 2, 3, 4",
}


def logs() -> tuple[list[Log], list[Admitted]]:
    """Two gateways: one plain, one that learns the time late."""
    plain, late, boot = Log(GatewayId("gw-a")), BootLog(GatewayId("gw-b")), Boot(0)
    made = [*plain.many(6), plain.seal(), plain.seal([*series(2), reading(undecoded=Undecoded.NO_CODEC)])]
    made += [late.seal([boot.reading(at * 60_000, float(at))]) for at in range(1, 5)]
    made.append(late.seal([], [boot.set_right(600_000)], boot))
    made.append(late.seal([boot.reading(660_000, 5.0)]))
    return [plain, Log(late.gateway, late.key, late.epoch, late.sealed)], made


class Sender:
    """A gateway's end that sends by a schedule, hears only every second word of the hub, and sends again until all of
    it is confirmed."""

    def __init__(self, link: Link, hub_key: Verifier, batches: Sequence[Admitted]) -> None:
        self.link, self.hub_key, self.batches = link, hub_key, batches
        self.last = {one.gateway: one.batch.seq for one in batches}
        self.through = dict.fromkeys(self.last, 0)
        self.heard, self.dropped = 0, 0

    @property
    def confirmed(self) -> bool:
        """Whether the hub has confirmed every batch."""
        return self.through == self.last

    async def send(self, numbers: Sequence[int]) -> None:
        """Publish these, some side by side."""
        for start in range(0, len(numbers), _PACK):
            chosen = [self.batches[at] for at in numbers[start : start + _PACK]]
            await asyncio.gather(
                *(self.link.publish(str(Topic(one.gateway, Subject.BATCH)), one.envelope) for one in chosen)
            )

    async def listen(self) -> None:
        """Hear acknowledgements, until cancelled."""
        async for pack in self.link.packs(16):
            for message in pack:
                gateway = Topic.parse(message.topic).gateway
                try:
                    ack = open_ack(message.payload, gateway, self.hub_key)
                except AckError:  # of the run before, whose hub had another key
                    continue
                self.heard += 1
                if self.heard % 2 == 0:
                    self.dropped += 1
                    continue
                self.through[gateway] = max(self.through[gateway], ack.through)
            self.link.acknowledge(pack)

    async def finish(self) -> None:
        """Send again what is not confirmed, as a gateway does, until nothing is left."""
        for _ in range(50):
            unconfirmed = [at for at, one in enumerate(self.batches) if one.batch.seq > self.through[one.gateway]]
            if not unconfirmed:
                return
            await self.send(unconfirmed)
            await asyncio.sleep(0.05)
        pytest.fail(f"never confirmed: {self.through} of {self.last}")


@asynccontextmanager
async def sender(port: int, hub_key: Verifier, batches: Sequence[Admitted]) -> AsyncIterator[Sender]:
    """Connect for all the gateways of these batches."""
    gateways = sorted({one.gateway for one in batches})
    terms = Terms(client_id="gateways", subscriptions=[str(Topic(one, Subject.ACK)) for one in gateways])
    async with Link(Broker(port=port), terms) as link, asyncio.TaskGroup() as tasks:
        await link.wait_connected()
        opened = Sender(link, hub_key, batches)
        listening = tasks.create_task(opened.listen())
        yield opened
        listening.cancel()


async def run(
    server: Server, folder: Path, port: int, written: list[Log], batches: Sequence[Admitted], schedule: Sequence[int],
    prepare: str = "",
) -> dict[str, list[Any]]:  # fmt: skip
    """Bring batches to a hub of its own on a database of its own, and return what its tables hold then."""
    name = f"xom_test_{secrets.token_hex(6)}"
    dsn = await server.make(name)
    try:
        async with open_database(dsn) as database:
            await enrol(database, *written)
            if prepare:
                async with database.connection() as connection:
                    await connection.execute(prepare.encode())
            async with running_hub(home_below(folder, name), dsn, port) as hub:
                async with sender(port, hub.key.public.verifier(), batches) as gateways:
                    await gateways.send(schedule)
                    await gateways.finish()
                while await hub.consumer.store.redate():
                    pass
            async with database.connection() as connection:
                return {
                    table: await (await connection.execute(query.encode())).fetchall()
                    for table, query in _DUMPS.items()
                }
    finally:
        await server.drop(name)


async def test_b10_over_the_wire_any_schedule_leaves_the_tables_of_the_clean_run(
    tmp_path: Path, postgres: Server, mosquitto: Mosquitto
) -> None:  # fmt: skip
    written, batches = logs()
    case = harness.Case(id="B10-wire", seed=harness.seed(10))
    everything = list(range(len(batches)))
    clean = await run(postgres, tmp_path, mosquitto.port, written, batches, everything)
    assert len(clean["batch"]) == len(batches)
    assert len(clean["original_time"]) == 4
    schedules: list[list[int]] = []

    @hypothesis_seed(case.seed)
    @given(
        st.permutations(everything),
        st.lists(st.sampled_from(everything), max_size=20),
        st.lists(st.tuples(st.sampled_from(everything), st.sampled_from(everything)), max_size=4),
    )
    @settings(max_examples=harness.trials(4), database=None, suppress_health_check=list(HealthCheck))
    def collect(order: list[int], again: list[int], overlaps: list[tuple[int, int]]) -> None:
        ranges = [at for low, high in overlaps for at in range(low, high + 1)]
        schedules.append([*again[::2], *order, *ranges, *again])

    collect()
    for schedule in schedules:
        found = await run(postgres, tmp_path, mosquitto.port, written, batches, schedule)
        for table, rows in clean.items():
            assert found[table] == rows, f"{table} differs after {schedule}"
        case.trials += 1
        case.stored += sum(one.batch.columns.n for one in batches)
    case.close()


async def test_b10_over_the_wire_fails_without_the_dedup_key(
    tmp_path: Path, postgres: Server, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    written, batches = logs()
    everything = list(range(len(batches)))
    clean = await run(postgres, tmp_path, mosquitto.port, written, batches, everything)
    insert = store_batches._SQL["insert"].replace(b"on conflict (gateway_id, epoch, seq) do nothing", b"")
    monkeypatch.setattr(store_batches, "_SQL", {**store_batches._SQL, "insert": insert})
    monkeypatch.setattr(store_batches, "judge", lambda admitted, _, keys: judge(admitted, {}, keys))
    twice = [at for at in everything for _ in range(2)]
    without_key = "alter table batch drop constraint batch_pkey"
    found = await run(postgres, tmp_path, mosquitto.port, written, batches, twice, without_key)
    assert len(found["observation"]) > len(clean["observation"])
