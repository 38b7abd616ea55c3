"""Configuration: a TOML file, then the environment, into frozen sections; a key nobody knows is refused by name.

Both programs read theirs this way, and the hub will send it as signed desired state later.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from wire.identity import from_plain

S = TypeVar("S", bound=msgspec.Struct)


class ConfigError(Exception):
    """Ours to mend before starting: the message names the file or variable, the key, and what is allowed."""


def load(kind: type[S], path: Path | None, prefix: str, environment: Mapping[str, str] = os.environ) -> S:
    """Read `path` (None: defaults alone), let `<prefix>_<SECTION>_<KEY>` variables override it; raises ConfigError.

    `kind` is a frozen struct whose fields are sections (frozen structs) or lists of tables.
    """
    document = _read(path) if path else {}
    place = str(path) if path else "the environment"
    _refuse_unknown(document, kind, place, "")
    for section, key, name, text in _overrides(kind, prefix, environment):
        table = document.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{place}: {section} is a section: write [{section}] and its keys below")
        table[key] = _value(name, text)
    try:
        return msgspec.convert(document, kind, strict=False, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"{place}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; samples/ has annotated ones to start from") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _decode(kind: type, value: object) -> object:
    if kind is Path:
        if not isinstance(value, str):
            raise ValueError(f"{value!r:.80} is not a path: a text in quotes")
        return Path(value)
    return from_plain(kind, value)


def _sections(kind: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    hints = get_type_hints(kind)
    return {
        field.encode_name: hints[field.name]
        for field in msgspec.structs.fields(kind)
        if isinstance(hints[field.name], type) and issubclass(hints[field.name], msgspec.Struct)
    }


def _refuse_unknown(table: object, kind: type[msgspec.Struct], place: str, at: str) -> None:
    """Name every unknown key with its nearest known one: most are slips of the pen."""
    if not isinstance(table, dict):
        return
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
            raise ConfigError(f"{place}: unknown key {at + key!r}; {hint}")
    for name, section in _sections(kind).items():
        _refuse_unknown(table.get(name), section, place, f"{at}{name}.")


def _overrides(
    kind: type[msgspec.Struct], prefix: str, environment: Mapping[str, str]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield section, key, variable and text of every variable under the prefix; an unknown one raises ConfigError."""
    allowed = {
        f"{prefix}_{section}_{field.encode_name}".upper(): (section, field.encode_name)
        for section, struct in _sections(kind).items()
        for field in msgspec.structs.fields(struct)
    }
    for name, text in sorted(environment.items()):
        if name.startswith(f"{prefix}_"):
            if name not in allowed:
                raise ConfigError(f"unknown variable {name}; the form is {prefix}_<SECTION>_<KEY>")
            yield (*allowed[name], name, text)


def _value(name: str, text: str) -> object:
    if not text.startswith("["):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{name}: not a JSON list: {error}") from error
