"""The line to PostgreSQL: a pool of connections, and one error for everything that loses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self

import psycopg
from psycopg import errors
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

Connection = psycopg.AsyncConnection[TupleRow]

POOL_MIN: Final = 2
READ_LIMIT_S: Final = 30
RECONNECT_S: Final = 8.0
_REMEDY: Final = (
    "Check that PostgreSQL runs and that [database] dsn names it; "
    "meanwhile the hub acknowledges nothing and tries again by itself."
)
# What a retry can mend. ReadOnlySqlTransaction: a replica that was promoted elsewhere, seen on failover.
_LOST: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,
    PoolTimeout,
    PoolClosed,
)


class StoreUnavailable(Exception):
    """The database cannot be reached, or gave up on a statement. Nothing was half stored: try again later."""

    def __init__(self, cause: str, remedy: str = _REMEDY) -> None:
        super().__init__(f"the database is not available: {cause}. {remedy}")
        self.cause = cause
        self.remedy = remedy


@contextmanager
def lost_line() -> Iterator[None]:
    """Turn every psycopg error that a retry can mend into StoreUnavailable."""
    try:
        yield
    except _LOST as error:
        raise StoreUnavailable(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


class Database:
    """A pool of connections, in autocommit, with UTC as their time zone. Open it with `open_database`."""

    def __init__(self, dsn: str, *, pool_size: int, patience_s: float) -> None:
        self.dsn = dsn
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            kwargs={"autocommit": True, "connect_timeout": 5},
            min_size=min(POOL_MIN, pool_size),
            max_size=pool_size,
            timeout=patience_s,
            # The pool doubles its waits until then and starts anew: a long outage must not cost minutes after it.
            reconnect_timeout=RECONNECT_S,
            configure=_configure,
            # A round trip per use, so that a restarted server costs one reconnection and not one failed commit each.
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

    async def __aenter__(self) -> Self:
        with lost_line():
            # The pool itself only reports that it timed out; one plain connection says why.
            async with await psycopg.AsyncConnection.connect(self.dsn, connect_timeout=5):
                pass
            await self._pool.open(wait=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit; raises StoreUnavailable, also for what fails inside the block."""
        with lost_line():
            async with self._pool.connection() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction: committed at the end of the block, or not at all."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """Lend a connection that only reads, sees one moment, and gives up on a statement after READ_LIMIT_S."""
        async with self.transaction() as connection:
            await connection.execute("set transaction isolation level repeatable read, read only")
            await connection.execute(f"set local statement_timeout = '{READ_LIMIT_S}s'")
            yield connection

    async def reachable(self, within_s: float = 2.0) -> str | None:
        """Return None when a query gets through, else the cause in words."""
        try:
            async with asyncio.timeout(within_s), self.connection() as connection:
                await connection.execute("select 1")
        except StoreUnavailable as error:
            return error.cause
        except TimeoutError:
            return f"no answer within {within_s:g} s"
        return None


@asynccontextmanager
async def open_database(dsn: str, *, pool_size: int = 8, patience_s: float = 5.0) -> AsyncIterator[Database]:
    """Open a pool of at most `pool_size` connections; raises StoreUnavailable naming cause and remedy.

    `patience_s` is how long a caller waits for a free connection before it hears StoreUnavailable.
    """
    async with Database(dsn, pool_size=pool_size, patience_s=patience_s) as database:
        yield database


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute("set timezone to 'UTC'")
