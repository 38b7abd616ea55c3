"""A11, A15: a second process is refused, a stopped one goes on, and the supervisor hears that we live."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.watchdog import Watchdog
from tests.faults.gateway_bed import ROOT, Hub, Sensors, bed
from tests.faults.harness import Case, environment, poll, seed
from tests.real_mosquitto import Mosquitto


@pytest.mark.mosquitto
def test_a11_a_second_process_on_one_spool_is_refused_and_harms_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    case = Case(id="A11", seed=seed(1), trials=1)
    with bed(tmp_path / "bed", mosquitto) as gateway, Hub(gateway):
        gateway.start()
        gateway.wait_until_it_hears()
        sensors = Sensors(mosquitto.port, per_s=200)
        sensors.burst(100)
        second = subprocess.run(
            [sys.executable, "-m", "gateway", "--config", str(gateway.config)],
            cwd=ROOT, env=environment(), capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 2
        assert b"is in use by another gateway process" in second.stderr
        sensors.burst(100)
        poll("every uplink", lambda: len(gateway.kept()) >= 200)
        case.take(sensors.oracle.judge(gateway.kept()))
    case.close()


@pytest.mark.mosquitto
def test_a15_a_stopped_process_goes_on_and_has_lost_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Five seconds stand for the catalogue's 120: longer than every timer of the sealing and the delivery here."""
    case = Case(id="A15", seed=seed(1), trials=1)
    mosquitto.options = ["max_queued_messages 0"]
    mosquitto.restart()
    with bed(tmp_path / "bed", mosquitto) as gateway, Hub(gateway) as hub:
        gateway.start()
        gateway.wait_until_it_hears()
        sensors = Sensors(mosquitto.port, per_s=200)
        sensors.start()
        poll("some batches", lambda: hub.through > 2)
        gateway.running.send_signal(signal.SIGSTOP)
        still = hub.through
        with pytest.raises(AssertionError, match="still waiting"):
            poll("a stopped process", lambda: hub.through > still + 16, deadline_s=5)
        gateway.running.send_signal(signal.SIGCONT)
        poll("it goes on", lambda: hub.through > still + 16)
        oracle = sensors.stop()
        poll("every uplink", lambda: len(set(gateway.kept())) >= len(oracle.promised))
        assert gateway.running.poll() is None
        case.take(oracle.judge(gateway.kept()))
    case.close()


def hear_for_ever(supervisor: socket.socket) -> None:
    while True:
        supervisor.recv(100)


async def test_the_watchdog_says_that_we_live_while_the_spool_answers(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    hung = asyncio.Event()

    async def works() -> None:
        if hung.is_set():
            await asyncio.Event().wait()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(address))
        supervisor.settimeout(20)
        watchdog = Watchdog.from_environment({"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "100000"})
        alive = asyncio.create_task(watchdog.keep_alive(works))
        said = [await asyncio.to_thread(supervisor.recv, 100) for _ in range(4)]
        assert said == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        hung.set()
        supervisor.settimeout(1)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(hear_for_ever, supervisor)
        alive.cancel()
        await asyncio.gather(alive, return_exceptions=True)


def test_the_watchdog_is_silent_without_a_supervisor_or_for_another_process() -> None:
    Watchdog.from_environment({}).tell("READY=1")
    Watchdog("/no/such/socket").tell("READY=1")
    other = Watchdog.from_environment({"NOTIFY_SOCKET": "x", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"})
    assert other.within_s is None
