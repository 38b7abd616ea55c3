"""A4 to A8 on a real process: a card that is full, has no file left, fails, turns read-only or takes seconds.

A4 and A5 fill a small tmpfs; A6, A8 and the writes of A4 stand in front of libc (failing_card.c).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench import machine
from gateway.status import Running, StatusFile
from tests.faults.gateway_bed import Bed
from tests.faults.gateway_broken import Switch
from tests.faults.gateway_card import fill, mounted, run, shelf, small_card
from tests.faults.gateway_shim import Answer, Call, FailingCard
from tests.faults.gateway_supervisor import Supervisor
from tests.faults.gateway_surroundings import Surroundings, twice
from tests.faults.harness import Case, poll, seed, trials

_TOML = "[seal]\nevery_s = 0.5\nidle_s = 0.5\nmost_readings = 25\nunsynchronised_s = 0.0\n"
_PER_S = 100.0


def word(gateway: Bed) -> Running | None:
    """What the gateway last said of itself."""
    return StatusFile(gateway.data / "status.json").read()


def settle(case: Case, gateway: Bed, around: Surroundings, deadline_s: float = 60.0) -> None:
    """Fall silent; everything that came is promised, at the hub once, and the chain has no second content."""
    around.per_s = 0.0
    around.wait_until_all_is_promised(deadline_s)
    poll("everything at the hub", lambda: set(around.at_hub()) >= around.oracle.promised, deadline_s=deadline_s)
    verdict = around.oracle.judge(set(around.at_hub()))
    case.take(verdict)
    case.duplicate += len(twice(around.at_hub()))
    assert around.conflicts == 0


@contextmanager
def failing(
    folder: Path, *switches: Switch, per_s: float = _PER_S
) -> Iterator[tuple[Surroundings, Bed, FailingCard, Supervisor]]:
    """A supervised gateway on a card that fails on request."""
    with ExitStack() as stack:
        around = stack.enter_context(Surroundings(per_s=per_s))
        shim = stack.enter_context(FailingCard(folder))
        gateway = around.bed(folder / "bed", _TOML)
        supervisor = stack.enter_context(Supervisor(gateway, *switches, watchdog_s=10.0, extra=shim.environment))
        around.wait_for_batches(2)
        yield around, gateway, shim, supervisor


# ---- A6: fsync fails once


def fail_syncs(case: Case, folder: Path, *switches: Switch, only: list[int]) -> None:
    with failing(folder, *switches) as (around, gateway, shim, supervisor):
        for nth in only:
            shim.order(gateway.data, Call.SYNC, Answer.EIO, nth=nth)
            shim.wait_until_fired()
            case.trials += 1
        shim.heal()
        settle(case, gateway, around)
        assert supervisor.restarts <= 1, gateway.said[-3000:]
        said = poll("the word about it", lambda: (one := word(gateway)) and (one if one.card_refusals else None))
        assert "the card does not take it" in said.last_card_refusal
        assert said.spool_problem == "", "it is over"


def test_a6_a_failed_fsync_is_never_taken_for_a_good_one(tmp_path: Path) -> None:
    case = Case(id="A6-process", seed=seed(602))
    count = min(50, trials(8))
    fail_syncs(case, tmp_path, only=[1 + at * 50 // count for at in range(count)])
    case.close()


@pytest.mark.parametrize(("of", "call", "answer"), [("A4", Call.WRITE, Answer.ENOSPC), ("A6", Call.SYNC, Answer.EIO)])
def test_a4_a6_fail_when_a_refused_commit_counts_as_kept(tmp_path: Path, of: str, call: Call, answer: Answer) -> None:
    """The driver is told that readings are on the card which the card has refused."""
    case = Case(id=f"{of}-broken:failed_is_kept", seed=seed(602))
    with failing(tmp_path, Switch.FAILED_IS_KEPT) as (around, gateway, shim, _):
        shim.order(gateway.data, call, answer, times=20, name="spool.db-wal")
        shim.wait_until_fired(20)
        case.trials += 1
        around.per_s = 0.0
        around.wait_until_all_is_promised()
        last = around.burst(30)  # a batch's worth behind everything before
        poll("the last one", lambda: set(around.at_hub()) >= set(last))
        case.take(around.oracle.judge(set(around.at_hub()) | set(gateway.kept())))
    case.print()
    assert case.lost > 0


def test_a6_a_start_whose_fsync_fails_is_repeated_by_the_supervisor(tmp_path: Path) -> None:
    case = Case(id="A6-start", seed=seed(603))
    for nth in range(1, 1 + min(8, trials(3))):
        folder = tmp_path / str(nth)
        folder.mkdir()
        with ExitStack() as stack:
            around = stack.enter_context(Surroundings(per_s=_PER_S))
            shim = stack.enter_context(FailingCard(folder))
            gateway = around.bed(folder / "bed", _TOML)
            shim.order(gateway.data, Call.SYNC, Answer.EIO, nth=nth)
            supervisor = stack.enter_context(Supervisor(gateway, extra=shim.environment))
            around.wait_for_batches(2)
            shim.wait_until_fired()
            case.trials += 1
            settle(case, gateway, around)
            assert supervisor.restarts <= 1, gateway.said[-3000:]
    case.close()


# ---- A4: no space


def test_a4_writes_that_find_no_space_are_told_and_repeated(tmp_path: Path) -> None:
    """Writes at random places: of the log, of the file, of the head; some cut short."""
    case = Case(id="A4-writes", seed=seed(403))
    chance, heads = case.random, 0
    with failing(tmp_path) as (around, gateway, shim, supervisor):
        for _ in range(trials(8)):
            name = chance.choice(["spool.db-wal", "spool.db-wal", "spool.db", "spool.head", ""])
            answer = chance.choice([Answer.ENOSPC, Answer.ENOSPC, Answer.SHORT, Answer.EIO])
            nth, times = chance.randint(1, 10), chance.randint(1, 3)
            shim.order(gateway.data, Call.WRITE, answer, nth=nth, times=times, name=name)
            if name == "spool.db":  # written by a checkpoint only, which is rare
                around.wait_for_promises(len(around.oracle.promised) + 50)
            else:
                shim.wait_until_fired()
            case.trials += 1
            heads += name in ("", "spool.head")
        shim.heal()
        settle(case, gateway, around)
        # A batch that is sealed is not handed out before its number is on the card: where that fails twice, a start
        # sorts it out. Never because of the log or the file.
        assert supervisor.restarts <= heads, gateway.said[-3000:]
    case.close()


def test_a4_a_full_card_costs_nothing_and_is_over_when_space_comes(tmp_path: Path) -> None:
    case = Case(id="A4-process", seed=seed(404))
    with ExitStack() as stack:
        card = stack.enter_context(small_card(tmp_path / "card", "size=24m"))
        around = stack.enter_context(Surroundings(per_s=_PER_S))
        gateway = around.bed(tmp_path / "bed", _TOML, card)
        supervisor = stack.enter_context(Supervisor(gateway, watchdog_s=10.0))
        around.wait_for_batches(2)
        for _ in range(min(3, trials(1))):
            ballast = fill(card)
            poll("the refusal", lambda: (said := word(gateway)) is not None and said.card_refusals > case.trials)
            case.trials += 1
            ballast.unlink()
            began, known = time.monotonic(), len(around.oracle.promised)
            around.wait_for_promises(known + 1)
            case.recovered(time.monotonic() - began)
        settle(case, gateway, around)
        assert supervisor.restarts == 0, gateway.said[-3000:]
        supervisor.__exit__(None, None, None)
    assert case.recovery_s < 60
    case.close()


def test_a4_no_space_while_a_damaged_spool_is_salvaged(tmp_path: Path) -> None:
    """The start ends with a word, the next one goes on from where it was; cuts at that place are A3's."""
    case = Case(id="A4-recovery", seed=seed(405))
    chance = case.random
    with ExitStack() as stack:
        around = stack.enter_context(Surroundings(per_s=_PER_S))
        shim = stack.enter_context(FailingCard(tmp_path))
        gateway = around.bed(tmp_path / "bed", _TOML)
        for _ in range(trials(3)):
            with Supervisor(gateway, watchdog_s=10.0, extra=shim.environment) as supervisor:
                around.wait_for_promises(len(around.oracle.promised) + 50)
            gateway.spool.with_suffix(".suspect").touch()
            shim.order(gateway.data, Call.WRITE | Call.OPEN, Answer.ENOSPC, nth=chance.randint(1, 60), name="")
            with Supervisor(gateway, watchdog_s=10.0, extra=shim.environment) as supervisor:
                shim.wait_until_fired()
                around.wait_for_promises(len(around.oracle.promised) + 50)
                assert supervisor.restarts <= 1, gateway.said[-3000:]
            case.trials += 1
        shim.heal()
        with Supervisor(gateway, watchdog_s=10.0):
            settle(case, gateway, around)
            assert not around.events("gap"), "nothing was damaged"
    case.close()


