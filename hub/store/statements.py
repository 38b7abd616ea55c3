"""SQL by name: each file in `queries/` holds statements under `-- name: <word>` lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def statements(noun: str) -> Mapping[str, bytes]:
    """Return the statements of `queries/<noun>.sql` by name. A missing name is a bug: KeyError where it is used."""
    text = (files("hub.store") / "queries" / f"{noun}.sql").read_text(encoding="utf-8")
    # split() with one group gives: preamble, name, statement, name, statement ...
    _, *parts = _NAME.split(text)
    return MappingProxyType({name: body.strip().encode() for name, body in zip(parts[::2], parts[1::2], strict=True)})
