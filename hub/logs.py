"""Where log lines go: standard error, one line each, for journald. One that cannot be written stops nothing."""

from __future__ import annotations

import contextlib
import sys
from typing import Final, TextIO, cast

import structlog


class Forgiving:
    """A stream whose lines are dropped while nothing can be written: standard error may be a file on a full disk."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: Final = stream

    def write(self, text: str) -> int:
        """Write, or drop."""
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand over what was written, or drop it."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def write_logs() -> None:
    """Write key=value lines to standard error, without colour and without a clock: the journal has one."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.LogfmtRenderer(key_order=["level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", Forgiving(sys.stderr))),
    )
