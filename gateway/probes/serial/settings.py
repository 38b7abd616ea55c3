"""What an installer says of them: [[serial_bus]]. `samples/gateway.toml` explains every key."""

from __future__ import annotations

import msgspec


class SerialBus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[serial_bus]]: one serial port and the instruments on it."""

    name: str
    every_s: float = 300.0
