"""A device's own map: what a bridge's bytes, channels or counts mean at this one place.

A bridge (RS485-LB, SDI-12-LB, UC300, UC501, UC502) sends what its installer wired and cut out; a pressure probe sends
counts whose scale is on its label. Neither says so in its frames. The map stands beside the gateway's configuration,
named by the device's record; docs/devices.md explains it with examples. A bad map stops the start, and names its key.
"""

from __future__ import annotations

import hashlib
import tomllib
from functools import cached_property
from pathlib import Path

import msgspec

from codec.errors import ProfileError
from codec.quantities import QuantityRule, SalinityRule, rule_problem


class _MapFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: a title for people, quantities as in a quantities file, and salinity where it is wanted."""

    title: str
    quantity: tuple[QuantityRule, ...]
    salinity: SalinityRule | None = None


class DeviceMap:
    """What one device's fields mean; `digest` is the SHA-256 (hex) of the file, so that readings can name it."""

    def __init__(self, content: _MapFile, raw: bytes) -> None:
        self.title = content.title
        self.quantity = content.quantity
        self.salinity = content.salinity
        self._raw = raw

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, in hex."""
        return hashlib.sha256(self._raw).hexdigest()


def read_map(path: Path) -> DeviceMap:
    """Read a map; raises ProfileError, which names the file and the key."""
    try:
        raw = path.read_bytes()
        content = msgspec.convert(tomllib.loads(raw.decode()), _MapFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ProfileError(f"map {path}: {error}") from error
    if not content.quantity:
        raise ProfileError(f"map {path}: quantity: the map names none")
    for place, rule in enumerate(content.quantity):
        problem = rule_problem(rule, content.salinity)
        if problem:
            raise ProfileError(f"map {path}: quantity[{place}] ({rule.name}): {problem}")
    return DeviceMap(content, raw)
