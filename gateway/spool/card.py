"""The one connection that writes to the spool's file, and what it does after each kind of error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from gateway.spool.sqlite import Damaged, NotKept, SpoolError, connect, prepare, sorted_error

R = TypeVar("R")


class Card:
    """A file on a card that may fill, fail or be damaged. Every error comes out as what it means (sqlite.py)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: apsw.Connection | None = None
        self._failed = False
        self._full = False

    def hold(self, db: apsw.Connection) -> None:
        """Use this connection from now on."""
        self._db = db

    def close(self) -> None:
        """Close the connection, where there is one."""
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def suspicion(self) -> Path:
        """A file whose presence says: look closely before you open this spool."""
        return self.path.with_suffix(".suspect")

    @property
    def connection(self) -> apsw.Connection:
        """The open connection; raises SpoolError."""
        if self._db is None:
            raise SpoolError(f"{self.path} is not open")
        return self._db

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """One commit, on the card when the block has ended, or nothing of it; raises NotKept, Damaged."""
        if self._failed:
            self._reopen()
        if self._full:
            self._fold()
        db = self.connection
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(apsw.Error):  # after some errors SQLite has rolled back by itself
                if db.in_transaction:
                    db.execute("ROLLBACK")
            if isinstance(error, apsw.Error):
                raise self._sorted(error) from error
            raise

    def _sorted(self, error: apsw.Error) -> Exception:
        """Note what an error asks for beside the words: a close look at the next start, or a fresh connection."""
        meant = sorted_error(error)
        if isinstance(meant, Damaged):
            with contextlib.suppress(OSError):
                self.suspicion.touch()
        self._full = isinstance(error, apsw.FullError)
        self._failed = isinstance(meant, NotKept) and not self._full
        return meant

    def _fold(self) -> None:
        """Put the log into the file and shorten it: what finds no room behind a long log finds it there.

        SQLite would do so with a commit that succeeds, which does not come while the log has no room to grow.
        """
        with contextlib.suppress(apsw.Error):
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._full = False

    def _reopen(self) -> None:
        """After a failed write nothing that is in memory is believed: open anew, and put the log into the file.

        An fsync that failed once may succeed the second time although the pages were never written. Decision 008.
        """
        try:
            self.connection.close()
            self._db = connect(self.path)
            prepare(self._db)
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except apsw.Error as error:
            raise self._sorted(error) from error
        self._failed = False

    def one(self, sql: str, values: Any = ()) -> tuple[Any, ...] | None:
        """Return the first row of a question, None without any."""
        return self._look(lambda: self.connection.execute(sql, values).fetchone())

    def all(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a question."""
        return self._look(lambda: self.connection.execute(sql, values).fetchall())

    def _look(self, work: Callable[[], R]) -> R:
        try:
            return work()
        except apsw.Error as error:
            raise self._sorted(error) from error
