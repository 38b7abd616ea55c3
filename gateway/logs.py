"""Where log lines go: standard error, one line each, for journald."""

from __future__ import annotations

import sys

import structlog


def write_logs() -> None:
    """Write key=value lines to standard error, without colour and without a clock: the journal has one."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.LogfmtRenderer(key_order=["level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
