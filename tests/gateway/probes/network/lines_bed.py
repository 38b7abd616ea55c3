"""What the tests of lines share: a reach to a far end on loopback, and a small world of two network namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from gateway.clock import SystemClock
from gateway.probes.network.budget import Budget
from gateway.probes.network.reach import Reach, Target, Trust
from gateway.probes.network.settings import Page
from gateway.probes.network.way import Way
from simulators.lines import FarEnd, stand

MISSING: Final = (
    "LEFT OUT: no network namespaces here (root, iproute2, nftables): layers of a real line were not proved"
)
HAMLET, ROUTER = "10.77.0.2", "10.77.0.1"
FIRST, SECOND = "198.51.100.10", "198.51.100.11"  # TEST-NET-2 (RFC 5737): two hosts of the world
PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_CLONE_NEWNET: Final = 0x40000000
T = TypeVar("T")


def way(interface: str = "", limit: int = 0, path: Path | None = None) -> Way:
    return Way(Budget(SystemClock(), limit, path), interface)


def reach(
    resolvers: tuple[str, ...], targets: tuple[str, ...], pages: tuple[Page, ...], trust: Trust | None = None
) -> Reach:
    return Reach(
        clock=SystemClock(),
        trust=trust or Trust(),
        resolvers=resolvers,
        hostname="known.example",
        absent_below="example",
        targets=tuple(Target.parse(one) for one in targets),
        pages=pages,
        connects=3,
        lossy_percent=20.0,
        slow_ms=5_000.0,  # a slow machine is no slow line
    )


def world_reach() -> Reach:
    pages = (Page(url=f"http://{FIRST}/204"), Page(url=f"http://{SECOND}/known", body="xom\n"))
    return reach((FIRST, SECOND), (f"tcp://{FIRST}:443", f"tcp://{SECOND}:443"), pages)


def run(*words: str, text: str | None = None) -> None:
    program = shutil.which(words[0], path=PATH)
    if program is None:
        raise OSError(f"{words[0]} is not installed")
    subprocess.run([program, *words[1:]], check=True, capture_output=True, input=text, text=True)


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Do work in a thread of its own that lives in a network namespace: a thread has one of its own (setns(2))."""
    found: list[T] = []
    problem: list[BaseException] = []

    def thread() -> None:
        try:
            _enter(namespace)
            found.append(work())
        except BaseException as error:  # noqa: BLE001  # raised again in the test's own thread
            problem.append(error)

    doing = threading.Thread(target=thread)
    doing.start()
    doing.join()
    if problem:
        raise problem[0]
    return found[0]


@dataclass
class World:
    """The hamlet's namespace, a router's with the world behind it, a cable between them."""

    name: str = field(default_factory=lambda: f"xoml{secrets.token_hex(3)}")
    ends: tuple[FarEnd, FarEnd] = field(default_factory=lambda: (FarEnd(), FarEnd()))
    _stop: Callable[[], None] | None = None
    _thread: threading.Thread | None = None

    @property
    def hamlet(self) -> str:
        return f"{self.name}h"

    @property
    def router(self) -> str:
        return f"{self.name}r"

    def lay(self) -> None:
        run("ip", "netns", "add", self.hamlet)
        run("ip", "netns", "add", self.router)
        run(
            "ip",
            "link",
            "add",
            "line0",
            "netns",
            self.hamlet,
            "type",
            "veth",
            "peer",
            "name",
            "out0",
            "netns",
            self.router,
        )
        for address in (FIRST, SECOND):
            run("ip", "-n", self.router, "addr", "add", f"{address}/32", "dev", "lo")
        run("ip", "-n", self.router, "addr", "add", f"{ROUTER}/24", "dev", "out0")
        for namespace, link in (
            (self.router, "lo"),
            (self.router, "out0"),
            (self.hamlet, "lo"),
            (self.hamlet, "line0"),
        ):
            run("ip", "-n", namespace, "link", "set", link, "up")
        run("ip", "-n", self.hamlet, "addr", "add", f"{HAMLET}/24", "dev", "line0")
        run("ip", "-n", self.hamlet, "route", "add", "default", "via", ROUTER)
        self._open()

    def cut(self) -> None:
        if self._stop is not None and self._thread is not None:
            self._stop()
            self._thread.join()
        for namespace in (self.hamlet, self.router):
            with contextlib.suppress(subprocess.CalledProcessError):
                run("ip", "netns", "del", namespace)

    def rules(self, text: str) -> None:
        """Put nftables rules into the router."""
        run("ip", "netns", "exec", self.router, shutil.which("nft", path=PATH) or "nft", "-f", "-", text=text)

    def drop(self, condition: str) -> None:
        self.rules(f"table inet x {{ chain in {{ type filter hook input priority 0; {condition} drop; }}\n}}\n")

    def allow_echo(self) -> None:
        """Let everybody in the hamlet ask for an ICMP echo, as Debian's desktop and Raspberry Pi OS do."""
        allow = "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range"
        run("ip", "netns", "exec", self.hamlet, "sh", "-c", allow)

    def probe(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the hamlet."""
        return inside(self.hamlet, lambda: asyncio.run(work()))

    def _open(self) -> None:
        """Open the world: it serves in a thread of its own until the cable is cut."""
        ready, problem = threading.Event(), list[BaseException]()

        async def serve() -> None:
            stopped, loop = asyncio.Event(), asyncio.get_running_loop()
            self._stop = lambda: loop.call_soon_threadsafe(stopped.set)  # type: ignore[assignment]
            async with AsyncExitStack() as stack:
                for end, host in zip(self.ends, (FIRST, SECOND), strict=True):
                    await stand(end, stack, host)
                ready.set()
                await stopped.wait()

        def thread() -> None:
            try:
                _enter(self.router)
                asyncio.run(serve())
            except BaseException as error:  # noqa: BLE001  # raised again in the test's own thread
                problem.append(error)
                ready.set()

        self._thread = threading.Thread(target=thread)
        self._thread.start()
        ready.wait()
        if problem:
            raise problem[0]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    try:
        made.lay()
    except (OSError, subprocess.CalledProcessError) as error:
        made.cut()
        pytest.skip(f"{MISSING} ({error})")
    yield made
    made.cut()


def _enter(namespace: str) -> None:
    with Path(f"/run/netns/{namespace}").open() as handle:
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(handle.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
