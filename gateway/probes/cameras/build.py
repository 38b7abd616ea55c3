"""From settings to probes. What cannot be probed is named here, at the start, not in the middle of the night."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.probes.cameras.settings import Camera
from gateway.probes.probe import Probe
from gateway.probes.setup import Setup


def build(settings: Sequence[Camera], setup: Setup) -> list[Probe]:
    """Return the probes; raises ConfigError."""
    _ = settings, setup
    return []
