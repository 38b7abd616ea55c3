"""The gateway's limit: rows of one size appended to SQLite in groups, each group on the disk before the next."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

import apsw

GROUP = 100


def appends_per_s(folder: Path, row_bytes: int, rows: int = 20_000, rounds: int = 3) -> float:
    """Return the median rows/s of WAL, synchronous=FULL, a hundred rows a commit, on the file system of `folder`."""
    return median(_round(folder / f"limit-{number}.db", row_bytes, rows) for number in range(rounds))


def _round(path: Path, row_bytes: int, rows: int) -> float:
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()  # apsw stops at the first row otherwise
    db.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, body BLOB)")
    bodies = [(os.urandom(row_bytes),) for _ in range(GROUP)]
    began = time.perf_counter()
    for _ in range(rows // GROUP):
        with db:
            db.executemany("INSERT INTO row (body) VALUES (?)", bodies)
    took = time.perf_counter() - began
    db.close()
    return rows / took
