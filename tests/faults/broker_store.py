"""A broker whose store file is damaged while it is down, and the start-up hook that we ship for that."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy" / "mosquitto"
HOOK = DEPLOY / "check-broker-store"


def cut(store: bytes, chance: random.Random) -> bytes:
    """What a power cut leaves of a file that was being written, somewhere behind its header."""
    return store[: chance.randrange(len(store) // 4, len(store))]


def zeroed(store: bytes, _: random.Random) -> bytes:
    """Blocks that were allocated and never written."""
    return bytes(len(store))


def empty(_: bytes, __: random.Random) -> bytes:
    """A file that was made and never written."""
    return b""


def noise(store: bytes, chance: random.Random) -> bytes:
    """Somebody else's blocks."""
    return chance.randbytes(len(store))


DAMAGES: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": cut, "zeroed": zeroed, "empty": empty, "noise": noise,
}  # fmt: skip


def damage(location: Path, way: str, chance: random.Random) -> None:
    """Damage a stopped broker's store."""
    store = location / "mosquitto.db"
    store.write_bytes(DAMAGES[way](store.read_bytes(), chance))


def run_hook(location: Path, *, patience_s: int = 20) -> str:
    """Run what systemd runs before each start; returns what it said."""
    done = subprocess.run(
        [str(HOOK), str(location)], check=False, capture_output=True, text=True, timeout=120,
        env=os.environ | {"XOM_STORE_PATIENCE_S": str(patience_s)},
    )  # fmt: skip
    assert done.returncode == 0, done
    return done.stderr
