"""What the probes of `bench/probes.py` talk to: the least that answers by HTTP, TCP, UDP, and what never answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import cast

from simulators.serial_bus import Fault, SerialBus, SimInstrument

_BODY = b'{"state": "idle", "volume": 40}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_BODY), _BODY)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIns:
    """Ports on loopback, and the ports of serial buses with four instruments each, the last of them dead."""

    http: int
    silent: int
    udp: int
    silent_udp: int
    buses: tuple[str, ...]


class _Echo(asyncio.DatagramProtocol):
    def __init__(self, *, answers: bool) -> None:
        self._answers = answers
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's datagram transport is no asyncio.DatagramTransport to isinstance.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._answers and self._transport is not None:
            self._transport.sendto(data, addr)


@asynccontextmanager
async def stand_ins(buses: int) -> AsyncIterator[StandIns]:
    """Have them all while the context is open."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        ports = []
        for handler in (_http, _silent):
            server = await stack.enter_async_context(await asyncio.start_server(handler, "127.0.0.1", 0))
            ports.append(int(server.sockets[0].getsockname()[1]))
        for answers in (True, False):
            transport, _ = await loop.create_datagram_endpoint(
                lambda answers=answers: _Echo(answers=answers),  # type: ignore[misc]
                local_addr=("127.0.0.1", 0),
            )
            stack.callback(transport.close)
            ports.append(int(transport.get_extra_info("sockname")[1]))
        lines = [await stack.enter_async_context(_bus()) for _ in range(buses)]
        paths = tuple(line.line.path for line in lines)
        yield StandIns(http=ports[0], silent=ports[1], udp=ports[2], silent_udp=ports[3], buses=paths)


def _bus() -> SerialBus:
    return SerialBus([SimInstrument(at, [700, 280], Fault.DEAD if at == 4 else Fault.NONE) for at in range(1, 5)])


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANSWER)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.read()  # until the probe gives up
    except OSError:
        pass
    finally:
        writer.close()
