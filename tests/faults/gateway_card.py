"""Cards that a test can cut, fill and ruin: ext4 in a file, mounted through a loop device, and small tmpfs.

The file lies on an XFS of its own, where a copy by reflink is one instant and not a slow read across a card that is
being written (faults.md, I 5). Whatever the kernel has not handed to the card yet is not in the copy: a power cut.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def run(*command: str) -> None:
    """Run a program of the system; raises with its own words."""
    done = subprocess.run(command, env=os.environ | {"PATH": _PATH}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


class Shelf:
    """A folder whose files can be copied in one instant."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def card(self) -> Path:
        """Make a fresh card; returns its image."""
        image = self._next()
        with image.open("wb") as file:
            file.truncate(64 << 20)
        run("mkfs.ext4", "-q", "-F", "-O", "^resize_inode", str(image))
        return image

    def cut(self, image: Path) -> Path:
        """Return what is on a card at this instant, whoever writes."""
        copy = self._next()
        run("cp", "--reflink=always", str(image), str(copy))
        return copy

    def _next(self) -> Path:
        self._count += 1
        return self._folder / f"card-{self._count}.img"


@contextmanager
def shelf(folder: Path) -> Iterator[Shelf]:
    """Prepare the XFS; skips, saying why, where this machine cannot."""
    missing = [name for name in ("mkfs.xfs", "mkfs.ext4", "mount") if shutil.which(name, path=_PATH) is None]
    if missing:
        pytest.skip(f"LEFT OUT: no power was cut: {', '.join(missing)} missing (scripts/install-system-packages)")
    image, place = folder / "shelf.img", folder / "shelf"
    with image.open("wb") as file:
        file.truncate(1 << 30)
    run("mkfs.xfs", "-q", "-m", "reflink=1", str(image))
    try:
        with mounted(image, place):
            yield Shelf(place)
    finally:
        image.unlink()


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """Mount an image through a loop device; its journal is replayed as after a cut."""
    place.mkdir(exist_ok=True)
    _mount("-o", "loop", str(image), str(place))
    try:
        yield place
    finally:
        _unmount(place)


@contextmanager
def small_card(place: Path, options: str) -> Iterator[Path]:
    """A tmpfs with the size or the number of files of `options`."""
    place.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(place))
    try:
        yield place
    finally:
        run("umount", "-l", str(place))


def _unmount(place: Path) -> None:
    """Let go of a mount; where a process in another mount namespace holds a copy of it, once that one ends."""
    try:
        run("umount", str(place))
    except OSError:
        run("umount", "-l", str(place))


def _mount(*arguments: str) -> None:
    try:
        run("mount", *arguments)
    except OSError as error:
        pytest.skip(f"LEFT OUT: nothing was proved on a card: root with loop devices or tmpfs is needed: {error}")


def fill(place: Path, *, leave: int = 0) -> Path:
    """Fill a card to the last block, less `leave` bytes; returns the file that does it."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
        if leave:
            os.truncate(ballast, max(0, ballast.stat().st_size - leave))
    return ballast
