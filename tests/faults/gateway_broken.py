"""`python -m tests.faults.gateway_broken SWITCH --config FILE`: the gateway with one guarantee switched off.

The switches live here and not in the product: nothing that is installed in a hamlet loses data on request.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import sys
from collections.abc import Callable

from gateway import __main__ as program
from gateway import crash, pipeline
from gateway.sources.chirpstack import ChirpStackSource, Pack
from gateway.spool.sealing import Sealer
from gateway.spool.spool import Spool
from wire.mqtt import Message
from wire.reading import Reading

_PUBACK_LEAVES_S = 0.05  # long enough for the broker to have it


class Switch(enum.StrEnum):
    """A guarantee that can be switched off."""

    NONE = "none"
    ACK_BEFORE_COMMIT = "ack_before_commit"
    MALFORMED_DROPPED = "malformed_dropped"


def ack_before_commit() -> None:
    """Tell the broker before the readings are on the card."""

    async def keep(pack: Pack, readings: list[Reading], source: ChirpStackSource, spool: Spool, sealer: Sealer) -> None:
        source.keep(pack)
        await asyncio.sleep(_PUBACK_LEAVES_S)
        crash.reach(crash.Point.BEFORE_APPEND)
        await spool.append(readings)
        sealer.notice(readings)

    pipeline._keep = keep


def malformed_dropped() -> None:
    """Count what cannot be read, and keep nothing of it."""
    read = ChirpStackSource._pack

    def forgetful(self: ChirpStackSource, messages: list[Message]) -> Pack:
        return dataclasses.replace(read(self, messages), rejected=())

    ChirpStackSource._pack = forgetful  # type: ignore[method-assign]


THROW: dict[Switch, Callable[[], None]] = {
    Switch.NONE: lambda: None,
    Switch.ACK_BEFORE_COMMIT: ack_before_commit,
    Switch.MALFORMED_DROPPED: malformed_dropped,
}


if __name__ == "__main__":
    THROW[Switch(sys.argv.pop(1))]()
    sys.exit(program.main())
