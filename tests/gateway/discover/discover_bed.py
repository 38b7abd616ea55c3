"""What the tests of the search share: a made tree of /sys, /dev and /proc, servers in a thread, a configuration."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Final

from gateway.discover.serial_ports import Tree
from wire.keys import SigningKey

HOSTILE: Final = (
    'a"b', "a\\", "a\nb", "x]]\n[[camera]]", "# ' ''' \"\"\"", "\x00\x07\x1b[31m", "\u202eevil",
    "Nhà văn hóa thôn Đông", "\U0001f4f7", "=", "[gateway]", "\x7f\x85\u2028", "k" * 5_000, "",
)  # fmt: skip


def configuration(folder: Path, *more: str) -> Path:
    """A gateway's whole configuration."""
    hub = SigningKey.generate().public.encoded.hex()
    path = folder / "gateway.toml"
    text = [
        f'[gateway]\nid = "thon-1"\ndata = "{folder / "data"}"',
        f'[hub]\npublic_key = "{hub}"',
        "[machine]\nenabled = false",
        *more,
    ]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


class MadeTree:
    """Roots with as many ports as a test plugs in. Process 1 is there, and has nothing open."""

    def __init__(self, folder: Path) -> None:
        self.tree = Tree(sys=folder / "sys", dev=folder / "dev", proc=folder / "proc")
        for path in (self.tree.sys / "class/tty", self.tree.dev, self.tree.proc / "1/fd"):
            path.mkdir(parents=True)

    def plug(
        self, name: str, at: str, *, driver: str = "ftdi_sio", usb: str = "1-1.2", by_path: str = "", by_id: str = ""
    ) -> Path:
        """Make a port whose node leads to a real one; returns its node."""
        device = self.tree.sys / "devices/usb1" / usb / f"{usb}:1.{name[-1]}" / name
        device.mkdir(parents=True)
        drivers = self.tree.sys / "drivers" / driver
        drivers.mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(drivers)
        for key, text in (("idVendor", "0403"), ("manufacturer", "Maker"), ("product", "Adapter")):
            (device.parent.parent / key).write_text(f"{text}\n")
        entry = self.tree.sys / "class/tty" / name
        entry.mkdir()
        (entry / "device").symlink_to(device)
        node = self.tree.dev / name
        node.symlink_to(at)
        for folder, link in (("by-path", by_path), ("by-id", by_id)):
            if link:
                (self.tree.dev / "serial" / folder).mkdir(parents=True, exist_ok=True)
                (self.tree.dev / "serial" / folder / link).symlink_to(f"../../{name}")
        return node

    def hold(self, at: str, program: str) -> None:
        """Let a program have a port open."""
        process = self.tree.proc / "4194304"
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text(f"{program}\n")
        (process / "fd" / "3").symlink_to(at)


@contextmanager
def serving(
    servers: Callable[[], AbstractAsyncContextManager[None]], inside: Callable[[Callable[[], None]], None]
) -> Iterator[None]:
    """Hold servers open on a loop in a thread of its own; `inside` is where that thread lives."""
    ready, problems, stops = threading.Event(), list[BaseException](), list[Callable[[], None]]()

    async def work() -> None:
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stopped.set))  # type: ignore[arg-type]
        async with servers():
            ready.set()
            await stopped.wait()

    def thread() -> None:
        try:
            inside(lambda: asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001  # raised again in the test's own thread
            problems.append(error)
            ready.set()

    doing = threading.Thread(target=thread)
    doing.start()
    ready.wait()
    try:
        if problems:
            raise problems[0]
        yield
    finally:
        for stop in stops:
            stop()
        doing.join()
