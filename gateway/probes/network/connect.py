"""Opens a connection by one way out, and sorts what went wrong."""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socket import SOCK_STREAM
from typing import Final

from gateway.probes.errors import ProbeError, sorted_os_error
from gateway.probes.network.way import Way, tcp_info
from gateway.probes.outcome import Reason

CONNECT_S: Final = 3.0  # with one repeated SYN after 1 s (RFC 6298, 2.1)
_HANDSHAKE_S: Final = 5.0
_DATE_ERRORS: Final = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED


@dataclass(frozen=True, slots=True)
class Stream:
    """An open connection, and how its first packet did: `lost` where the kernel had to repeat it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    rtt_ms: float
    lost: bool


@asynccontextmanager
async def connected(way: Way, address: str, port: int) -> AsyncIterator[Stream]:
    """Hold a TCP connection; raises ProbeError. What it took is counted."""
    loop, connection = asyncio.get_running_loop(), way.open(SOCK_STREAM)
    writer: asyncio.StreamWriter | None = None
    try:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.sock_connect(connection, (address, port))
        except TimeoutError as error:
            raise ProbeError(Reason.TIMEOUT, f"{address}:{port} takes no connection") from error
        except OSError as error:
            ours = error.errno in (errno.ENETUNREACH, errno.ENETDOWN)  # no way there is what was asked about
            reason = Reason.UNREACHABLE if ours else sorted_os_error(error)
            raise ProbeError(reason, f"{address}:{port}: {error.strerror or error}") from error
        took_ms = (time.perf_counter() - began) * 1000
        info = tcp_info(connection)
        lost = info is not None and info.repeats > 0
        reader, writer = await asyncio.open_connection(sock=connection, limit=65_536)
        yield Stream(reader, writer, info.rtt_ms if info and not lost else took_ms, lost)
    finally:
        way.spend_connection(connection)
        if writer is not None:
            writer.transport.abort()
            await asyncio.sleep(0)  # the loop closes the socket
        else:
            connection.close()


async def handshake(stream: Stream, name: str, context: ssl.SSLContext, *, dates_known: bool) -> None:
    """Do TLS over a connection and check who answers; raises ProbeError.

    Dates are not held against the other side while our own clock is not set.
    """
    try:
        async with asyncio.timeout(_HANDSHAKE_S):
            await stream.writer.start_tls(context, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        if dates_known or error.verify_code not in _DATE_ERRORS:
            raise ProbeError(Reason.TLS, f"{name}: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise ProbeError(Reason.TLS, f"{name}: {error.reason or error}") from error
    except TimeoutError as error:
        raise ProbeError(Reason.TIMEOUT, f"{name}: the connection stands, and TLS never comes") from error
    except OSError as error:
        raise ProbeError(Reason.CLOSED, f"{name}: the connection ended during TLS") from error
