"""A wall clock of our own for one real process: libfaketime with a file that is rewritten while it runs.

The boot clock and the monotonic clock stay the machine's, as they do when a time service sets a gateway's clock. The
machine's own clock is never touched.
"""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path

import pytest

_LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")


class WallClock:
    """The process's wall clock is the machine's plus `offset_s`."""

    def __init__(self, folder: Path, offset_s: float = 0.0) -> None:
        found = [path for pattern in _LIBRARIES for path in glob.glob(pattern)]  # noqa: PTH207 - a pattern from the root
        if not found:
            pytest.skip("LEFT OUT: no clock was stepped: libfaketime is missing (scripts/install-system-packages)")
        self._library, self._file = found[0], folder / "wall-clock"
        self.offset_s = 0.0
        self.step_to(offset_s)

    def step_to(self, offset_s: float) -> None:
        """Step: from now on the wall clock is the machine's plus so much."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+f}\n")
        fresh.replace(self._file)
        self.offset_s = offset_s

    def set_to(self, epoch_s: float) -> None:
        """Step to this moment, seconds since 1970."""
        self.step_to(epoch_s - time.time())

    @property
    def now_ms(self) -> float:
        """What it shows."""
        return (time.time() + self.offset_s) * 1000

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to have this clock."""
        return {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # seconds; reading the file at each look would take the process's time
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "PATH": os.environ.get("PATH", ""),
        }
