"""What the hub has said of each batch: nothing, that it has it, or with proof that it is ours (decision 010)."""

from __future__ import annotations

import apsw

from gateway.spool.recovery import PROVEN
from wire.ack import Ack

_SAID = 1  # of `header.confirmed`: the hub says that it has it, above its watermark

# `IN`, not `<`: only so does SQLite go straight to the range in `header_told`.
_CONFIRM = """
UPDATE header SET confirmed = ? WHERE epoch = ? AND seq BETWEEN ? AND ? AND confirmed IN (0, ?) AND gone = ''
"""
_UNCONFIRM = """
UPDATE header SET confirmed = 0 WHERE epoch = ? AND seq BETWEEN ? AND ? AND confirmed IN (1, 2) AND gone = ''
"""
_UNSAY = "UPDATE header SET confirmed = 0 WHERE epoch = ? AND confirmed = ? AND gone = ''"
_FORGET_GONE = "DELETE FROM header WHERE epoch = ? AND seq <= ? AND gone != ''"


def mark(db: apsw.Connection, epoch: str, ack: Ack, proven: int) -> None:
    """Mark what the hub has, and unmark what a restored hub lacks."""
    highest = max(ack.highest, ack.through)
    db.execute(_UNCONFIRM, (epoch, highest + 1, 2**62))
    first = 0
    for hole, end in (*ack.missing, (highest + 1, highest + 1)):
        db.execute(_CONFIRM, (_SAID, epoch, first, hole - 1, 0))
        if hole <= highest:
            db.execute(_UNCONFIRM, (epoch, max(hole, ack.through + 1), end))
        first = end + 1
    db.execute(_CONFIRM, (PROVEN, epoch, 0, proven, _SAID))
    db.execute(_FORGET_GONE, (epoch, proven))


def unsay(db: apsw.Connection, epoch: str) -> None:
    """Take back what was said and not proven: somebody else's batches may have been meant."""
    db.execute(_UNSAY, (epoch, _SAID))
