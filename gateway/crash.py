"""Crash points: where a fault case ends the process as a power cut would, so that each window is hit on purpose.

`XOM_CRASH_AT=<point>[:n]` kills the process with SIGKILL when it reaches that point for the n-th time. Without the
variable, as in the field, a point is one comparison.
"""

from __future__ import annotations

import enum
import os
import signal
from dataclasses import dataclass

from wire.configuration import ConfigError

VARIABLE = "XOM_CRASH_AT"


class Point(enum.StrEnum):
    """The windows between two steps that must not come apart."""

    BEFORE_APPEND = "before_append"
    AFTER_APPEND = "after_append"  # durable, and the broker not told yet
    BEFORE_SEAL = "before_seal"
    AFTER_SEAL = "after_seal"  # sealed, and delivery not told yet
    BEFORE_PUBLISH = "before_publish"
    AFTER_PUBLISH = "after_publish"
    BEFORE_CONFIRM = "before_confirm"  # the hub's word is believed, and not noted yet
    AFTER_CONFIRM = "after_confirm"
    BEFORE_TRIM = "before_trim"


@dataclass(slots=True)
class _Armed:
    point: Point
    left: int


_armed: _Armed | None = None


def arm(setting: str) -> None:
    """Take `<point>[:n]`, "" for none; raises ConfigError."""
    global _armed
    name, _, nth = setting.partition(":")
    try:
        _armed = _Armed(Point(name), int(nth or 1)) if setting else None
    except ValueError as error:
        raise ConfigError(f"{VARIABLE}={setting}: it is <point>[:n], the points are {', '.join(Point)}") from error


def reach(point: Point) -> None:
    """Die here when the run asks for it."""
    if _armed is None or _armed.point is not point:
        return
    _armed.left -= 1
    if _armed.left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
