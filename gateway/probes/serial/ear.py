"""Listening to what talks by itself: NMEA sentences from a port, bounded in time, in bytes and in length of line."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from gateway.clock import Clock
from gateway.probes.outcome import Fact, Reason
from gateway.probes.serial.line_error import LineError, shown
from gateway.probes.serial.nmea import BadChecksumError, Sentence, parse
from gateway.probes.serial.port import Port

_MOST_LINE = 256
_MOST_HEARD = 64 * 1024


@dataclass(slots=True, kw_only=True)
class Ear:
    """What one run has heard."""

    port: Port
    clock: Clock
    listen_s: float
    heard: int = 0
    first: bytes = b""
    bad_sums: int = 0
    kinds: set[str] = field(default_factory=set)

    async def sentences(self) -> AsyncIterator[tuple[Sentence, int]]:
        """Yield sentences with the wall time (ms UTC) of their first bytes, until the time is over."""
        until, rest, came_at = time.monotonic() + self.listen_s, bytearray(), 0
        while (left_s := until - time.monotonic()) > 0 and self.heard < _MOST_HEARD:
            chunk = await self.port.receive(left_s)
            if not chunk:
                break
            self.heard += len(chunk)
            self.first = self.first or chunk
            came_at = came_at if rest else self.clock.now().wall_ms
            rest += chunk
            while (end := rest.find(b"\n")) >= 0:
                found = self._read(bytes(rest[:end]))
                del rest[: end + 1]
                if found is not None:
                    yield found, came_at
            if len(rest) > _MOST_LINE:
                rest.clear()

    def failure(self, wanted: str) -> LineError:
        """Say why what was wanted is not there, by what was heard instead."""
        facts: dict[str, Fact] = {"heard": shown(self.first), "bad_sums": self.bad_sums}
        if not self.heard:
            return LineError(Reason.TIMEOUT, f"nothing was said in {self.listen_s:.0f} s", rung="port")
        if self.kinds:
            facts["sentences"] = [*sorted(self.kinds)[:20]]
            text = f"it says {', '.join(sorted(self.kinds)[:8])}, and not {wanted}"
            return LineError(Reason.NOT_FOUND, text, rung="heard", facts=facts)
        if self.bad_sums:
            text = f"{self.bad_sums} sentences, all with a wrong checksum"
            return LineError(Reason.BAD_CHECKSUM, text, rung="heard", facts=facts)
        return LineError(Reason.NOT_THE_PROTOCOL, "bytes, but no sentence: baud, parity?", rung="heard", facts=facts)

    def _read(self, line: bytes) -> Sentence | None:
        try:
            found = parse(line.decode("ascii", "replace").rstrip("\r"))
        except BadChecksumError:
            self.bad_sums += 1
            return None
        if found is not None:
            self.kinds.add(found.talker + found.formatter)
        return found
