"""A small process: what the daemon leaves out of its memory, and what it gives back once it has started.

`bench gateway` measures both. A gateway shares a Raspberry Pi with ChirpStack and its database.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(module: str) -> Iterator[None]:
    """Let nobody import a module in here, so that libraries take the way they have for its absence; afterwards all may."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # the import system reads None as "not there"
    try:
        yield
    finally:
        del sys.modules[module]


def import_logging() -> None:
    """Import structlog without rich, which it would load for tracebacks in colour: 7 MB and 0.1 s."""
    with without("rich"):
        importlib.import_module("structlog")


def give_back() -> None:
    """Return to the system what starting needed and nothing holds any more (glibc only): 4 MB."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
