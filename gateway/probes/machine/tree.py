"""Reading the kernel's small files under a root that a test can build for itself. What is not there is None."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MOST: Final = 64 * 1024


def text_of(path: Path) -> str | None:
    """Return a file's text without the white space around it; None where it is not there or cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode("utf-8", "replace").strip()
    except OSError:
        return None  # a driver may also refuse to read, such as a battery that is not plugged in


def number_of(path: Path, base: int = 10) -> int | None:
    """Return a file's one number; None where there is none."""
    text = text_of(path)
    try:
        return None if text is None else int(text, base)
    except ValueError:
        return None


def folders(path: Path) -> Iterable[Path]:
    """Return what is in a class folder of sysfs, in order; nothing where the class is not there."""
    try:
        return sorted(path.iterdir())
    except OSError:
        return []
