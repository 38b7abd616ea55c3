"""A spool as a long outage leaves it: real readings in sealed, signed batches that no hub has confirmed."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from bench.uplinks import hamlet, published
from bench.wire import readings
from gateway.spool.store import SpoolFile
from wire.batch import Clock, Draft, Software
from wire.identity import GatewayId
from wire.keys import SigningKey
from wire.reading import ClockState, Reading

A_YEARS_READINGS = 26_000_000  # the outage of fault case A12
READING_EVERY_MS = 365 * 86_400_000 // A_YEARS_READINGS
_POOL = 3_600  # real readings; the backlog repeats them, each time with new times and frame counters
_FIRST_F_CNT = 1_000_000  # above what a live sensor of a benchmark reaches
_SOFTWARE = Software("0.1.0", "a1b2c3d4e5f60718", "1807f6e5d4c3b2a1")
_BOOT = "c" * 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How much waits: `batches` of `readings` each, the last of them sealed at `until_ms`."""

    batches: int
    readings: int
    until_ms: int

    @property
    def total(self) -> int:
        """Readings in all."""
        return self.batches * self.readings

    @property
    def window_ms(self) -> int:
        """The time that a batch accounts for."""
        return self.readings * READING_EVERY_MS

    @property
    def began_ms(self) -> int:
        """When the outage began."""
        return self.until_ms - self.batches * self.window_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What filling gave. `first_seq` to `last_seq` are the backlog's batches."""

    seconds: float
    first_seq: int
    last_seq: int
    envelope_bytes: int


def fill(path: Path, gateway: GatewayId, key: SigningKey, backlog: Backlog) -> Filled:
    """Seal a backlog into a gateway's spool by the product's own hand, each batch in a transaction that is synced.

    It goes on with whatever chain is there; the spool must not be open elsewhere.
    """
    flow = pool()
    began, size = time.monotonic(), 0
    file = SpoolFile(path, gateway, key)
    position = file.open()
    prev, first = position.last_hash, position.last_seq + 1
    try:
        for at in range(backlog.batches):
            from_ms = backlog.began_ms + at * backlog.window_ms
            draft = Draft(
                gateway=gateway, epoch=position.epoch, seq=first + at, prev=prev, boot=_BOOT,
                from_ms=from_ms, to_ms=from_ms + backlog.window_ms, clock=Clock(ClockState.NTP), software=_SOFTWARE,
                readings=batch_of(flow, backlog, at),
            )  # fmt: skip
            sealed = file.seal(draft, 0, draft.to_ms)
            prev, size = sealed.payload_sha256, size + len(sealed.envelope)
    finally:
        file.close()
    last = first + backlog.batches - 1
    return Filled(seconds=time.monotonic() - began, first_seq=first, last_seq=last, envelope_bytes=size)


@functools.cache
def pool() -> Sequence[Reading]:
    """Return uplinks of the simulated hamlet as the gateway keeps them: five models, decoded by their codecs."""
    return asyncio.run(readings(hamlet(), _POOL, published(hamlet())))


def batch_of(flow: Sequence[Reading], backlog: Backlog, at: int) -> list[Reading]:
    """Return the readings of the `at`-th batch: the pool's, over and over, at the times of the outage."""
    numbers = range(at * backlog.readings, (at + 1) * backlog.readings)
    return [_moved(flow[n % len(flow)], n // len(flow), n * READING_EVERY_MS, backlog.began_ms) for n in numbers]


def _moved(reading: Reading, turn: int, after_ms: int, began_ms: int) -> Reading:
    frame, link = reading.frame, reading.frame.link
    moved = replace(
        frame,
        key=b"",
        observed_at_ms=began_ms + after_ms,
        received_at_ms=began_ms + after_ms + frame.received_at_ms - frame.observed_at_ms,
        monotonic_ms=after_ms,
        boot=_BOOT,
        clock=ClockState.NTP,
        link=link and replace(link, f_cnt=_FIRST_F_CNT + turn * _POOL + link.f_cnt),
    )
    return replace(reading, frame=moved)
