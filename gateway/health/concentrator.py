"""How a LoRaWAN concentrator does: its own statistics, and whether the network server has it. Pure.

The region's topics carry them: `<prefix>/gateway/<id>/event/stats` and `.../state/conn`, in JSON or protobuf as the
forwarder writes (lorawan.md section 1). A slot without a word is a fact only while we were able to hear one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.clock import Instant
from gateway.health.readings import own_reading
from wire.identity import SourceId
from wire.reading import Quantity, Reading

SUBSCRIPTIONS: Final = ("+/gateway/+/event/stats", "+/gateway/+/state/conn")
_TOPIC = re.compile(r"[^/]+/gateway/(?P<id>[0-9a-fA-F]{16})/(?P<what>event/stats|state/conn)")
_MOST: Final = 1_000  # concentrators: memory is bounded whatever is published
_LARGEST: Final = 64 * 1024


class StatsError(ValueError):
    """Theirs: not what a forwarder publishes."""


class Stats(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Counts since the message before. What is zero is left out in JSON (proto3)."""

    rx_packets_received: int = 0
    rx_packets_received_ok: int = 0
    tx_packets_received: int = 0
    tx_packets_emitted: int = 0


class _Connection(msgspec.Struct, frozen=True):
    state: str = "OFFLINE"  # zero, hence left out


@dataclass(frozen=True, slots=True)
class Word:
    """One message of a concentrator: its statistics, or whether its forwarder is connected."""

    concentrator: str
    stats: Stats | None = None
    online: bool | None = None


def parse(topic: str, payload: bytes) -> Word:
    """Return what a message says; raises StatsError."""
    match = _TOPIC.fullmatch(topic)
    if match is None or len(payload) > _LARGEST:
        raise StatsError(f"{topic!r:.120} with {len(payload)} bytes is no concentrator's message")
    concentrator, is_json = match["id"].lower(), payload[:1] == b"{"
    try:
        if match["what"] == "event/stats":
            return Word(concentrator, stats=_checked(_stats_json(payload) if is_json else _stats_protobuf(payload)))
        return Word(concentrator, online=_online_json(payload) if is_json else _online_protobuf(payload))
    except (msgspec.MsgspecError, ValueError) as error:
        raise StatsError(f"not a concentrator's message: {error}") from error


_stats_json = msgspec.json.Decoder(Stats).decode
_connection = msgspec.json.Decoder(_Connection).decode


def _online_json(payload: bytes) -> bool:
    return _connection(payload).state == "ONLINE"


def _stats_protobuf(payload: bytes) -> Stats:
    from chirpstack_api.gw import gw_pb2  # here: a forwarder that writes JSON does not cost protobuf's memory
    from google.protobuf.message import DecodeError

    try:
        message = gw_pb2.GatewayStats.FromString(payload)
    except DecodeError as error:
        raise StatsError(str(error)) from error
    return Stats(**{name: getattr(message, name) for name in Stats.__struct_fields__})


def _online_protobuf(payload: bytes) -> bool:
    from chirpstack_api.gw import gw_pb2
    from google.protobuf.message import DecodeError

    try:
        return bool(gw_pb2.ConnState.FromString(payload).state == gw_pb2.ConnState.ONLINE)
    except DecodeError as error:
        raise StatsError(str(error)) from error


def _checked(stats: Stats) -> Stats:
    if any(not 0 <= getattr(stats, name) < 2**32 for name in Stats.__struct_fields__):
        raise StatsError("a count is negative or has more than 32 bits")
    return stats


@dataclass(slots=True)
class _Slot:
    """One concentrator since the last report."""

    heard: int = 0
    received: int = 0
    ok: int = 0
    emitted: int = 0
    refused: int = 0
    online: bool | None = None


class ConcentratorHealth:
    """Adds up what concentrators say; `report` closes the slot."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot] = {}

    def hear(self, word: Word) -> None:
        """Take one message."""
        slot = self._slots.get(word.concentrator)
        if slot is None:
            if len(self._slots) >= _MOST:
                return
            slot = self._slots[word.concentrator] = _Slot()
        if word.stats is not None:
            slot.heard += 1
            slot.received += word.stats.rx_packets_received
            slot.ok += word.stats.rx_packets_received_ok
            slot.emitted += word.stats.tx_packets_emitted
            slot.refused += max(0, word.stats.tx_packets_received - word.stats.tx_packets_emitted)
        if word.online is not None:
            slot.online = word.online

    def report(self, now: Instant, *, listening: bool) -> Iterator[Reading]:
        """Yield one reading for each concentrator ever heard, and begin a new slot.

        `listening`: whether we could hear throughout the slot. If not, silence says nothing, and nothing is said.
        """
        for concentrator, slot in self._slots.items():
            if slot.heard or listening:
                yield _reading(concentrator, slot, now)
            self._slots[concentrator] = _Slot(online=slot.online if listening else None)


def _reading(concentrator: str, slot: _Slot, now: Instant) -> Reading:
    facts: dict[str, object] = {"stats": slot.heard, "received": slot.received, "ok": slot.ok, "emitted": slot.emitted}
    figures = [
        Quantity("concentrator_stats_heard", "1", float(slot.heard)),
        Quantity("concentrator_frames_received", "1", float(slot.received)),
        Quantity("concentrator_frames_ok", "1", float(slot.ok)),
        Quantity("concentrator_frames_emitted", "1", float(slot.emitted)),
        Quantity("concentrator_frames_refused", "1", float(slot.refused)),
    ]
    if slot.online is not None:
        facts["online"] = slot.online
        figures.append(Quantity("concentrator_online", "1", float(slot.online)))
    return own_reading(SourceId(f"concentrator:{concentrator}"), now, facts, figures)
