"""A bad line: two TUN devices, one here and one in a namespace, and between them a thread that treats packets badly.

The kernels tried have no netem. So the thread reads IP packets from one device and writes them to the other: later, at
a limited rate, some of them not at all. It also counts the bytes, which is what a metered SIM is paid by.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field

from tests.faults.network_namespace import Cable, run

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_TUN = "/dev/net/tun"
_QUEUE_S = 2.0  # what a modem holds back before it drops
_TCP = 6
Flow = tuple[bytes, bytes]  # the two ends, address and port each, the smaller one first


@dataclass(slots=True)
class Way:
    """One direction's conditions, and what it has carried."""

    loss: float = 0.0
    bits_per_s: float | None = None
    delay_s: float = 0.0
    largest: int | None = None  # bytes of a packet; a larger one is dropped, and nobody is told (no ICMP)
    cut: bool = False
    packets: int = 0
    octets: int = 0
    dropped: int = 0
    _free_at: float = 0.0

    def due(self, packet: bytes, now: float, chance: random.Random) -> float | None:
        """Return when this packet comes out at the other end, None when it never does."""
        if not self.cut:  # a radio without a carrier sends nothing that anybody counts
            self.packets += 1
            self.octets += len(packet)
        too_large = self.largest is not None and len(packet) > self.largest
        if self.cut or too_large or chance.random() < self.loss:
            self.dropped += 1
            return None
        if self.bits_per_s is not None:
            began = max(now, self._free_at)
            if began - now > _QUEUE_S:
                self.dropped += 1
                return None
            now = self._free_at = began + len(packet) * 8 / self.bits_per_s
        return now + self.delay_s


@dataclass(slots=True)
class Line:
    """The bad line from us (`near`) to a cable's far namespace (`far`). `up` leads there, `down` back."""

    cable: Cable
    seed: int = 0
    up: Way = field(default_factory=Way)
    down: Way = field(default_factory=Way)
    _flows: set[Flow] = field(default_factory=set)
    _forgotten: set[Flow] = field(default_factory=set)
    _fds: list[int] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def near(self) -> str:
        return self.cable.near.replace("10.213.", "10.214.")

    @property
    def far(self) -> str:
        return self.cable.far.replace("10.213.", "10.214.")

    @property
    def device(self) -> str:
        return f"{self.cable.name}n"

    @property
    def octets(self) -> int:
        """What a meter would say: both directions, IP headers, repeats, and what the line then loses."""
        return self.up.octets + self.down.octets

    def lay(self) -> None:
        """Make both devices and start; raises OSError or CalledProcessError where that is not possible."""
        far = f"{self.cable.name}f"
        try:
            self._fds = [_tun(self.device), _tun(far)]
            run("ip", "link", "set", far, "netns", self.cable.name)
            run("ip", "addr", "add", self.near, "peer", f"{self.far}/32", "dev", self.device)
            run("ip", "link", "set", self.device, "up")
            self.cable.inside("ip", "addr", "add", self.far, "peer", f"{self.near}/32", "dev", far)
            self.cable.inside("ip", "link", "set", far, "up")
            self.cable.inside("ip", "route", "add", "default", "dev", far)
        except BaseException:
            self.cut()
            raise
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Take it away."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)
        for fd in self._fds:
            os.close(fd)  # the devices go with it
        self._fds = []

    # ---- what it can be told

    def degrade(self, *, loss: float = 0.0, bits_per_s: float | None = None, delay_s: float = 0.0) -> None:
        """Set both directions' conditions."""
        for way in (self.up, self.down):
            way.loss, way.bits_per_s, way.delay_s, way.cut = loss, bits_per_s, delay_s, False

    def heal(self) -> None:
        """Carry everything at once again."""
        self.degrade()
        self.up.largest = self.down.largest = None

    def forget_flows(self) -> None:
        """Lose the table, as a NAT does: packets of the connections that stand reach nobody from now on."""
        self._forgotten |= self._flows

    def move(self) -> None:
        """Give us another address, as a modem does when it dials in anew."""
        old = self.near
        new = f"{old.rpartition('.')[0]}.5"
        run("ip", "addr", "del", old, "peer", f"{self.far}/32", "dev", self.device)
        run("ip", "addr", "add", new, "peer", f"{self.far}/32", "dev", self.device)

    # ---- the thread

    def _carry(self) -> None:
        chance, order = random.Random(self.seed), itertools.count()
        here, there = self._fds
        ways = {here: (self.up, there), there: (self.down, here)}
        waiting: list[tuple[float, int, int, bytes]] = []
        while not self._stop.is_set():
            pause = min(0.05, max(0.0, waiting[0][0] - time.monotonic())) if waiting else 0.05
            for fd in select.select(self._fds, [], [], pause)[0]:
                packet = os.read(fd, 65_536)
                way, onward = ways[fd]
                due = None if self._is_forgotten(packet) else way.due(packet, time.monotonic(), chance)
                if due is not None:
                    heapq.heappush(waiting, (due, next(order), onward, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, onward, packet = heapq.heappop(waiting)
                os.write(onward, packet)

    def _is_forgotten(self, packet: bytes) -> bool:
        if packet[0] >> 4 != 4 or packet[9] != _TCP:
            return False
        head = (packet[0] & 15) * 4
        ends = (packet[12:16] + packet[head : head + 2], packet[16:20] + packet[head + 2 : head + 4])
        flow = (min(ends), max(ends))
        self._flows.add(flow)
        return flow in self._forgotten


def _tun(name: str) -> int:
    fd = os.open(_TUN, os.O_RDWR)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(fd)
        raise
    return fd


UNAVAILABLE = (OSError, subprocess.CalledProcessError)
