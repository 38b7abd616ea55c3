"""What a JSON answer says of a cluster, by the paths that the configuration names. Pure.

A word without a time is worth what its way is worth: a page that was answered just now is fresh, a retained message
may be from last year.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from gateway.probes.loudspeakers.fetch import Json
from gateway.probes.loudspeakers.finding import FINE, Check, Finding
from gateway.probes.loudspeakers.settings import Answer
from gateway.probes.outcome import Reason, State
from wire.reading import Quantity

_AHEAD_S: Final = 300.0  # clocks differ; what is further ahead was never written at that time
_MOST_LOGGED: Final = 500
_TRUE: Final = frozenset({"true", "yes", "on", "1", "ok", "online", "up", "registered", "playing", "pass", "passed"})
_FALSE: Final = frozenset({"false", "no", "off", "0", "offline", "down", "unregistered", "idle", "fail", "failed"})


def at(document: Json, path: str) -> Json:
    """Return what stands at a path such as `a.b.0.c`, None where nothing does."""
    here = document
    for step in path.split("."):
        if isinstance(here, dict):
            here = here.get(step)
        elif isinstance(here, list) and step.isascii() and step.isdigit() and int(step[:6]) < len(here):
            here = here[int(step[:6])]
        else:
            return None
    return here


def truth(value: Json) -> bool | None:
    """Return a device's yes or no, None where it is neither."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    return True if word in _TRUE else False if word in _FALSE else None


def moment_ms(value: Json) -> int | None:
    """Return a time as ms UTC: ISO 8601 with its zone, or seconds or ms since 1970. None where it is none of these."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value) or not 0 < value < 1e14:
            return None
        return round(value) if value >= 1e11 else round(value * 1000)
    if isinstance(value, str) and len(value) <= 64:
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
        return None if found.tzinfo is None else round(found.astimezone(UTC).timestamp() * 1000)
    return None


def number(value: Json) -> float | None:
    """Return a finite number, also one written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def gives(settings: Answer) -> frozenset[str]:
    """Return the checks that the named paths can speak about."""
    linked = settings.online or settings.registered or settings.last_seen
    return frozenset({"link"} if linked else set()) | frozenset({"sound"} if settings.sound else set())


def signs(settings: Answer) -> frozenset[str]:
    """Return the signs of playing that they can give."""
    kinds = {figure.evidence for figure in settings.figure if figure.evidence}
    return frozenset(kinds | ({"playing"} if settings.playing else set()))


def read(
    document: Json, settings: Answer, *, now_ms: int, seen_within_s: float, sound_within_s: float, is_fresh: bool
) -> Finding:
    """Return what the answer says. `is_fresh`: it was made for us now, and not found lying there."""
    checks: dict[str, Check] = {}
    if "link" in gives(settings):
        checks["link"] = _link(document, settings, now_ms, seen_within_s, is_fresh=is_fresh)
    if settings.sound:
        checks["sound"] = _sound(document, settings, now_ms, sound_within_s, is_fresh=is_fresh)
    figures, shown = [], dict[str, bool]()
    for figure in settings.figure:
        value = number(at(document, figure.at))
        if value is not None:
            figures.append(Quantity(figure.name, figure.unit, value * figure.scale))
            if figure.evidence:
                shown[figure.evidence] = value * figure.scale >= figure.at_least
    playing = truth(at(document, settings.playing)) if settings.playing else None
    if playing is not None:
        shown["playing"] = playing
    if not (is_fresh or _is_recent(document, settings, now_ms, seen_within_s)):
        figures, shown = [], {}  # numbers of nobody knows when are not numbers of now
    return Finding(checks=checks, figures=tuple(figures), signs=shown, played=_played(document, settings))


def aged(seen_ms: int, now_ms: int, within_s: float) -> Check:
    """Return whether a time is recent enough: too old is a failure, ahead of us is nobody's knowledge."""
    age_s = (now_ms - seen_ms) / 1000
    if age_s < -_AHEAD_S:
        return Check(State.UNKNOWN, Reason.CLOCK_SKEW, f"its time is {-age_s:.0f} s ahead of ours")
    if age_s > within_s:
        return Check(State.FAIL, Reason.STALE, f"last seen {age_s:.0f} s ago")
    return FINE


def _is_recent(document: Json, settings: Answer, now_ms: int, within_s: float) -> bool:
    seen_ms = moment_ms(at(document, settings.last_seen)) if settings.last_seen else None
    return seen_ms is not None and aged(seen_ms, now_ms, within_s).state is State.OK


def _link(document: Json, settings: Answer, now_ms: int, within_s: float, *, is_fresh: bool) -> Check:
    """A no counts whenever it was said; a yes only with a time, or from a page made for us now."""
    for path in (settings.online, settings.registered):
        if path:
            said = truth(at(document, path))
            if said is None:
                return Check(State.UNKNOWN, Reason.NOT_THE_PROTOCOL, f"nothing to be read at {path}")
            if not said:
                return Check(State.FAIL, Reason.NOT_LINKED, f"{path} says no")
    if settings.last_seen:
        seen_ms = moment_ms(at(document, settings.last_seen))
        if seen_ms is not None:
            return aged(seen_ms, now_ms, within_s)
        return Check(State.UNKNOWN, Reason.STALE, f"no time with its zone at {settings.last_seen}")
    return FINE if is_fresh else Check(State.UNKNOWN, Reason.STALE, "it carries no time, so nobody knows since when")


def _sound(document: Json, settings: Answer, now_ms: int, within_s: float, *, is_fresh: bool) -> Check:
    passed = truth(at(document, settings.sound))
    if passed is None:
        return Check(State.UNKNOWN, Reason.NOT_THE_PROTOCOL, f"nothing to be read at {settings.sound}")
    tested_ms = moment_ms(at(document, settings.sound_at)) if settings.sound_at else None
    if tested_ms is None and (settings.sound_at or not is_fresh):
        return Check(State.UNKNOWN, Reason.STALE, "the test carries no time")
    return heard(passed=passed, tested_ms=now_ms if tested_ms is None else tested_ms, now_ms=now_ms, within_s=within_s)


def heard(*, passed: bool, tested_ms: int, now_ms: int, within_s: float) -> Check:
    """Return what a sound test means: one that is too old says neither yes nor no."""
    recent = aged(tested_ms, now_ms, within_s)
    if recent.reason is Reason.STALE:
        return Check(State.UNKNOWN, Reason.STALE, f"the last sound test is too old: {recent.said}")
    if recent.state is not State.OK:
        return recent
    return FINE if passed else Check(State.FAIL, Reason.NOT_HEARD, "the sound test failed")


def _played(document: Json, settings: Answer) -> tuple[tuple[int, int], ...] | None:
    if not settings.play_log:
        return None
    entries = at(document, settings.play_log)
    if not isinstance(entries, list):
        return None
    spans = []
    for entry in entries[-_MOST_LOGGED:]:
        if isinstance(entry, Mapping):
            start, end = moment_ms(at(entry, settings.log_start)), moment_ms(at(entry, settings.log_end))
            if start is not None and end is not None and start < end:
                spans.append((start, end))
    return tuple(spans)
