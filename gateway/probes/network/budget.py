"""How much data our own probing may spend on a line in a month, and has spent; remembered over a restart.

Months are those of the invoice: Asia/Ho_Chi_Minh, UTC+7 without summer time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from gateway.clock import Clock
from gateway.durable import replace_file
from gateway.probes.local_time import VIET_NAM
from wire.reading import ClockState

log = structlog.get_logger(__name__)


class _Spent(msgspec.Struct):
    """The file: `month` as 2026-11, `bytes` spent in it."""

    month: str = ""
    bytes: int = 0


@dataclass(slots=True)
class Budget:
    """The bytes of one line. `limit_bytes` 0 counts, and forbids nothing; a `path` of None remembers nothing."""

    clock: Clock
    limit_bytes: int = 0
    path: Path | None = None
    _spent: _Spent | None = field(default=None, init=False)

    @property
    def spent_bytes(self) -> int:
        """Bytes spent this month, both ways, headers included as far as they can be told."""
        return self._month().bytes

    @property
    def used_up(self) -> bool:
        """Whether nothing more may be spent this month."""
        return bool(self.limit_bytes) and self.spent_bytes >= self.limit_bytes

    def spend(self, count: int) -> None:
        """Count bytes."""
        self._month().bytes += count

    def save(self) -> None:
        """Write it down, so that a power cut does not give the month's data a second time."""
        if self.path is None or not self.limit_bytes:
            return
        try:
            replace_file(self.path, msgspec.json.encode(self._month()))
        except OSError as error:  # a full card: the count goes on in memory
            log.warning("the data budget could not be written down", path=str(self.path), error=str(error))

    def _month(self) -> _Spent:
        if self._spent is None:
            self._spent = self._read()
        now = self.clock.now()
        month = datetime.fromtimestamp(now.wall_ms / 1000, UTC).astimezone(VIET_NAM).strftime("%Y-%m")
        if not self._spent.month:
            self._spent.month = month
        elif month != self._spent.month and now.state is not ClockState.NONE:  # an unset clock starts no month
            kept = self._spent.bytes if month < self._spent.month else 0  # a clock put back gives nothing away
            self._spent = _Spent(month, kept)
        return self._spent

    def _read(self) -> _Spent:
        if self.path is None or not self.path.exists():
            return _Spent()
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_Spent)
        except (OSError, msgspec.DecodeError) as error:
            log.warning("the data budget's file is broken: counted anew", path=str(self.path), error=str(error))
            return _Spent()
