"""What a running gateway says of itself, for `xom gateway status`: a small file, replaced every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.assembly import Gateway

_EVERY_S = 5.0


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A running gateway's word. Problems are "" where there is none.

    `card_refusals` counts since the start what the spool asked of the card and did not get: so a worn card begins.
    """

    at_ms: int
    version: str
    hub: str
    hub_problem: str
    chirpstack: str
    chirpstack_problem: str
    events: int
    malformed: int
    decoded: int
    undecoded: int
    repeated: int
    batches_sent: int
    acks_refused: int
    codec_restarts: int
    spool_problem: str = ""
    card_refusals: int = 0
    last_card_refusal: str = ""


class StatusFile:
    """The file. It is a courtesy, not evidence: written without fsync, replaced in one step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def keep_written(self, gateway: Gateway) -> None:
        """Write it every few seconds, until cancelled."""
        while True:
            with contextlib.suppress(OSError):  # a full card: the log says so, too
                self.write(running(gateway))
            await asyncio.sleep(_EVERY_S)

    def write(self, word: Running) -> None:
        """Replace the file; on a full card write over it, in the block that it has: then above all it has to speak."""
        fresh, text = self.path.with_suffix(".new"), msgspec.json.encode(word)
        try:
            fresh.write_bytes(text)
            fresh.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink()
            with self.path.open("r+b") as file:
                file.write(text)
                file.truncate()

    def read(self) -> Running | None:
        """Return the last word, None where there is none that can be read."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Running)
        except (OSError, msgspec.MsgspecError):
            return None


def running(gateway: Gateway) -> Running:
    """Gather what a gateway knows of itself now."""
    source, delivery, codecs = gateway.source, gateway.delivery, gateway.codecs
    return Running(
        at_ms=gateway.clock.now().wall_ms,
        version=delivery.version,
        hub=str(delivery.broker),
        hub_problem=delivery.line_problem,
        chirpstack=str(gateway.config.chirpstack.broker()) if source else "",
        chirpstack_problem=source.link.problem if source else "",
        events=source.counters.events if source else 0,
        malformed=source.counters.malformed if source else 0,
        decoded=codecs.decoded,
        undecoded=sum(codecs.failed.values()),
        repeated=gateway.spool.repeated,
        batches_sent=delivery.counters.sent,
        acks_refused=delivery.counters.acks_refused,
        codec_restarts=codecs.restarts,
        spool_problem=gateway.spool.problem,
        card_refusals=gateway.spool.refusals,
        last_card_refusal=gateway.spool.last_refusal,
    )
