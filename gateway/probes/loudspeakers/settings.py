"""What an installer says of them: [[loudspeaker]]. `samples/gateway.toml` explains every key."""

from __future__ import annotations

import msgspec


class Loudspeaker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[loudspeaker]]: one cluster: the receiver or amplifier of one place, with its horns."""

    name: str
    every_s: float = 300.0
