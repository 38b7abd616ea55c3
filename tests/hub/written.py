"""A gateway's log as the hub receives it: batches sealed for real, handed over as admitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hub.store.admission import Admitted
from wire.batch import Cause, Clock, Draft, Event, Gap, Sealed, Software, genesis, open_batch, seal
from wire.identity import Epoch, GatewayId, SourceId
from wire.keys import SigningKey
from wire.reading import ClockState, Frame, Kind, Quality, Quantity, Reading, Undecoded

BEGAN = datetime(2026, 1, 15, tzinfo=UTC)
BEGAN_MS = 1_768_435_200_000
SOURCE = SourceId("lorawan:a840410000000001")


def reading(
    at_ms: int = BEGAN_MS,
    value: float | None = 1.5,
    *,
    quality: Quality = Quality.GOOD,
    source: SourceId = SOURCE,
    name: str = "water_distance",
    undecoded: Undecoded | None = None,
) -> Reading:
    """One reading of one quantity, or an undecoded one."""
    frame = Frame(source, Kind.UPLINK, b"", at_ms, at_ms + 40, 1000, "boot-1", ClockState.NTP, b"\x01\x02")
    if undecoded is not None:
        return Reading(frame, undecoded=undecoded)
    return Reading(frame, codec="v/c@0011223344556677", quantities=(Quantity(name, "mm", value, quality),))


def series(count: int, *, start_ms: int = BEGAN_MS, step_ms: int = 1000) -> list[Reading]:
    """Readings of one source at equal steps, with the values 0, 1, 2 ..."""
    return [reading(start_ms + at * step_ms, float(at)) for at in range(count)]


def gap(
    epoch: Epoch, first: int = 0, last: int = 0, *, cause: Cause = Cause.EVICTED, at_ms: int = BEGAN_MS, **more: Any
) -> Event:
    """The event that declares batches (or, without `first`, readings) lost."""
    return Gap(epoch=str(epoch), cause=cause, first=first, last=last, **more).event(at_ms)


@dataclass
class Log:
    """One epoch of one gateway."""

    gateway: GatewayId
    key: SigningKey = field(default_factory=SigningKey.generate)
    epoch: Epoch = field(default_factory=Epoch.new)
    sealed: list[Sealed] = field(default_factory=list)

    def seal(
        self,
        readings: Sequence[Reading] = (),
        *,
        seq: int | None = None,
        prev: bytes | None = None,
        clock: ClockState = ClockState.NTP,
        events: Sequence[Event] = (),
    ) -> Admitted:
        """Seal the next batch; `seq` and `prev` replace what would be right."""
        right = self.sealed[-1].payload_sha256 if self.sealed else genesis(self.gateway, self.epoch, self.key.public)
        number = len(self.sealed) + 1
        made = seal(
            Draft(
                gateway=self.gateway,
                epoch=self.epoch,
                seq=seq or number,
                prev=prev or right,
                from_ms=BEGAN_MS + number * 60_000,
                to_ms=BEGAN_MS + number * 60_000 + 60_000,
                boot="boot-1",
                clock=Clock(clock),
                software=Software("1"),
                readings=readings,
                events=events,
            ),
            self.key,
        )
        if seq is None and prev is None:
            self.sealed.append(made)
        batch = open_batch(made.envelope, self.key.public.verifier())
        return Admitted(gateway=self.gateway, envelope=made.envelope, batch=batch)

    def fork(self) -> Log:
        """Return what a copy of the card goes on with: the same identity and the same past."""
        return Log(self.gateway, self.key, self.epoch, list(self.sealed))

    def many(self, count: int) -> list[Admitted]:
        """Seal `count` batches of three readings each."""
        start = len(self.sealed)
        return [self.seal(series(3, start_ms=BEGAN_MS + (start + at) * 60_000)) for at in range(count)]