# ---- A5: no file left, and logs that cannot be written


def test_a5_no_inode_and_no_room_for_logs_leaves_the_spool_alone(tmp_path: Path) -> None:
    case = Case(id="A5", seed=seed(501))
    with ExitStack() as stack:
        card = stack.enter_context(small_card(tmp_path / "card", "size=32m,nr_inodes=60"))
        logs = stack.enter_context(small_card(tmp_path / "logs", "size=64k"))
        around = stack.enter_context(Surroundings(per_s=_PER_S))
        gateway = around.bed(tmp_path / "bed", _TOML, card)
        (gateway.folder / "gateway.log").symlink_to(logs / "gateway.log")
        supervisor = stack.enter_context(Supervisor(gateway, watchdog_s=10.0))
        around.wait_for_batches(2)
        fill(logs)
        fill_inodes(card)
        known = len(around.stored)
        for _ in range(300):
            around.rubbish()  # each is a line in the log
        around.wait_for_batches(known + 5)
        case.trials += 1
        assert supervisor.restarts == 0
        settle(case, gateway, around)
        supervisor.__exit__(None, None, None)
    case.close()


def fill_inodes(card: Path) -> None:
    """Use up every file that the card can have."""
    at = 0
    while True:
        at += 1
        try:
            (card / f"ballast-{at}").touch()
        except OSError:
            return


