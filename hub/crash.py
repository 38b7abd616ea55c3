"""Crash points: where a test lets a real hub die, to show that no instant of the line loses or doubles a batch.

`XOM_CRASH_AT=<point>[:n]` in the environment arms one: the process kills itself (SIGKILL, nothing is flushed) when it
gets there the n-th time. Without the variable nothing here does anything. reference/faults.md, B3 and B4.
"""

from __future__ import annotations

import enum
import os
import signal
from collections.abc import Callable, Mapping
from typing import Final

from wire.configuration import ConfigError

VARIABLE: Final = "XOM_CRASH_AT"


class Point(enum.StrEnum):
    """An instant in a batch's way through the hub, in order."""

    RECEIVED = "received"  # taken from the broker, nothing looked at yet
    BEFORE_COMMIT = "before_commit"  # every statement of the transaction is done
    AFTER_COMMIT = "after_commit"  # durable; neither broker nor gateway has been told
    AFTER_PUBACK = "after_puback"  # the broker has been told, the gateway has not
    BEFORE_ACK = "before_ack"  # the acknowledgement is about to be signed
    AFTER_ACK = "after_ack"  # the broker has the acknowledgement


Reach = Callable[[Point], None]


def nowhere(_: Point) -> None:
    """Go on: what every run does that is not a test of crashes."""


def crash_points(environment: Mapping[str, str] = os.environ) -> Reach:
    """Return what to call at each point; raises ConfigError for a point that does not exist."""
    wanted = environment.get(VARIABLE, "")
    if not wanted:
        return nowhere
    name, _, number = wanted.partition(":")
    if name not in set(Point) or not (number or "1").isdigit() or int(number or 1) < 1:
        known = ", ".join(Point)
        raise ConfigError(f"{VARIABLE}={wanted!r}: it is <point>[:n] with one of {known}; unset it in the field")
    return _Armed(Point(name), int(number or 1))


class _Armed:
    """Counts down to the end."""

    def __init__(self, point: Point, left: int) -> None:
        self._point = point
        self._left = left

    def __call__(self, point: Point) -> None:
        if point is self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
