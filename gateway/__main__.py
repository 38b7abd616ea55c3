"""`python -m gateway --config FILE`: the daemon that systemd runs, and that `xom gateway run` becomes.

It imports no command-line framework: a gateway's memory is for readings.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from gateway import footprint

# Before anything else imports them. Tracebacks in colour and types of later Pythons: 10 MB and 0.2 s.
footprint.import_without("rich", "structlog")
footprint.import_without("typing_extensions", "msgspec")

# ruff: noqa: E402
from codec.errors import ProfileError
from gateway import crash
from gateway.assembly import assemble
from gateway.clock import SystemClock
from gateway.config import Config, read
from gateway.spool.sqlite import SpoolError
from wire.configuration import ConfigError
from wire.keys import KeyProblem
from wire.logs import write_logs

USAGE_ERROR = 2
_STARTED_S = 1.0


def main() -> int:
    """Run until SIGTERM or SIGINT; returns 2 when the configuration does not allow a start."""
    parser = argparse.ArgumentParser(prog="xom gateway run", description="Run this hamlet's gateway.")
    parser.add_argument("--config", type=Path, help="TOML file; XOM_GATEWAY_<SECTION>_<KEY> variables override it")
    arguments = parser.parse_args()
    write_logs()
    try:
        crash.arm(os.environ.get(crash.VARIABLE, ""))
        asyncio.run(serve(read(arguments.config)))
    except (ConfigError, ProfileError, SpoolError, KeyProblem) as error:
        print(f"xom gateway: {error}", file=sys.stderr)  # noqa: T201 - the last word before the end, for a person
        return USAGE_ERROR
    return 0


async def serve(config: Config) -> None:
    """Run the gateway until a signal asks it to stop. No clean stop is needed: the spool is ready for a cut."""
    async with assemble(config, SystemClock()) as gateway:
        running = asyncio.create_task(gateway.run())
        asyncio.get_running_loop().call_later(_STARTED_S, footprint.give_back)
        for stop in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(stop, running.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await running


if __name__ == "__main__":
    sys.exit(main())
