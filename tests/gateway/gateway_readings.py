"""Readings for the gateway's tests, one sensor's as a radio would bring them."""

from __future__ import annotations

from collections.abc import Callable

from gateway.spool.store import SpoolFile
from wire.ack import Ack
from wire.batch import Clock, Draft, Sealed, Software
from wire.identity import DevEui, GatewayId, SourceId
from wire.keys import SigningKey
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


def confirm(file: SpoolFile, through: int, incarnation: int = 1, *, proven: int | None = None) -> None:
    """Let the hub acknowledge everything up to `through`, as bound to what we wrote as `proven` says (all of it)."""
    position = file.position()
    ack = Ack(gateway=GATEWAY, incarnation=incarnation, epoch=position.epoch, through=through, highest=through)
    file.confirm(ack, through if proven is None else proven)


def seal_one(file: SpoolFile, key: SigningKey, *, between: Callable[[], object] = lambda: None) -> Sealed:
    """Seal the head of the queue as the sealer would; `between` happens after the draft was made."""
    position, contents = file.position(), file.head(5_000)
    draft = Draft(
        gateway=GATEWAY, epoch=position.epoch, seq=position.last_seq + 1, prev=position.last_hash, from_ms=0, to_ms=1,
        boot=BOOT, clock=Clock(ClockState.NTP), software=Software("0"), readings=contents.readings,
        events=contents.events,
    )  # fmt: skip
    between()
    return file.seal(draft, contents.last_id, START_MS)
