"""What an installer says of them: [[camera]]. `samples/gateway.toml` explains every key."""

from __future__ import annotations

import msgspec


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[camera]]: one camera."""

    name: str
    every_s: float = 300.0
