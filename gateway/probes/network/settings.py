"""What an installer says of the lines: [internet], [[modem]], [[wifi]]. `samples/gateway.toml` explains every key."""

from __future__ import annotations

import msgspec


class Internet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[internet]: the line out of the hamlet."""

    enabled: bool = False
    every_s: float = 60.0


class Modem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[modem]]: one modem with a SIM of a public operator."""

    name: str
    every_s: float = 900.0


class Wifi(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[wifi]]: one public wifi, met as a guest."""

    name: str
    every_s: float = 900.0
