"""Who hears a gateway's acknowledgements beside it: when was each batch, and each live uplink, known to be stored?"""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median, quantiles

from bench.flood import Publisher, packets
from bench.uplinks import Key, Load
from wire.ack import Ack, open_ack
from wire.identity import GatewayId
from wire.keys import Verifier
from wire.mqtt import Broker, Link, Terms
from wire.topics import Subject, Topic

_PACK = 64
_BEAT_S = 1.0


@dataclass(slots=True, kw_only=True)
class Witness:
    """Hears one gateway's acknowledgements as the broker hands them out. Times are of time.monotonic."""

    gateway: GatewayId
    hub: Verifier
    port: int
    heard: list[tuple[float, Ack]] = field(default_factory=list)

    async def run(self) -> None:
        """Hear until cancelled."""
        topic = str(Topic(self.gateway, Subject.ACK))
        terms = Terms(client_id="bench-witness", subscriptions=[topic], receive_maximum=_PACK)
        async with Link(Broker(port=self.port), terms) as link:
            async for pack in link.packs(_PACK):
                now = time.monotonic()
                self.heard += [(now, open_ack(one.payload, self.gateway, self.hub)) for one in pack]
                link.acknowledge(pack)

    @property
    def through(self) -> int:
        """The newest watermark."""
        return self.heard[-1][1].through if self.heard else 0

    def stored_at(self, seqs: Iterable[int]) -> dict[int, float]:
        """Return when each batch was first acknowledged, beyond a hole or below the watermark."""
        waiting, found = sorted(seqs), dict[int, float]()
        for at, ack in self.heard:
            taken = [seq for seq in waiting[: bisect_left(waiting, ack.highest + 1)] if _has(ack, seq)]
            found.update(dict.fromkeys(taken, at))
            if taken:
                waiting = [seq for seq in waiting if seq not in found]
        return found

    def passed_at(self, seq: int) -> float | None:
        """Return when the watermark first stood at or above a sequence."""
        return next((at for at, ack in self.heard if ack.through >= seq), None)


def _has(ack: Ack, seq: int) -> bool:
    return seq <= ack.through or not any(first <= seq <= last for first, last in ack.missing)


class LiveSensors:
    """Uplinks and alarms at an even pace, in a thread, until they are stopped. `sent` is when each was published."""

    def __init__(self, port: int, load: Load, per_s: float) -> None:
        self._port, self._load, self._per_s = port, load, per_s
        self._silent = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent: dict[Key, float] = {}

    def __enter__(self) -> LiveSensors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Fall silent; everything sent by now has the broker's PUBACK."""
        self._silent.set()
        self._thread.join()

    def _run(self) -> None:
        ready, beat = packets(self._load.uplinks), max(1, round(self._per_s * _BEAT_S))
        with Publisher(self._port, "bench-live") as publisher:
            for start in range(0, len(ready), beat):
                if self._silent.is_set():
                    return
                times = publisher.pace(ready[start : start + beat], self._per_s)
                self.sent.update(zip(self._load.keys[start:], times, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long it took, s, from publishing to the acknowledgement of its storing."""

    count: int
    p50_s: float
    p99_s: float
    worst_s: float

    @staticmethod
    def of(seconds: Sequence[float]) -> Latency | None:
        """Sum up; None where there is too little to say anything."""
        if len(seconds) < 2:
            return None
        cuts = quantiles(seconds, n=100, method="inclusive")
        return Latency(count=len(seconds), p50_s=median(seconds), p99_s=cuts[98], worst_s=max(seconds))


def delays(
    sent: Mapping[Key, float], batch_of: Mapping[Key, int], stored_at: Mapping[int, float]
) -> dict[Key, tuple[float, float]]:
    """Return when each uplink was published, and how many seconds later its batch was known to be stored."""
    found: dict[Key, tuple[float, float]] = {}
    for key, at in sent.items():
        with suppress(KeyError):
            found[key] = (at, stored_at[batch_of[key]] - at)
    return found


async def settled(task: asyncio.Task[None]) -> None:
    """End a task of ours."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
