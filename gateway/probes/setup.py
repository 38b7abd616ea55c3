"""What every probe is built with, beside its own settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.clock import Clock
from gateway.probes.credentials import Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """`data` is the gateway's own folder: what a probe must remember over a restart lies in a file of its own there."""

    credentials: Credentials
    clock: Clock
    data: Path
