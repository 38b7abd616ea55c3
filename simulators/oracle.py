"""What really happened: the truth against which a spool and a store are checked, counted per gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simulators.devices import Encoded
from wire.identity import DevEui, GatewayId


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkTruth:
    """One frame that a device sent: identity (`dev_eui`, `dev_addr`, `f_cnt`), instant (ms UTC) and true
    content.

    `encoded.quantities` holds what a right decoder must find, `encoded.faults` what it must not mistake for a
    measurement. `deduplication_id` is empty for a frame lost on air, which the server never saw.
    """

    gateway: GatewayId
    dev_eui: DevEui
    dev_addr: str
    f_cnt: int
    observed_at_ms: int
    encoded: Encoded
    deduplication_id: str = ""

    @property
    def quantities(self) -> Mapping[str, float]:
        """The true quantities, rounded to what the payload carries."""
        return self.encoded.quantities


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOracle:
    """One gateway's truth. produced = len(published) + len(lost) + in_flight.

    `published` in order of publication, each frame once; `duplicates` are the deduplication ids published
    again; `in_flight` frames wait for their (late) publication.
    """

    gateway: GatewayId
    published: tuple[UplinkTruth, ...]
    lost: tuple[UplinkTruth, ...]
    duplicates: tuple[str, ...]
    in_flight: int

    @property
    def produced(self) -> int:
        """Every frame that devices sent."""
        return len(self.published) + len(self.lost) + self.in_flight


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """The truth of all gateways."""

    gateways: Mapping[GatewayId, GatewayOracle]

    @property
    def produced(self) -> int:
        """Frames sent, over all gateways."""
        return sum(gateway.produced for gateway in self.gateways.values())

    @property
    def published(self) -> int:
        """Frames published, duplicates not counted."""
        return sum(len(gateway.published) for gateway in self.gateways.values())

    @property
    def lost(self) -> int:
        """Frames lost on air."""
        return sum(len(gateway.lost) for gateway in self.gateways.values())

    @property
    def duplicates(self) -> int:
        """Second publications."""
        return sum(len(gateway.duplicates) for gateway in self.gateways.values())


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The oracle in the making, for one gateway. It grows with every frame until it is cleared."""

    gateway: GatewayId
    published: list[UplinkTruth] = field(default_factory=list)
    lost: list[UplinkTruth] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    in_flight: int = 0

    def snapshot(self) -> GatewayOracle:
        """What is known now."""
        return GatewayOracle(
            gateway=self.gateway,
            published=tuple(self.published),
            lost=tuple(self.lost),
            duplicates=tuple(self.duplicates),
            in_flight=self.in_flight,
        )

    def clear(self) -> None:
        """Forget what is settled; frames in flight stay counted."""
        self.published.clear()
        self.lost.clear()
        self.duplicates.clear()
