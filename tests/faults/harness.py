"""What every fault case shares: the oracle, one printed line per case, crash points, broken switches, polling.

The oracle lives outside the system under test: it knows what was produced and what the system said it had stored. A
broken switch is a name of a guarantee that is switched off for one run, always from the tests' side: the product has no
way to lose data on request. A case that still passes with its switch thrown proves nothing.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import pytest

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")

_POLL_S = 0.02
CRASHED = -signal.SIGKILL  # what `Popen.returncode` says of a process that a crash point or `kill -9` ended


# ---- what is set from outside


FULL = "XOM_FAULT_FULL" in os.environ  # tier F: scripts/faults sets it
full_tier = pytest.mark.skipif(not FULL, reason="tier F, takes minutes: scripts/faults runs it")


def trials(quick: int, full: int | None = None) -> int:
    """How many trials a case makes: XOM_FAULT_TRIALS, or its tier's number."""
    return int(os.environ.get("XOM_FAULT_TRIALS", full if FULL and full is not None else quick))


def seed(default: int) -> int:
    """A case's seed: XOM_FAULT_SEED replays a failing line, else the case's own number."""
    return int(os.environ.get("XOM_FAULT_SEED", default))


# ---- the oracle


@dataclass(slots=True)
class Oracle(Generic[Key]):
    """What was produced, and what the system said it had stored (`promised`)."""

    produced: set[Key] = field(default_factory=set)
    promised: set[Key] = field(default_factory=set)

    def produce(self, *keys: Key) -> None:
        """Note what goes into the system."""
        self.produced.update(keys)

    def promise(self, *keys: Key) -> None:
        """Note what the system says it has: from now on it may not be lost."""
        self.produced.update(keys)
        self.promised.update(keys)

    def judge(self, stored: Iterable[Key], *, explained: Collection[Key] = ()) -> Judgement[Key]:
        """Compare with what is there; `explained` is what gap records account for."""
        found = Counter(stored)
        return Judgement(
            stored=len(found),
            lost=self.promised - set(found) - set(explained),
            duplicate={key for key, times in found.items() if times > 1},
            invented=set(found) - self.produced,
        )


@dataclass(frozen=True, slots=True)
class Judgement(Generic[Key]):
    """The oracle's word on one state of the system."""

    stored: int
    lost: set[Key]
    duplicate: set[Key]
    invented: set[Key]


# ---- the line


@dataclass(slots=True, kw_only=True)
class Case:
    """One case's tally. `close` prints its line and fails when the standing verdict does not hold."""

    id: str
    seed: int
    trials: int = 0
    stored: int = 0
    lost: int = 0
    duplicate: int = 0
    gaps: int = 0
    recovery_s: float = 0.0
    notes: list[str] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)  # crash points that really were hit

    @property
    def random(self) -> random.Random:
        """A fresh generator with this case's seed."""
        return random.Random(self.seed)

    def recovered(self, seconds: float) -> None:
        """Note how long one recovery took; the worst is printed."""
        self.recovery_s = max(self.recovery_s, seconds)

    def take(self, judgement: Judgement[Key]) -> None:
        """Add an oracle's word."""
        self.stored += judgement.stored
        self.lost += len(judgement.lost)
        self.duplicate += len(judgement.duplicate)
        if judgement.invented:
            self.notes.append(f"invented {len(judgement.invented)}")

    @property
    def line(self) -> str:
        """The one line."""
        parts = [
            f"case={self.id} seed={self.seed} trials={self.trials} stored={self.stored} lost={self.lost}",
            f"duplicate={self.duplicate} gaps={self.gaps} worst_recovery_s={self.recovery_s:.2f}",
        ]
        if self.reached:
            parts.append("points=" + ",".join(f"{point}:{times}" for point, times in sorted(self.reached.items())))
        return " ".join([*parts, *self.notes])

    def print(self) -> None:
        """Print the line, also to the file that XOM_FAULT_REPORT names."""
        print(f"\n{self.line}")  # noqa: T201 - the line is the result
        report = os.environ.get("XOM_FAULT_REPORT")
        if report:
            with Path(report).open("a", encoding="utf-8") as lines:
                lines.write(self.line + "\n")

    def close(self, *, points: Collection[str] = ()) -> None:
        """Print the line; then nothing may be lost, doubled or invented, and each of `points` must have been hit."""
        self.print()
        assert (self.lost, self.duplicate, self.notes) == (0, 0, []), self.line
        missed = set(points) - set(self.reached)
        assert not missed, f"these crash points were never reached: {sorted(missed)}; {self.line}"


# ---- crash points, polling, processes


def crash_at(point: str, nth: int = 1) -> dict[str, str]:
    """The environment that makes a process kill itself when it reaches a point for the n-th time."""
    return {"XOM_CRASH_AT": f"{point}:{nth}"}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without anything that steers xom, and with `extra`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("XOM_")} | dict(extra or {})


def poll(
    what: str, probe: Callable[[], T | None], *, deadline_s: float = 60.0, about: Callable[[], str] = lambda: ""
) -> T:
    """Return the probe's first answer that is neither None nor False.

    At the deadline it fails, naming what it awaited; `about` tells the reader what there was instead.
    """
    end = time.monotonic() + deadline_s
    while True:
        answer = probe()
        if answer is not None and answer is not False:
            return answer
        assert time.monotonic() < end, f"still waiting after {deadline_s:.0f} s: {what} {about()}"
        time.sleep(_POLL_S)


def end(process: subprocess.Popen[bytes]) -> int:
    """Make sure that a process which we started is gone; returns its exit code."""
    if process.poll() is None:
        process.kill()
    return process.wait(timeout=30)
