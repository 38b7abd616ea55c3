"""Where the log lines of gateway and hub go: standard error, one line each, for journald."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NoReturn, TextIO, cast

import structlog


class Droppable(io.TextIOBase):
    """A stream for log lines: where it takes none (its disk is full, its reader gone), they are dropped.

    Without a log a gateway goes on measuring and a hub storing; an error here would end whoever wanted to say it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand it on."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def write_logs() -> None:
    """Write key=value lines to standard error, without colour and without a clock: the journal has one."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.LogfmtRenderer(key_order=["level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", Droppable(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def keep_quiet() -> None:
    """Write no log lines: a command that speaks to people says itself what it found."""

    def drop(*_: object) -> NoReturn:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
