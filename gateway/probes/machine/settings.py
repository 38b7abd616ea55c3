"""What an installer says of it: [machine]. `samples/gateway.toml` explains every key."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[machine]: the Raspberry Pi itself. Where a part is not there, nothing is said of it."""

    enabled: bool = True
    every_s: float = 300.0
    # A Pi slows itself down from 80 °C on (Raspberry Pi documentation, "Thermal management").
    hot_c: float = 80.0
    least_memory_mb: int = 50
    boots_a_day: int = 3
    least_free_mb: int = 500
    # JEDEC eMMC 5.0 tells wear in steps of 10 %; from here on a card should be ordered.
    worn_percent: int = 80
    skew_s: float = 5.0
    mains_file: Path | None = None
    mains_present: str = "1"
