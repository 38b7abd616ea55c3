"""A codec that is disabled, or comes back, is put on record in the gateway's log."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator

from codec.strikes import Change
from gateway import pipeline
from gateway.clock import Instant
from gateway.spool.sqlite import NotKept
from wire.batch import Event
from wire.reading import ClockState

DISABLED = Change(codec="test/a@1", disabled=True, message="interrupted", pause_s=600)
BACK = Change(codec="test/a@1", disabled=False)


class Codecs:
    """Says once what changed, as the worker's client does."""

    def __init__(self, *changes: Change) -> None:
        self._changes = list(changes)

    def changes(self) -> list[Change]:
        changes, self._changes = self._changes, []
        return changes


class Spool:
    """Refuses at first, as a full card does."""

    def __init__(self, refusals: int) -> None:
        self.events: list[Event] = []
        self._refusals = iter(range(refusals))

    async def note(self, event: Event) -> None:
        if next(self._refusals, None) is not None:
            raise NotKept("disk full")
        self.events.append(event)


class Clock:
    """Ticks until the test has seen enough."""

    def __init__(self, ticks: int) -> None:
        self._ticks: Iterator[int] = iter(range(ticks))

    def now(self) -> Instant:
        return Instant(1_755_636_688_000, 1000, "boot", ClockState.NTP)

    async def sleep(self, _: float) -> None:
        if next(self._ticks, None) is None:
            raise asyncio.CancelledError


async def noted(codecs: Codecs, spool: Spool, ticks: int = 5) -> list[Event]:
    with contextlib.suppress(asyncio.CancelledError):
        await pipeline.note_codecs(codecs, spool, Clock(ticks))  # type: ignore[arg-type]
    return spool.events


async def test_both_changes_become_events_in_order() -> None:
    first, second = await noted(Codecs(DISABLED, BACK), Spool(0))
    assert (first.name, second.name) == ("codec_disabled", "codec_enabled")
    assert first.at_ms == 1_755_636_688_000
    assert json.loads(first.detail) == {"codec": "test/a@1", "pause_s": 600, "message": "interrupted"}


async def test_a_card_that_refuses_gets_each_event_again_and_once() -> None:
    events = await noted(Codecs(DISABLED, BACK), Spool(3))
    assert [event.name for event in events] == ["codec_disabled", "codec_enabled"]


async def test_nothing_is_noted_while_nothing_changes() -> None:
    assert await noted(Codecs(), Spool(0)) == []
