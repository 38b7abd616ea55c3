"""B16: for hours everything breaks at random, one thing or two at a time, and at the end the standing verdict holds.

`XOM_SOAK_HOURS` says how long; without it only the short run is made, which has the same verdict. A soak prints what it
did as it goes (pytest -s), and replays from its seed as far as processes of an operating system do.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from gateway.crash import Point as GatewayPoint
from hub.crash import Point as HubPoint
from tests.faults.harness import Case, crash_at, poll, seed
from tests.faults.hub_postgres import MortalPostgres
from tests.faults.soak_world import World, world
from tests.real_mosquitto import Mosquitto

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]

HOURS = os.environ.get("XOM_SOAK_HOURS", "")
PAUSE_S = float(os.environ.get("XOM_SOAK_PAUSE_S", "60"))  # the longest between two faults; the shortest is a third
NOT_SOAKED = "XOM_SOAK_HOURS is not set: hours of chaos were NOT run (make soak)"
_AT_ONCE = 0.3  # how often two things break together
_PAGE = 4096

Heal = Callable[[], object]
Fault = Callable[[World, random.Random], Heal]


@pytest.fixture
def mortal() -> Iterator[MortalPostgres]:
    server = MortalPostgres()
    try:
        server.make()
        yield server
    finally:
        server.remove()


def nothing() -> None:
    """What has healed by itself."""


# ---- the gateway


def gateway_killed(w: World, chance: random.Random) -> Heal:
    w.bed.kill()
    return w.start_gateway


def gateway_at_a_crash_point(w: World, chance: random.Random) -> Heal:
    w.bed.kill()
    w.start_gateway(crash_at(chance.choice(list(GatewayPoint)), chance.randint(1, 5)))

    def heal() -> None:
        w.bed.kill()
        w.start_gateway()

    return heal


def gateway_stopped(w: World, chance: random.Random) -> Heal:
    return stopped(w.bed.running.pid)


def stopped(pid: int) -> Heal:
    def go_on() -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    return go_on


def card_full(w: World, chance: random.Random) -> Heal:
    ballast = w.bed.data / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(65_536)):
            pass
    return ballast.unlink


def card_damaged(w: World, chance: random.Random) -> Heal:
    """A bit, or a page: what is lost has to be accounted for by gap records."""
    w.bed.kill()
    w.note_places()
    w.backup = ""  # a hub restored to before this could ask for what is no longer there
    file = chance.choice([one for one in w.bed.data.glob("spool.db*") if one.stat().st_size and "shm" not in one.name])
    with file.open("r+b") as damaged:
        at = chance.randrange(file.stat().st_size)
        if chance.random() < 0.5:
            damaged.seek(at)
            old = damaged.read(1)
            damaged.seek(at)
            damaged.write(bytes([old[0] ^ 1 << chance.randrange(8)]))
        else:
            damaged.seek(at - at % _PAGE)
            damaged.write(bytes(_PAGE))
    w.start_gateway()
    return nothing


# ---- the line and the broker


def line_cut(w: World, chance: random.Random) -> Heal:
    w.line.cut()
    return nothing


def line_gone(w: World, chance: random.Random) -> Heal:
    w.line.closed = True
    w.line.cut()
    return w.line.heal


def line_silent(w: World, chance: random.Random) -> Heal:
    w.line.silent = True
    return w.line.heal


def line_cut_after_some_bytes(w: World, chance: random.Random) -> Heal:
    w.line.budget = chance.randrange(4_096)
    return w.line.heal


def broker_killed(w: World, chance: random.Random) -> Heal:
    w.hub_broker.kill()
    return w.hub_broker.start


def broker_with_an_empty_store(w: World, chance: random.Random) -> Heal:
    w.hub_broker.stop()
    (w.hub_broker.home / "mosquitto.db").unlink(missing_ok=True)
    return w.hub_broker.start


# ---- the hub and its database


def hub_killed(w: World, chance: random.Random) -> Heal:
    w.hub.kill()
    return w.hub.start


def hub_at_a_crash_point(w: World, chance: random.Random) -> Heal:
    w.hub.kill()
    w.hub.start(crash_at(chance.choice(list(HubPoint)), chance.randint(1, 5)))

    def heal() -> None:
        w.hub.kill()
        w.hub.start()

    return heal


def hub_stopped(w: World, chance: random.Random) -> Heal:
    return stopped(w.hub.pid)


def database_killed(w: World, chance: random.Random) -> Heal:
    w.postgres.kill()
    return w.postgres.start


def database_stopped_at_once(w: World, chance: random.Random) -> Heal:
    w.postgres.stop_at_once()
    return w.postgres.start


def hub_restored(w: World, chance: random.Random) -> Heal:
    """The database goes back to its last copy; the first time it is only copied."""
    w.hub.kill()
    with psycopg.connect(w.postgres.dsn, dbname="postgres", autocommit=True) as connection:
        for target, source in (("xom", w.backup), ("xom_backup", "xom")) if w.backup else (("xom_backup", "xom"),):
            names = {"target": sql.Identifier(target), "source": sql.Identifier(source)}
            connection.execute(sql.SQL("drop database if exists {target} with (force)").format(**names))
            connection.execute(sql.SQL("create database {target} template {source}").format(**names))
    w.backup = "xom_backup"
    return w.hub.start


# Each with how long it may last, s; a database and what stands on it do not break together in one breath.
EVERYTHING: Mapping[Fault, float] = {
    gateway_killed: 5.0,
    gateway_at_a_crash_point: 15.0,
    gateway_stopped: 15.0,
    card_full: 8.0,
    card_damaged: 0.0,
    line_cut: 0.0,
    line_gone: 20.0,
    line_silent: 20.0,
    line_cut_after_some_bytes: 10.0,
    broker_killed: 10.0,
    broker_with_an_empty_store: 5.0,
    hub_killed: 10.0,
    hub_at_a_crash_point: 10.0,
    hub_stopped: 15.0,
    database_killed: 10.0,
    database_stopped_at_once: 10.0,
    hub_restored: 0.0,
}
QUICK: list[list[Fault]] = [[gateway_killed], [hub_killed, line_cut], [broker_killed], [database_killed]]
_ALONE = {card_damaged, hub_restored}


def until(end: float, faults: Mapping[Fault, float], chance: random.Random) -> Iterator[list[Fault]]:
    """Draw what breaks next, one thing or two together, until the time is over."""
    while time.monotonic() < end:
        first, second = chance.choice(list(faults)), chance.choice(list(faults))
        together = first is not second and not {first, second} & _ALONE and chance.random() < _AT_ONCE
        yield [first, second] if together else [first]


def chaos(w: World, case: Case, draws: Iterable[list[Fault]], pause: tuple[float, float]) -> None:
    """Break and heal what is drawn, wait each time until it flows again; then settle and judge."""
    chance, began = case.random, time.monotonic()
    for chosen in draws:
        names = " and ".join(fault.__name__ for fault in chosen)
        heals = [fault(w, chance) for fault in chosen]
        longest = max(EVERYTHING.get(fault, 0.0) for fault in chosen)
        time.sleep(min(chance.uniform(0.0, longest), pause[1]))  # the fault itself, no wait for a state
        for heal in reversed(heals):
            heal()
        took = w.wait_until_it_flows(names)
        case.recovered(took)
        case.trials += 1
        case.reached.update(fault.__name__ for fault in chosen)
        print(f"{time.monotonic() - began:8.0f} s  {names}: flows again after {took:.1f} s", flush=True)  # noqa: T201
        time.sleep(chance.uniform(*pause))
    case.recovered(w.settle())
    w.judge(case)
    print(  # noqa: T201
        f"gateway {w.gateway_mb:.0f} MB, hub {w.hub_mb:.0f} MB, spool {w.used_mb():.1f} MB, "
        f"{w.restarts} restarts by the supervisor, card of its own: {w.card}"
    )


def test_b16_in_short_things_break_in_turn(tmp_path: Path, mosquitto: Mosquitto, mortal: MortalPostgres) -> None:
    case = Case(id="B16-short", seed=seed(1616))
    with world(tmp_path, mosquitto, mortal, per_s=40.0) as w:
        chaos(w, case, QUICK, pause=(0.0, 0.5))
    case.close()


def test_b16_fails_when_the_hub_acknowledges_before_its_commit(
    tmp_path: Path, mosquitto: Mosquitto, mortal: MortalPostgres
) -> None:
    case = Case(id="B16-broken-ack_before_commit", seed=seed(1617))

    def hub_before_its_commit(w: World, chance: random.Random) -> Heal:
        w.hub.kill()
        w.hub.start(crash_at(HubPoint.BEFORE_COMMIT, 3))
        poll("the crash", lambda: w.hub.returncode is not None, deadline_s=60)
        return w.hub.start

    with world(tmp_path, mosquitto, mortal, per_s=40.0, hub_broken="ack_before_commit") as w:
        chaos(w, case, [[hub_before_its_commit]], pause=(0.0, 0.5))
    case.print()
    assert case.lost > 0


@pytest.mark.soak
@pytest.mark.skipif(not HOURS, reason=NOT_SOAKED)
def test_b16_hours_of_chaos(tmp_path: Path, mosquitto: Mosquitto, mortal: MortalPostgres) -> None:
    case = Case(id="B16", seed=seed(int(time.time())))
    with world(tmp_path, mosquitto, mortal, per_s=10.0) as w:
        faults = {fault: longest for fault, longest in EVERYTHING.items() if w.card or fault is not card_full}
        if not w.card:
            print("LEFT OUT: a full card, which needs root to mount a small tmpfs")  # noqa: T201
        chaos(w, case, until(time.monotonic() + 3600 * float(HOURS), faults, case.random), (PAUSE_S / 3, PAUSE_S))
    case.close()
