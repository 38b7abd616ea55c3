"""A private D-Bus with stand-ins for NetworkManager and ModemManager: message by message, no session of anybody's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

MISSING: Final = "LEFT OUT: dbus-daemon is not installed: NetworkManager and ModemManager were not proved at all"
_CONFIG: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"""

Answer = tuple[str, list[Any]]
Handler = Callable[[Message], Answer | str]  # signature and body, or the name of an error


@pytest.fixture
def private_bus(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("dbus-daemon")
    if program is None:
        pytest.skip(MISSING)
    config = tmp_path / "bus.conf"
    config.write_text(_CONFIG.format(path=tmp_path / "bus"))
    daemon = subprocess.Popen(
        [program, f"--config-file={config}", "--nofork", "--print-address"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert daemon.stdout is not None
    address = daemon.stdout.readline().strip()
    yield address
    daemon.terminate()
    daemon.wait()
    daemon.stdout.close()


@asynccontextmanager
async def stand_in(address: str, name: str, handler: Handler) -> AsyncIterator[None]:
    """Own a name on the bus and answer calls by a function."""
    bus = await MessageBus(bus_address=address).connect()

    def answer(message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL or message.destination not in (name, bus.unique_name):
            return None
        said = handler(message)
        if isinstance(said, str):
            return Message.new_error(message, said, "stand-in")
        return Message.new_method_return(message, *said)

    bus.add_message_handler(answer)
    await bus.request_name(name)
    try:
        yield
    finally:
        bus.disconnect()
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


def variants(values: dict[str, tuple[str, Any]]) -> Answer:
    """The answer to GetAll."""
    return "a{sv}", [{key: Variant(*value) for key, value in values.items()}]
