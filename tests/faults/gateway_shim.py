"""A card that fails on request under a real process: the C library in front of libc, and its orders."""

from __future__ import annotations

import enum
import mmap
import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

from tests.faults.harness import poll

_SOURCE = Path(__file__).with_name("failing_card.c")
_NUMBERS = struct.Struct("8q")
_FOLDER, _NAME = 256, 64
_SIZE = _NUMBERS.size + _FOLDER + _NAME
_SEEN, _FIRED = 6 * 8, 7 * 8


class Call(enum.IntFlag):
    """What the process asks of the card."""

    WRITE = 1
    SYNC = 2
    OPEN = 4


class Answer(enum.IntEnum):
    """How the card answers."""

    EIO = 1
    ENOSPC = 2
    SHORT = 3
    DELAY = 4
    DIE = 5  # the process is killed in front of the call


class FailingCard:
    """Orders for every process that was started with `environment`; they may change while it runs."""

    def __init__(self, folder: Path) -> None:
        self._control = folder / "failing-card.orders"
        self._library = folder / "failing_card.so"
        self._control.write_bytes(bytes(_SIZE))
        build(self._library)

    def __enter__(self) -> FailingCard:
        with self._control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._map.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to have this card."""
        return {"LD_PRELOAD": str(self._library), "FAILING_CARD": str(self._control)}

    def order(
        self, where: Path, calls: Call, answer: Answer, *, nth: int = 1, times: int = 1, delay_s: float = 0.0,
        name: str = "",
    ) -> None:  # fmt: skip
        """From now on the `nth` such call, and `times - 1` after it (0: for ever), on a file under `where`."""
        self.heal()
        self._map[_NUMBERS.size :] = str(where).encode().ljust(_FOLDER, b"\0") + name.encode().ljust(_NAME, b"\0")
        numbers = _NUMBERS.pack(0, calls, nth, times, answer, int(delay_s * 1e6), 0, 0)
        self._map[8 : _NUMBERS.size] = numbers[8:]
        self._map[0:8] = (1).to_bytes(8, "little")

    def heal(self) -> None:
        """Answer as a good card does."""
        self._map[0:8] = bytes(8)

    @property
    def fired(self) -> int:
        """How many calls were answered so since the last order."""
        return int.from_bytes(self._map[_FIRED : _FIRED + 8], "little")

    def wait_until_fired(self, times: int = 1, deadline_s: float = 30.0) -> None:
        """Wait until the order has been carried out."""
        poll(f"the card to fail {times} times", lambda: self.fired >= times, deadline_s=deadline_s)


def build(library: Path) -> None:
    """Compile it; skips, saying why, where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("LEFT OUT: no card failed: a C compiler is missing (scripts/install-system-packages)")
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(_SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "fatal error" in done.stderr and "No such file" in done.stderr:
        pytest.skip(f"LEFT OUT: no card failed: this machine has no C library headers (libc6-dev): {done.stderr}")
    assert not done.returncode, done.stderr
