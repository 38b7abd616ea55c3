"""A gateway whose clock is set late: one boot on a true time line, with what its own clocks showed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from hub.store.admission import Admitted
from tests.hub.written import SOURCE
from wire.batch import Batch, Clock, Draft, Event, Sealed, Software, genesis, open_batch, seal
from wire.identity import Epoch, GatewayId
from wire.keys import SigningKey
from wire.reading import ClockState, Frame, Kind, Quantity, Reading

TRUE_START_MS = 1_768_435_200_000  # 2026-01-15
_GATEWAY = GatewayId("gw-a")
DECADE_MS = 315_360_000_000


@dataclass
class Boot:
    """One run of a gateway's machine. `wall_start_ms` is what its wall clock shows at boot clock 0."""

    wall_start_ms: int = 0
    name: str = "b007b007b007b007"
    state: ClockState = ClockState.NONE
    true_start_ms: int = TRUE_START_MS

    def wall(self, monotonic_ms: int) -> int:
        """What the wall clock shows."""
        return self.wall_start_ms + monotonic_ms

    def true(self, monotonic_ms: int) -> int:
        """What it should show."""
        return self.true_start_ms + monotonic_ms

    def reading(self, monotonic_ms: int, value: float = 1.0, *, lag_ms: int = 40) -> Reading:
        """A reading that arrived at that moment and was observed `lag_ms` before."""
        received = self.wall(monotonic_ms)
        frame = Frame(
            SOURCE, Kind.UPLINK, b"", received - lag_ms, received, monotonic_ms, self.name, self.state, b"\x01"
        )
        return Reading(frame, codec="v/c@0011223344556677", quantities=(Quantity("water_distance", "mm", value),))

    def step(self, monotonic_ms: int, to_wall_ms: int, state: ClockState = ClockState.NTP) -> Event:
        """Set the wall clock, and note it as the gateway does."""
        offset, before = to_wall_ms - self.wall(monotonic_ms), self.state
        self.wall_start_ms += offset
        self.state = state
        detail = {
            "offset_ms": offset,
            "boot": self.name,
            "monotonic_ms": monotonic_ms,
            "state_before": before,
            "state_after": state,
        }
        return Event(to_wall_ms, "clock_step", msgspec.json.encode(detail).decode())

    def set_right(self, monotonic_ms: int) -> Event:
        """Set the clock to the true time."""
        return self.step(monotonic_ms, self.true(monotonic_ms))


@dataclass
class BootLog:
    """One epoch of one gateway, over boots."""

    gateway: GatewayId = _GATEWAY
    key: SigningKey = field(default_factory=SigningKey.generate)
    epoch: Epoch = field(default_factory=Epoch.new)
    sealed: list[Sealed] = field(default_factory=list)

    def seal(self, readings: Sequence[Reading], events: Sequence[Event] = (), boot: Boot | None = None) -> Admitted:
        """Seal the next batch; its boot and clock are its readings', or `boot`'s as it is now."""
        named = readings[0].frame.boot if readings else (boot or Boot()).name
        state = readings[0].frame.clock if readings else (boot or Boot()).state
        made = seal(
            Draft(
                gateway=self.gateway,
                epoch=self.epoch,
                seq=len(self.sealed) + 1,
                prev=self.sealed[-1].payload_sha256
                if self.sealed
                else genesis(self.gateway, self.epoch, self.key.public),
                from_ms=0,
                to_ms=0,
                boot=named,
                clock=Clock(state),
                software=Software("1"),
                readings=readings,
                events=events,
            ),
            self.key,
        )
        self.sealed.append(made)
        return Admitted(gateway=self.gateway, envelope=made.envelope, batch=self.opened(made))

    def opened(self, made: Sealed) -> Batch:
        """Open a sealed batch as the hub does."""
        return open_batch(made.envelope, self.key.public.verifier())
