"""What a running gateway says of itself, for `xom gateway status`: a small file, replaced every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.probes.outcome import Outcome, Reason, State
from gateway.probes.schedule import Tally
from wire.identity import SourceId

if TYPE_CHECKING:
    from gateway.assembly import Gateway

_EVERY_S = 5.0


class ProbeWord(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe last came to. `overruns` counts the slots in which its turn never came."""

    source: str
    state: State
    rung: str
    reason: Reason
    explanation: str
    at_ms: int
    runs: int
    overruns: int


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A running gateway's word. Problems are "" where there is none.

    `card_refusals` counts what the card did not take since the start: a worn one shows here first.
    `codecs_disabled` kept meeting their limits and are out of service; `codecs_unconfined` says what this machine could
    not take from the process that runs codecs.
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
    codecs_disabled: list[str] = []
    codecs_unconfined: str = ""
    probes: list[ProbeWord] = []


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
        codecs_disabled=codecs.disabled,
        codecs_unconfined=codecs.unconfined,
        probes=[probe_word(source, tally) for source, tally in gateway.schedule.tallies.items() if tally.outcome],
    )


def probe_word(source: SourceId, tally: Tally) -> ProbeWord:
    """Say what a probe last came to; it has run."""
    outcome = tally.outcome or Outcome(state=State.UNKNOWN, reason=Reason.OVERRUN)
    return ProbeWord(
        source=str(source),
        state=outcome.state,
        rung=outcome.rung,
        reason=outcome.reason,
        explanation=str(outcome.facts.get("explanation", "")),
        at_ms=tally.at_ms,
        runs=tally.runs,
        overruns=tally.overruns,
    )
