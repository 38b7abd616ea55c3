"""Calls on D-Bus, as plain values. Who answers, NetworkManager and ModemManager, is this machine's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from dbus_fast import BusType, DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, InvalidAddressError

from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason

_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_ABSENT: Final = ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")


class Refused(Exception):
    """The service answered with an error: its name and its words."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(f"{name.rpartition('.')[2]}: {words:.120}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Service:
    """One service on a connected bus."""

    bus: MessageBus
    name: str

    async def call(self, path: str, interface: str, member: str, signature: str = "", *body: object) -> list[object]:
        """Call a method; raises Refused, and ProbeError where the service is not there or does not let us."""
        message = Message(
            destination=self.name, path=path, interface=interface, member=member, signature=signature, body=list(body)
        )
        reply = await self.bus.call(message)
        if reply is None:
            raise ProbeError(Reason.PROBE_ERROR, f"{self.name} does not answer")
        if reply.message_type is MessageType.ERROR:
            words = str(reply.body[0]) if reply.body else ""
            if reply.error_name in _ABSENT:
                raise ProbeError(Reason.NO_EQUIPMENT, f"{self.name} does not run here")
            if "AccessDenied" in str(reply.error_name) or "PermissionDenied" in str(reply.error_name):
                raise ProbeError(Reason.NO_PERMISSION, f"{self.name}: {words:.120}; a polkit rule must let us")
            raise Refused(str(reply.error_name), words)
        return [plain(value) for value in reply.body]

    async def properties(self, path: str, interface: str) -> Mapping[str, object]:
        """Return all properties of an interface."""
        found = (await self.call(path, _PROPERTIES, "GetAll", "s", interface))[0]
        return found if isinstance(found, dict) else {}


@asynccontextmanager
async def connected(name: str, address: str | None = None) -> AsyncIterator[Service]:
    """Hold a connection to the system's bus, or to the one at an address; raises ProbeError."""
    try:
        bus = MessageBus(bus_address=address, bus_type=BusType.SYSTEM)
        await bus.connect()
    except (OSError, AuthError, InvalidAddressError, DBusError) as error:
        reason = Reason.NO_PERMISSION if isinstance(error, PermissionError | AuthError) else Reason.NO_EQUIPMENT
        raise ProbeError(reason, f"there is no D-Bus here: {error}") from error
    try:
        yield Service(bus, name)
    finally:
        bus.disconnect()
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


def plain(value: object) -> object:
    """Return a value without variants, however deep; structs are lists."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
