"""`python -m tests.faults.codec_broken SWITCH [limits]`: the codec worker with one guarantee switched off.

The switches live here and not in the product: no worker in a hamlet runs without its limits on request.
"""

from __future__ import annotations

import enum
import os
import signal
import sys
from collections.abc import Callable

from codec import contexts, engine, worker


class Switch(enum.StrEnum):
    """A guarantee that can be switched off."""

    NONE = "none"
    NO_LIMITS = "no_limits"  # neither the engine's limits nor the timer behind them
    NO_WALLS = "no_walls"  # no filter of system calls
    NO_FREEZE = "no_freeze"  # a kept context without frozen built-ins, whose top level has run once


def no_limits() -> None:
    """Let a codec have what it takes."""

    def unlimited(limits: contexts.Limits) -> contexts.Native:
        import _quickjs

        return _quickjs.Context()

    for module in (engine, contexts):
        setattr(module, "new_context", unlimited)  # noqa: B010
    setattr(signal, "setitimer", lambda *_: (0.0, 0.0))  # noqa: B010


def no_walls() -> None:
    """Leave the process all system calls."""
    setattr(worker, "confine", lambda _: "")  # noqa: B010


def no_freeze() -> None:
    """Keep a context as it is after a frame."""
    setattr(engine, "freeze", lambda _: None)  # noqa: B010


THROW: dict[Switch, Callable[[], None]] = {
    Switch.NONE: lambda: None,
    Switch.NO_LIMITS: no_limits,
    Switch.NO_WALLS: no_walls,
    Switch.NO_FREEZE: no_freeze,
}


def attempts() -> dict[str, str]:
    """Try what a codec that had broken out of the engine would try; returns each with the error, or "did it"."""
    import socket

    tried = {
        "open a file": lambda: os.open("/etc/hostname", os.O_RDONLY),
        "write a file": lambda: os.open("/tmp/xom-escape", os.O_CREAT | os.O_WRONLY, 0o600),
        "list a folder": lambda: list(os.scandir("/")),
        "open a socket": lambda: socket.socket(),
        "start a process": lambda: os.fork() or os._exit(0),
        "run a program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "signal the parent": lambda: os.kill(os.getppid(), 0),
        "read the parent's memory": lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
    }
    return {name: _tried(attempt) for name, attempt in tried.items()}


def _tried(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "did it"


if __name__ == "__main__":
    THROW[Switch(sys.argv.pop(1))]()
    if sys.argv[1:] == ["attempts"]:
        import socket  # noqa: F401 - what is imported later would fail for want of a file

        import msgspec

        worker.prepare(engine.Limits())
        getattr(worker, "confine")(512 << 20)  # noqa: B009 - as it is now
        sys.stdout.write(msgspec.json.encode(attempts()).decode())
        sys.stdout.flush()
        os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.main()
