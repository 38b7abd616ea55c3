"""The command `xom` in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

_DEADLINE_S = 120.0


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment without anything of ours in it but these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XOM_")}
    return kept | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"} | variables


def xom(*arguments: str | Path, code: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `xom` to its end; `code` runs before it in the same process."""
    start = ["-c", f"{code}\nfrom xom.__main__ import main; main()"] if code else ["-m", "xom"]
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )


def refused(ended: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused command says."""
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    return line


async def xom_beside(*arguments: str | Path, **variables: str) -> asyncio.subprocess.Process:
    """Start `xom` beside the test."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "xom",
        *map(str, arguments),
        env=clean_environment(**variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
