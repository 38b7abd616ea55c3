"""Serial ports as the kernel shows them: what is plugged in, by which stable name it is found again, who has it open.

All roots are given, so that a test can build such a tree for itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.probes.limits import shown_text
from gateway.probes.machine.tree import folders, text_of

MOST_PORTS: Final = 64
_MOST_PARENTS: Final = 12
_MOST_PROCESSES: Final = 32_768
_MOST_OPEN: Final = 4_096
# Between a UART and its driver stand the kernel's own layers (serial-base, Linux 6.5 on).
_LAYERS: Final = ("port", "ctrl")
_NO_UART: Final = "0"  # PORT_UNKNOWN (linux/serial_core.h): a number that is kept for a port that is not there
# USB drivers whose ports are modems' alone. CDC ACM is not among them: LoRa concentrators and many a board use it, too,
# and what an unasked AT does to their own protocol nobody knows.
_MODEM_DRIVERS: Final = frozenset({"option", "option1", "qcserial", "qcaux", "sierra", "ipw", "hso", "GobiSerial"})
_IMEI: Final = re.compile(r"[0-9]{14,17}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Where the kernel shows itself."""

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialPort:
    """One port. `path` is its stable name, else `node`; `usb` the USB device that it belongs to, "" on board.

    `product` is what the device calls itself: anybody can make one that says anything.
    """

    node: Path
    path: Path
    driver: str = ""
    product: str = ""
    usb: str = ""
    is_console: bool = False

    @property
    def is_stable(self) -> bool:
        """Whether it has this name after the next plugging, too; what is on board keeps its own."""
        return self.path != self.node or not self.usb

    @property
    def may_be_modem(self) -> bool:
        """Whether its driver is one of modems."""
        return self.driver in _MODEM_DRIVERS


def serial_ports(tree: Tree) -> list[SerialPort]:
    """Return the ports that there are, in order."""
    names = _stable_names(tree.dev)
    consoles = (text_of(tree.sys / "class/tty/console/active") or "").split()
    found = []
    for entry in folders(tree.sys / "class/tty"):
        if not (entry / "device").exists() or text_of(entry / "type") == _NO_UART:
            continue
        node = tree.dev / entry.name
        if not node.exists():
            continue
        usb = _usb_device(entry, tree.sys)
        product = " ".join(text_of(usb / name) or "" for name in ("manufacturer", "product")) if usb else ""
        found.append(
            SerialPort(
                node=node,
                path=names.get(entry.name, node),
                driver=_driver(entry),
                product=shown_text(product).strip(),
                usb=usb.name if usb else "",
                is_console=entry.name in consoles,
            )
        )
    return found[:MOST_PORTS]


def holder(port: SerialPort, tree: Tree) -> str | None:
    """Return who has a port open: "" for nobody, None where we may not see. Our own process does not count."""
    try:
        next((tree.proc / "1" / "fd").iterdir(), None)  # who may look into the first process may look into all
    except OSError:
        return None
    node, own = port.node.resolve(), str(os.getpid())
    processes = [one for one in folders(tree.proc) if one.name.isdigit() and one.name != own]
    for process in processes[:_MOST_PROCESSES]:
        if any(_link(number) == node for number in list(folders(process / "fd"))[:_MOST_OPEN]):
            return shown_text(text_of(process / "comm") or process.name)
    return ""


def _link(path: Path) -> Path | None:
    """Return where a link leads, as it is written; None where it is none, or gone."""
    try:
        return path.readlink()
    except OSError:
        return None


def _stable_names(dev: Path) -> dict[str, Path]:
    """Return the stable name of each port: by its place, else by its make; never one that may hold an IMEI."""
    found: dict[str, Path] = {}
    for folder in ("by-path", "by-id"):
        # Newer udev gives two names by place; the one without the USB version is the older and is there on all.
        for link in sorted(folders(dev / "serial" / folder), key=lambda one: ("usbv" in one.name, one.name)):
            if folder == "by-id" and _IMEI.search(link.name):
                continue
            if (target := _link(link)) is not None:
                found.setdefault(target.name, link)
    return found


def _parents(entry: Path) -> Iterator[Path]:
    device = (entry / "device").resolve()
    yield device
    yield from list(device.parents)[:_MOST_PARENTS]


def _driver(entry: Path) -> str:
    for parent in _parents(entry):
        driver = _link(parent / "driver")
        if driver is not None and driver.name not in _LAYERS:
            return shown_text(driver.name)
    return ""


def _usb_device(entry: Path, sys: Path) -> Path | None:
    root = sys.resolve()
    for parent in _parents(entry):
        if parent == root:
            break
        if (parent / "idVendor").exists():
            return parent
    return None
