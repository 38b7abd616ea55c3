"""A small file system in a file: it runs full without anybody else noticing. Needs root and a loop device."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_BALLAST = "ballast"


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted image."""

    path: Path

    @property
    def free_bytes(self) -> int:
        """What can still be written."""
        return shutil.disk_usage(self.path).free

    def fill(self, *, leave_bytes: int) -> None:
        """Take all but so much of it away."""
        subprocess.run(
            ["fallocate", "-l", str(max(1, self.free_bytes - leave_bytes)), str(self.path / _BALLAST)],
            check=True, capture_output=True,
        )  # fmt: skip

    def free(self) -> None:
        """Give it back."""
        (self.path / _BALLAST).unlink()


@contextmanager
def loop_disk(case: str, megabytes: int) -> Iterator[Disk]:
    """Make, mount and at last remove an image; skips, loudly, where that is not possible."""
    # Not under pytest's own folder: PostgreSQL's account may not enter it when we are root.
    home = Path(tempfile.mkdtemp(prefix="xom-test-"))
    home.chmod(0o755)
    image, mounted = home / "image", home / "disk"
    mounted.mkdir()
    try:
        for command in (
            ["truncate", "-s", f"{megabytes}M", str(image)],
            ["mkfs.ext4", "-q", "-m", "0", str(image)],
            ["mount", "-o", "loop", str(image), str(mounted)],
        ):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"LEFT OUT: {case} needs root, ext4 and a loop device: {done.stderr.strip()}")
        try:
            yield Disk(mounted)
        finally:
            subprocess.run(["umount", str(mounted)], check=True)
    finally:
        shutil.rmtree(home)
