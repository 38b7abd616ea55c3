"""A sign of life for systemd: `READY=1` after the start, then `WATCHDOG=1`; a process that hangs is started again.

The protocol is one datagram to the socket in NOTIFY_SOCKET (sd_notify(3)); outside systemd nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Watchdog:
    """What systemd asked for: where to, and how often at least (s; None: it does not watch)."""

    address: str
    within_s: float | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Watchdog:
        """Read NOTIFY_SOCKET and WATCHDOG_USEC, which is ours only when WATCHDOG_PID is (sd_watchdog_enabled(3))."""
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        text = environment.get("WATCHDOG_USEC", "")
        within_s = int(text) / _MICROSECONDS if ours and text.isdecimal() and int(text) else None
        return cls(environment.get("NOTIFY_SOCKET", ""), within_s)

    def tell(self, word: str) -> None:
        """Send one word; a socket that is not there is no reason to stop."""
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(word.encode(), address)
            except OSError:
                return

    async def keep_alive(self, works: Callable[[], Awaitable[object]]) -> None:
        """Say that we live, twice as often as asked, each time after the spool's thread has answered (`works`)."""
        self.tell("READY=1")
        while self.within_s is not None:
            await works()
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.within_s / 2)
