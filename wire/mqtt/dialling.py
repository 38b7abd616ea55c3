"""How a socket comes about: names, TCP, TLS, each without a thread, so that giving up means giving up at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from wire.mqtt.terms import Broker

# Of a 576-byte packet, which every IPv4 line passes (RFC 879). Our SYN tells the far end.
_SMALL_SEGMENT = 536


def tls_context(broker: Broker) -> ssl.SSLContext | None:
    """Return how to check the broker, and with what to prove ourselves. Raises OSError when a file is no good."""
    if broker.tls_ca is None:
        return None
    context = ssl.create_default_context(cafile=str(broker.tls_ca))
    if broker.tls_certificate is not None:
        context.load_cert_chain(broker.tls_certificate, broker.tls_key)
    return context


async def dial(
    broker: Broker, context: ssl.SSLContext | None, patience_s: float, *, small_packets: bool = False
) -> socket.socket:
    """Return a connected, non-blocking socket; raises OSError. A dead address leaves the next one its share of time.

    `small_packets`: both ends send at most 576 bytes at a time, for a line that swallows larger ones and does not say
    so.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)
    failure: OSError = OSError(f"{broker.host} has no address")
    for family, kind, protocol, _, address in found:
        try:
            async with asyncio.timeout(patience_s / len(found)):
                return await _connected(
                    socket.socket(family, kind, protocol), address, broker.host, context, small_packets
                )
        except ssl.SSLError:
            raise  # somebody is there, and is not whom we look for
        except TimeoutError:
            failure = TimeoutError(f"{address[0]} does not answer")
        except OSError as error:
            failure = error
    raise failure


async def _connected(
    sock: socket.socket, address: Any, host: str, context: ssl.SSLContext | None, small_packets: bool
) -> socket.socket:  # fmt: skip
    with contextlib.ExitStack() as undone:
        undone.callback(sock.close)
        sock.setblocking(False)
        # We write in one piece anyway; Nagle would let an alarm wait for the acknowledgement of the batch before it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if small_packets:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SMALL_SEGMENT)
        await _connect(sock, address)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            undone.callback(sock.close)
            await _shake_hands(sock)
        undone.pop_all()
    return sock


async def _connect(sock: socket.socket, address: Any) -> None:
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except OSError as error:  # asyncio's own text names the call and not the cause
        raise OSError(error.errno, os.strerror(error.errno or 0)) from error


async def _shake_hands(sock: ssl.SSLSocket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            await _ready(sock, loop.add_reader, loop.remove_reader)
        except ssl.SSLWantWriteError:
            await _ready(sock, loop.add_writer, loop.remove_writer)
        else:
            return


async def _ready(sock: socket.socket, watch: Callable[..., None], forget: Callable[[int], bool]) -> None:
    event = asyncio.Event()
    watch(sock.fileno(), event.set)
    try:
        await event.wait()
    finally:
        forget(sock.fileno())
