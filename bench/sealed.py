"""Sealed batches made beforehand: what gateways would send, for flooding a hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.flood import Uplink
from wire.batch import Clock, Draft, Software, genesis, seal
from wire.identity import DevEui, Epoch, GatewayId
from wire.keys import SigningKey
from wire.reading import ClockState, Frame, Kind, Link, Quantity, Reading
from wire.topics import Subject, Topic

START_MS = 1_790_000_000_000
_WINDOW_MS = 60_000
_SENSORS = 20
_CODEC = "dragino/ldds75@0123456789abcdef"
_BOOT = "b" * 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Gateways that sign with one key, each with twenty level sensors of one quantity."""

    gateways: int
    batches: int
    readings: int
    key: SigningKey

    def ids(self) -> list[GatewayId]:
        """The gateways' names."""
        return [GatewayId.parse(f"gw-bench-{number}") for number in range(self.gateways)]

    def uplinks(self) -> list[Uplink]:
        """Return `batches` messages in all, the gateways taking turns, each with its own chain."""
        chains = [self._chain(number, gateway) for number, gateway in enumerate(self.ids())]
        return [next(chains[number % self.gateways]) for number in range(self.batches)]

    def _chain(self, number: int, gateway: GatewayId) -> Iterator[Uplink]:
        epoch = Epoch.new()
        prev, seq = genesis(gateway, epoch, self.key.public), 0
        topic = str(Topic(gateway, Subject.BATCH))
        while True:
            seq += 1
            from_ms = START_MS + seq * _WINDOW_MS
            draft = Draft(
                gateway=gateway, epoch=epoch, seq=seq, prev=prev, from_ms=from_ms, to_ms=from_ms + _WINDOW_MS,
                boot=_BOOT, clock=Clock(ClockState.NTP), software=Software("bench"),
                readings=[self._reading(number, from_ms, at, seq) for at in range(self.readings)],
            )  # fmt: skip
            sealed = seal(draft, self.key)
            prev = sealed.payload_sha256
            yield Uplink(topic=topic, payload=sealed.envelope)

    def _reading(self, number: int, from_ms: int, at: int, seq: int) -> Reading:
        observed, distance = from_ms + at * (_WINDOW_MS // self.readings), 1_000 + (seq * 37 + at * 101) % 3_000
        sensor = at % _SENSORS
        frame = Frame(
            source=DevEui.parse(f"a84041{number:04x}{sensor:06x}").source,
            kind=Kind.UPLINK,
            key=b"",
            observed_at_ms=observed,
            received_at_ms=observed + 210,
            monotonic_ms=observed - START_MS + 210,
            boot=_BOOT,
            clock=ClockState.NTP,
            raw=b"\x0d\x0a" + distance.to_bytes(2) + b"\x00\x00\x00\x01",
            link=Link(f"{sensor:08x}", seq * 2 + at // _SENSORS, 2, 3, -91, 5.5, "aa" * 8, 1, 921_400_000),
        )
        return Reading(frame, _CODEC, (Quantity("water_distance", "mm", float(distance)),))
