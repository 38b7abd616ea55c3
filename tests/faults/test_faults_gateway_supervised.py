"""A15: whatever hangs is started again: the process, its codec worker, the card behind it; nothing is lost by it.

Two seconds stand for the service's WatchdogSec=60 (deploy/systemd/xom-gateway.service).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bench import machine
from gateway.status import Running, StatusFile
from tests.faults.gateway_bed import Bed
from tests.faults.gateway_broken import Switch
from tests.faults.gateway_shim import Answer, Call, FailingCard
from tests.faults.gateway_supervisor import Supervisor
from tests.faults.gateway_surroundings import Surroundings, twice
from tests.faults.harness import Case, poll, seed

_TOML = "[seal]\nevery_s = 0.5\nidle_s = 0.5\nmost_readings = 25\nunsynchronised_s = 0.0\n"
_PER_S = 100.0
_LONG_ENOUGH_S = 6.0  # three watchdog intervals


def word(gateway: Bed) -> Running | None:
    """What the gateway last said of itself."""
    return StatusFile(gateway.data / "status.json").read()


def settle(case: Case, gateway: Bed, around: Surroundings) -> None:
    """Fall silent and wait until the hub has everything."""
    around.per_s = 0.0
    around.wait_until_all_is_promised()
    poll("everything at the hub", lambda: set(around.at_hub()) >= around.oracle.promised)
    verdict = around.oracle.judge(set(around.at_hub()))
    case.take(verdict)
    case.duplicate += len(twice(gateway.kept()))
    assert around.conflicts == 0


def stop_and_wait(case: Case, folder: Path, *, watchdog_s: float | None, patience_s: float = 60.0) -> None:
    with Surroundings(per_s=_PER_S) as around:
        gateway = around.bed(folder, _TOML)
        with Supervisor(gateway, watchdog_s=watchdog_s) as supervisor:
            around.wait_for_batches(3)
            stopped = gateway.running
            stopped.send_signal(signal.SIGSTOP)
            case.trials += 1
            try:
                poll("a restart", lambda: supervisor.restarts > 0, deadline_s=patience_s)
            finally:
                if stopped.poll() is None:
                    stopped.kill()
            assert (supervisor.hung, supervisor.exits) == (1, [-signal.SIGKILL])
            case.recovered(gateway.wait_until_it_hears())
            settle(case, gateway, around)
            starts = around.events("start")
            assert len(starts) == 2, "the hub hears that it was started again"
            assert len({event.detail for event in starts}) == 2, "and when the last window before it ended"


def test_a15_a_stopped_process_is_started_again_and_the_hub_hears_of_it(tmp_path: Path) -> None:
    case = Case(id="A15-supervised", seed=seed(1501))
    stop_and_wait(case, tmp_path, watchdog_s=2.0)
    assert case.recovery_s < 60
    case.close()


def test_a15_fails_without_a_watchdog(tmp_path: Path) -> None:
    case = Case(id="A15-broken:no_watchdog", seed=seed(1501))
    with pytest.raises(AssertionError, match="a restart"):
        stop_and_wait(case, tmp_path, watchdog_s=None, patience_s=_LONG_ENOUGH_S)
    case.print()


def hang_the_card(case: Case, folder: Path, *switches: Switch, patience_s: float | None = None) -> None:
    """A card that does not answer holds the spool's thread; the event loop alone would go on and be content."""
    with Surroundings(per_s=_PER_S) as around, FailingCard(folder) as shim:
        gateway = around.bed(folder / "bed", _TOML)
        with Supervisor(gateway, *switches, patience_s=patience_s, extra=shim.environment) as supervisor:
            around.wait_for_batches(3)
            shim.order(gateway.data, Call.SYNC, Answer.DELAY, delay_s=600)
            shim.wait_until_fired()
            case.trials += 1
            known = len(supervisor.signs)
            poll("a restart, or a lie", lambda: supervisor.restarts or len(supervisor.signs) > known + 3)
            assert supervisor.restarts > 0, "it says that it lives while its card hangs"
            assert supervisor.hung == 1
            case.recovered(gateway.wait_until_it_hears())
            settle(case, gateway, around)


def test_a15_a_card_that_does_not_answer_is_a_hang_too(tmp_path: Path) -> None:
    case = Case(id="A15-card", seed=seed(1502))
    hang_the_card(case, tmp_path)
    case.close()


def test_a15_fails_when_the_watchdog_does_not_ask_the_spool(tmp_path: Path) -> None:
    case = Case(id="A15-broken:always_content", seed=seed(1502))
    with pytest.raises(AssertionError, match="says that it lives"):
        hang_the_card(case, tmp_path, Switch.ALWAYS_CONTENT, patience_s=60.0)
    case.print()


def test_a15_a_stopped_codec_worker_is_replaced_and_its_frames_are_decoded(tmp_path: Path) -> None:
    """No watchdog is needed for it: the gateway gives its worker ten seconds for a pack."""
    case = Case(id="A15-codec", seed=seed(1503))
    with Surroundings(per_s=_PER_S) as around:
        gateway = around.bed(tmp_path, _TOML)
        with Supervisor(gateway) as supervisor:
            around.wait_for_batches(3)
            (worker,) = machine.children(gateway.running.pid)
            os.kill(worker, signal.SIGSTOP)
            case.trials += 1
            poll("another worker", lambda: worker not in machine.children(gateway.running.pid), deadline_s=40)
            settle(case, gateway, around)
            poll("the status", lambda: (said := word(gateway)) is not None and said.codec_restarts >= 1)
            readings = [one for batch in around.word().stored.values() for one in batch.readings()]
            assert not [one.undecoded for one in readings if one.undecoded], "no frame is blamed for the worker"
            assert supervisor.restarts == 0
    case.close()
