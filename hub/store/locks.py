"""Numbers of PostgreSQL's advisory locks, in the order in which they are taken: registry, gateways, incidents."""

from __future__ import annotations

import hashlib
from typing import Final

from wire.identity import GatewayId

REGISTRY_LOCK: Final = 0x584F4D_524547  # "XOM REG": commits share it, loading the registry excludes them
PARTITION_LOCK: Final = 0x584F4D_504152  # "XOM PAR": held alone, in a transaction of its own
REDECODE_LOCK: Final = 0x584F4D_524544  # "XOM RED": held for a whole redecoding, before anything else


def gateway_lock(gateway: GatewayId) -> int:
    """Return the lock of one gateway's log. Two gateways that share a number merely wait for each other."""
    return _number("gateway", gateway)


def incident_lock(gateway: GatewayId | None, kind: str) -> int:
    """Return the lock under which incidents of one gateway and kind are counted."""
    return _number("incident", gateway or "", kind)


def _number(*parts: str) -> int:
    digest = hashlib.sha256("\n".join(("xom", *parts)).encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
