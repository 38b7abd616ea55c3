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


def import_without(absent: str, *modules: str) -> None:
    """Import modules as if another one, which they only want, were not installed."""
    with _hidden(absent):
        for module in modules:
            importlib.import_module(module)


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # how the import system writes "not there"
    try:
        yield
    finally:
        del sys.modules[module]


def give_back() -> None:
    """Return to the system what starting needed and nothing holds any more (glibc only): 4 MB."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
