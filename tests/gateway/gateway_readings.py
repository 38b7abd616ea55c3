"""Readings for the gateway's tests, one sensor's as a radio would bring them."""

from __future__ import annotations

from wire.identity import DevEui, GatewayId, SourceId
from wire.reading import ClockState, Frame, Kind, Link, Quantity, Reading, Undecoded

GATEWAY = GatewayId("thon-1")
START_MS = 1_755_000_000_000
SENSOR = DevEui("a840410000000001").source
BOOT = "5" * 16


def reading(
    number: int,
    *,
    source: SourceId = SENSOR,
    at_ms: int | None = None,
    key: bytes | None = None,
    boot: str = BOOT,
    clock: ClockState = ClockState.NTP,
    kind: Kind = Kind.UPLINK,
    dev_addr: str = "26011bda",
    raw: bytes = b"\x0d\x0a\x07\xe9",
    urgent: bool = False,
    undecoded: Undecoded | None = None,
) -> Reading:
    """The `number`-th reading; its frame counter and key are its number."""
    at = START_MS + 1000 * number if at_ms is None else at_ms
    return Reading(
        Frame(
            source=source,
            kind=kind,
            key=number.to_bytes(16) if key is None else key,
            observed_at_ms=at,
            received_at_ms=at,
            monotonic_ms=1000 * number,
            boot=boot,
            clock=clock,
            raw=raw,
            link=Link(dev_addr=dev_addr, f_cnt=number, f_port=2) if kind is Kind.UPLINK else None,
        ),
        quantities=() if undecoded else (Quantity("water_distance", "mm", 2000.0 + number),),
        undecoded=undecoded,
        urgent=urgent,
    )
