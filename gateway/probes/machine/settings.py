"""What an installer says of it: [machine]. `samples/gateway.toml` explains every key."""

from __future__ import annotations

import msgspec


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[machine]: the Raspberry Pi itself."""

    enabled: bool = True
    every_s: float = 300.0
