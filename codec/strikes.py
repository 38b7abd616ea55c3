"""When a codec that keeps meeting its limits is taken out of service, and when it is tried again. Pure.

A codec is disabled by its STRIKES-th limit in a row. After a pause one frame is let through: if that meets a limit too,
the pause doubles; if not, the codec is back. A restart of the gateway, or another version of the codec, starts afresh.
Time is any clock that does not step, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

STRIKES: Final = 5
FIRST_PAUSE_S: Final = 600.0
LONGEST_PAUSE_S: Final = 6 * 3600.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A codec was taken out of service, or is back. `pause_s` is how long until it is tried again."""

    codec: str
    disabled: bool
    message: str = ""
    pause_s: int = 0


@dataclass(slots=True)
class _Record:
    strikes: int = 0
    pause_s: float = FIRST_PAUSE_S
    until_s: float | None = None  # disabled until then; None: in service
    trying: bool = False  # one frame has been let through to see


@dataclass(slots=True)
class StrikeList:
    """Limits in a row, by codec id. The id holds the script's hash, so another version has a record of its own."""

    _records: dict[str, _Record] = field(default_factory=dict)

    @property
    def disabled(self) -> list[str]:
        """The codecs out of service now, sorted."""
        return sorted(codec for codec, record in self._records.items() if record.until_s is not None)

    def admits(self, codec: str, now_s: float) -> bool:
        """Whether this codec's next frame may run. At the end of a pause only one may, until `passed` or `struck`."""
        record = self._records.get(codec)
        if record is None or record.until_s is None:
            return True
        if now_s < record.until_s:
            return False
        record.until_s, record.trying = now_s + record.pause_s, True  # the others wait for its outcome
        return True

    def struck(self, codec: str, message: str, now_s: float) -> Change | None:
        """Note a limit; returns the change if it puts the codec out of service."""
        record = self._records.setdefault(codec, _Record())
        record.strikes += 1
        if record.until_s is not None:
            if record.trying:  # else a frame that was under way when the codec was disabled
                record.pause_s = min(record.pause_s * 2, LONGEST_PAUSE_S)
                record.until_s, record.trying = now_s + record.pause_s, False
            return None
        if record.strikes < STRIKES:
            return None
        record.until_s = now_s + record.pause_s
        return Change(codec=codec, disabled=True, message=message, pause_s=int(record.pause_s))

    def passed(self, codec: str) -> Change | None:
        """Note a frame that met no limit; returns the change if it puts the codec back into service."""
        record = self._records.pop(codec, None)
        return Change(codec=codec, disabled=False) if record is not None and record.until_s is not None else None
