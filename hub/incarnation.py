"""Whether the database is the one that we announced acknowledgements from, or an older copy of it.

What was announced is noted outside the database, in `hub.data`. A database behind that note was restored: the hub then
begins a new incarnation, and the gateways send again what the copy lacks. The rule is decision 009.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from hub.store.database import Database
from hub.store.identity import Mark, begin_incarnation, count_start, read_mark

log = structlog.get_logger(__name__)


def restored(announced: Mark | None, found: Mark) -> str | None:
    """Return why the database must have been restored, None when it continues what was announced. Pure."""
    if announced is None:
        return "nothing notes what was announced from this database" if found.batch_no else None
    if found.history != announced.history:
        return (
            f"the database has another history ({found.history}, it was {announced.history}): it was promoted, "
            "recovered to a point in time, or brought to another server"
        )
    for what in ("incarnation", "starts", "batch_no"):
        here, then = getattr(found, what), getattr(announced, what)
        if here < then:
            return f"the database is behind what was announced: {what} {here}, announced was {then}"
    return None


@dataclass(slots=True)
class Announced:
    """The note. It is written before an acknowledgement goes out, and without fsync: losing it costs a new incarnation,
    which frees nothing and loses nothing.
    """

    path: Path
    mark: Mark | None = None
    _lost: bool = False

    def read(self) -> None:
        """Read the note; one that is missing or torn counts as none."""
        try:
            self.mark = msgspec.json.decode(self.path.read_bytes(), type=Mark)
        except (OSError, msgspec.MsgspecError):
            self.mark = None

    def write(self, mark: Mark) -> None:
        """Replace the note in one step."""
        self.mark = mark
        fresh = self.path.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.encode(mark))
            fresh.replace(self.path)
        except OSError as error:
            if not self._lost:  # said once, not with every acknowledgement
                log.warning("what is announced cannot be noted", path=str(self.path), problem=str(error))
            self._lost = True
        else:
            self._lost = False

    def announce(self, batch_no: int) -> None:
        """Note that everything up to this batch is about to be acknowledged."""
        if self.mark is not None and batch_no > self.mark.batch_no:
            self.write(msgspec.structs.replace(self.mark, batch_no=batch_no))


async def enter(database: Database, announced: Announced, now: datetime) -> int:
    """Begin a start of the hub: find out whether the database was restored, and return the incarnation to serve."""
    announced.read()
    await renew(database, announced, now)
    mark = await count_start(database)
    announced.write(mark)
    return mark.incarnation


async def renew(database: Database, announced: Announced, now: datetime) -> int:
    """Begin a new incarnation if the database was restored; returns the one that counts. Raises StoreUnavailable."""
    then = announced.mark  # before we look: acknowledgements go on meanwhile
    found = await read_mark(database)
    reason = restored(then, found)
    if reason is None:
        return found.incarnation
    incarnation = await begin_incarnation(database, now, reason, above=then)
    log.warning("a new incarnation begins; gateways refill what is missing", incarnation=incarnation, reason=reason)
    announced.write(await read_mark(database))
    return incarnation
