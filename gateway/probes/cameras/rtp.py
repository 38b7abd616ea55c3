"""From RTP packets to one key frame (RFC 3550; RFC 6184 for H.264, RFC 7798 for H.265). Pure: no socket, no decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.probes.cameras.sdp import Codec
from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason

MOST_KEY_FRAME: Final = 4 * 1024 * 1024
_START: Final = b"\x00\x00\x00\x01"
_HEADER: Final = 12


@dataclass(slots=True)
class KeyFrames:
    """Collects one video: how many frames came, and the first whole key frame as an Annex B byte stream.

    What arrives broken (a gap in the numbers, a short packet) spoils its own frame only. Raises ProbeError(TOO_LARGE).
    """

    codec: Codec
    payload_type: int
    parameters: Sequence[bytes] = ()
    frames: int = 0
    key_frame: bytes | None = None
    packets: int = 0
    _units: list[bytes] = field(default_factory=list)  # of the frame that is arriving
    _fragment: bytearray | None = None
    _size: int = 0
    _whole: bool = False  # the frame that is arriving has no gap: not so for the first, which we may meet midway
    _key: bool = False
    _stamp: int | None = None
    _sequence: int | None = None
    _known: dict[int, bytes] = field(default_factory=dict)  # parameter sets by kind, the latest

    def __post_init__(self) -> None:
        for unit in self.parameters:
            self._remember(unit)

    def feed(self, packet: bytes) -> None:
        """Take one RTP packet; what is not of this video is passed over."""
        if len(packet) <= _HEADER or packet[0] >> 6 != 2 or packet[1] & 0x7F != self.payload_type:
            return
        payload = _payload(packet)
        if payload is None:
            return
        self.packets += 1
        sequence, stamp = int.from_bytes(packet[2:4]), int.from_bytes(packet[4:8])
        if stamp != self._stamp:
            self._end()  # a camera that sets no marker: the next time stamp ends the frame
            self._stamp, self._whole = stamp, True
        if self._sequence is not None and sequence != (self._sequence + 1) & 0xFFFF:
            self._whole, self._fragment = False, None
        self._sequence = sequence
        self._take(payload)
        if packet[1] & 0x80:
            self._end()

    def _end(self) -> None:
        if self._units:
            self.frames += 1
            if self._key and self._whole and self.key_frame is None and self._known:
                own = {self._kind(unit) for unit in self._units}
                before = [unit for kind, unit in sorted(self._known.items(), key=self._order) if kind not in own]
                self.key_frame = b"".join(_START + unit for unit in (*before, *self._units))
        self._units, self._fragment, self._size, self._key = [], None, 0, False

    def _order(self, item: tuple[int, bytes]) -> int:
        return item[0]  # H.264: SPS 7, PPS 8; H.265: VPS 32, SPS 33, PPS 34: rising, as a decoder needs them

    def _take(self, payload: bytes) -> None:
        kind = self._kind(payload)
        h264 = self.codec is Codec.H264
        if kind == (24 if h264 else 48):  # several units in one packet: STAP-A, AP
            at = 1 if h264 else 2
            while at + 2 <= len(payload):
                size = int.from_bytes(payload[at : at + 2])
                self._add(payload[at + 2 : at + 2 + size])
                at += 2 + size
        elif kind == (28 if h264 else 49):  # one unit over several packets: FU-A, FU
            self._join(payload)
        elif kind < (24 if h264 else 48):
            self._add(payload)

    def _join(self, payload: bytes) -> None:
        head = 1 if self.codec is Codec.H264 else 2
        if len(payload) <= head + 1:
            return
        flags = payload[head]
        if flags & 0x80:
            if self.codec is Codec.H264:
                first = bytes([payload[0] & 0xE0 | flags & 0x1F])
            else:
                first = bytes([payload[0] & 0x81 | (flags & 0x3F) << 1, payload[1]])
            self._fragment = bytearray(first)
        if self._fragment is None:
            self._whole = False  # its beginning was lost
            return
        self._fragment += payload[head + 1 :]
        if self._size + len(self._fragment) > MOST_KEY_FRAME:
            raise ProbeError(Reason.TOO_LARGE, f"a frame of more than {MOST_KEY_FRAME} bytes")
        if flags & 0x40:
            unit, self._fragment = bytes(self._fragment), None
            self._add(unit)

    def _add(self, unit: bytes) -> None:
        if not unit:
            return
        self._size += len(unit)
        if self._size > MOST_KEY_FRAME:
            raise ProbeError(Reason.TOO_LARGE, f"a frame of more than {MOST_KEY_FRAME} bytes")
        kind = self._kind(unit)
        self._remember(unit)
        self._units.append(unit)
        # IDR 5; the IRAP pictures 16 to 23
        self._key = self._key or (kind == 5 if self.codec is Codec.H264 else 16 <= kind <= 23)

    def _remember(self, unit: bytes) -> None:
        kind = self._kind(unit)
        if kind in ((7, 8) if self.codec is Codec.H264 else (32, 33, 34)):
            self._known[kind] = unit

    def _kind(self, unit: bytes) -> int:
        return unit[0] & 0x1F if self.codec is Codec.H264 else unit[0] >> 1 & 0x3F


def _payload(packet: bytes) -> bytes | None:
    """Return what an RTP packet carries, without list of sources, extension and padding; None where it is cut."""
    at = _HEADER + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:  # a header extension
        if len(packet) < at + 4:
            return None
        at += 4 + 4 * int.from_bytes(packet[at + 2 : at + 4])
    end = len(packet) - (packet[-1] if packet[0] & 0x20 else 0)
    return packet[at:end] if at < end else None
