"""From settings to probes. What cannot be probed is named here, at the start, not in the middle of the night."""

from __future__ import annotations

from pathlib import Path

from gateway.probes.machine.board import Board
from gateway.probes.machine.clock import ClockWatch
from gateway.probes.machine.disk import Disk
from gateway.probes.machine.power import Power
from gateway.probes.machine.settings import Machine
from gateway.probes.probe import Probe
from gateway.probes.setup import Setup
from wire.configuration import ConfigError

BOOTS = "boots.json"


def build(settings: Machine, setup: Setup, root: Path = Path("/")) -> list[Probe]:
    """Return the probes; raises ConfigError. `root` is where /sys, /proc and /var are."""
    if not settings.enabled:
        return []
    if settings.every_s <= 0:
        raise ConfigError("machine.every_s must be above 0")
    return [
        Board(settings=settings, clock=setup.clock, boots_file=setup.data / BOOTS, root=root),
        Power(settings=settings, root=root),
        Disk(settings=settings, data=setup.data, root=root),
        ClockWatch(settings=settings, clock=setup.clock, root=root),
    ]
