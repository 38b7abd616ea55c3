"""What was owed and what came: silence is not the same as "nothing was due" (evidence.md section 2, `due`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wire.batch import Due
from wire.identity import SourceId
from wire.reading import Kind, Reading

RADIO = "radio"  # the frame counter jumped: sent, and lost on air


@dataclass(slots=True)
class _Account:
    """One source's running account. `expected_to_ms` is up to where due samples have been counted."""

    interval_ms: int
    expected_to_ms: int
    outstanding: int = 0
    jumped: int = 0
    session: str = ""
    f_cnt: int = -1


Mark = dict[SourceId, _Account]


class DueLedger:
    """Counts, per source with a known interval, the samples due, received and missed in each batch's window.

    A sample may be late by up to one interval before it counts as missed: radios have no exact clock.
    """

    def __init__(self, intervals_s: Mapping[SourceId, float], start_ms: int) -> None:
        self._accounts = {
            source: _Account(int(interval * 1000), start_ms) for source, interval in intervals_s.items() if interval > 0
        }

    def mark(self) -> Mark:
        """Return where the accounts stand, for `rewind`."""
        return {source: replace(account) for source, account in self._accounts.items()}

    def rewind(self, mark: Mark) -> None:
        """Take back what was settled since `mark`: that batch was not sealed."""
        self._accounts = mark

    def settle(self, to_ms: int, readings: Sequence[Reading], *, more: bool = False) -> list[Due]:
        """Close the window at `to_ms` with what it received; returns the sources that owed or sent something.

        `more`: this window's readings go on in the next batch, so that nothing is missed yet.
        """
        received: dict[SourceId, int] = {}
        jumped: dict[SourceId, int] = {}
        for reading in readings:
            source = reading.frame.source
            account = self._accounts.get(source)
            if account is not None and reading.frame.kind in (Kind.UPLINK, Kind.PROBE):
                received[source] = received.get(source, 0) + 1
                jumped[source] = jumped.get(source, 0) + _jump(account, reading)
        dues = (
            _settle(source, account, to_ms, received.get(source, 0), jumped.get(source, 0), more)
            for source, account in self._accounts.items()
        )
        return [due for due in dues if due.expected or due.received or due.missed]


def _settle(source: SourceId, account: _Account, to_ms: int, received: int, jumped: int, more: bool) -> Due:
    expected = max(0, to_ms - account.expected_to_ms) // account.interval_ms
    account.expected_to_ms += expected * account.interval_ms
    account.outstanding += expected - received
    account.jumped += jumped
    if more:
        return Due(source, expected, received)
    missed = max(0, account.outstanding - 1)
    account.outstanding = max(account.outstanding - missed, -1)  # an early sample pays one interval ahead, no more
    jumped, account.jumped = account.jumped, 0
    return Due(source, expected, received, missed, RADIO if missed and jumped else "")


def _jump(account: _Account, reading: Reading) -> int:
    """Return how many frame counters of this session were skipped before this reading."""
    link = reading.frame.link
    if link is None:
        return 0
    skipped = link.f_cnt - account.f_cnt - 1 if link.dev_addr == account.session else 0
    account.session, account.f_cnt = link.dev_addr, link.f_cnt
    return max(0, skipped)
