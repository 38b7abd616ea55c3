"""Small files that a power cut leaves as they were or as they are now, never half."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, data: bytes, *, mode: int | None = None, owner: tuple[int, int] | None = None) -> None:
    """Replace a file as a whole, its folder made where there is none; raises OSError.

    `mode` and `owner` (user and group number) None: as the process makes files. Its content is on the card before its
    name is. Where it cannot be, the file that was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
