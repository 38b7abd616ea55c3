"""How far back confirmed batches are kept, so that a restored hub can be refilled."""

from __future__ import annotations

import itertools
from typing import Any

import apsw

from gateway.spool.room import forget
from gateway.spool.sqlite import used_bytes

_OLDEST = "SELECT id, sealed_at_ms FROM header WHERE confirmed = 2 AND gone = '' ORDER BY id LIMIT ?"
_KEPT = """
SELECT header.id, sealed_at_ms, sum(length(bytes)) OVER (ORDER BY header.id DESC) AS newer
FROM header JOIN envelope ON envelope.id = header.id WHERE confirmed = 2 AND gone = '' ORDER BY header.id
"""


def trim(db: apsw.Connection, keep_from_ms: int, keep_bytes: int, most: int) -> int:
    """Delete confirmed batches sealed before `keep_from_ms`, and the oldest beyond `keep_bytes`; returns how many."""
    oldest_kept: list[tuple[Any, ...]] = db.execute(_OLDEST, (most,)).fetchall()
    aged = itertools.takewhile(lambda row: row[1] < keep_from_ms, oldest_kept)
    # Adding up reads all envelopes, minutes on a card: not while the whole file is smaller.
    kept: list[tuple[Any, ...]] = db.execute(_KEPT).fetchall() if used_bytes(db) > keep_bytes else []
    beyond = itertools.takewhile(lambda row: row[2] > keep_bytes, kept)
    oldest = [int(row[0]) for row in max(list(aged), list(beyond), key=len)]
    forget(db, oldest)
    return len(oldest)