# ---- A7: the card turns read-only


def test_a7_a_read_only_card_is_waited_for_without_a_restart(tmp_path: Path) -> None:
    """ext4 turns a card that fails read-only (errors=remount-ro); `abort` asks it to do so now."""
    case = Case(id="A7", seed=seed(701))
    with ExitStack() as stack:
        cards = stack.enter_context(shelf(tmp_path))
        image = cards.card()
        around = stack.enter_context(Surroundings(per_s=_PER_S))
        with mounted(image, tmp_path / "card") as card:
            gateway = around.bed(tmp_path / "bed", _TOML, card)
            with Supervisor(gateway, watchdog_s=2.0, patience_s=60.0) as supervisor:
                around.wait_for_batches(2)
                run("mount", "-o", "remount,abort", str(card))
                poll(
                    "the word about it",
                    lambda: "readings not kept yet" in gateway.said or supervisor.restarts,
                    about=lambda: gateway.said[-2000:],
                )
                known = len(supervisor.signs)
                poll("signs of life", lambda: len(supervisor.signs) > known + 2)
                case.trials += 1
                assert supervisor.restarts == 0, gateway.said[-3000:]
        with mounted(image, tmp_path / "card"), Supervisor(gateway):
            settle(case, gateway, around)
    case.close()


# ---- A8: a worn card


def test_a8_a_slow_card_delays_the_readings_and_nothing_else(tmp_path: Path) -> None:
    """Every sync takes 1.5 s, and a watchdog interval is a few of them, as in the field, where one takes 5 to 30."""
    case = Case(id="A8", seed=seed(801))
    with failing(tmp_path, per_s=300.0) as (around, gateway, shim, supervisor):
        around.wait_for_promises(300)
        before = machine.rss_mb(gateway.running.pid)
        shim.order(gateway.data, Call.SYNC, Answer.DELAY, times=0, delay_s=1.5)
        began, known, last = time.monotonic(), len(supervisor.signs), word(gateway)
        assert last is not None
        shim.wait_until_fired(8, deadline_s=60)
        took_s = time.monotonic() - began
        case.trials += 1
        at_ms = last.at_ms
        poll("word of the event loop, which goes on", lambda: (said := word(gateway)) and said.at_ms > at_ms)
        poll("signs of life", lambda: len(supervisor.signs) > known)
        assert supervisor.restarts == 0
        assert machine.rss_mb(gateway.running.pid) < before + 60, "what waits is bounded"
        shim.heal()
        settle(case, gateway, around)
        case.recovered(took_s / 8)
    case.close()
