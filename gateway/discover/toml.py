"""Sections of the configuration as TOML 1.0. Pure.

Names come from whoever is on the network: every text is escaped, and what is not printable is written as its number, so
that what stands in the file is what an installer sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.discover.finding import Section
from gateway.language import Language

_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_REPLACEMENT: Final = "\ufffd"


def text_of(section: Section, language: Language) -> str:
    """Return a section with its notes above it; as a comment where it is not whole."""
    notes = [f"# {_printable(note.say(language))}" for note in section.notes]
    lines = [*_table(section.table, section.settings, section.show)]
    if section.credentials:
        lines.insert(_end_of_keys(lines), f"# credentials = {quoted(section.credentials)}")
    if not section.whole:
        lines = [f"# {line}" if line else "#" for line in lines]
    return "\n".join([*notes, *lines]) + "\n"


def quoted(text: str) -> str:
    """Return a basic string (TOML 1.0, String). Half a surrogate pair is no character: it becomes U+FFFD."""
    return '"' + "".join(_letter(letter) for letter in text) + '"'


def _printable(text: str) -> str:
    """Return what a comment can bear: nothing that ends its line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _letter(letter: str) -> str:
    code = ord(letter)
    if 0xD800 <= code <= 0xDFFF:
        return _REPLACEMENT
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter.isprintable():
        return letter
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _table(name: str, settings: msgspec.Struct, show: frozenset[str]) -> Iterator[str]:
    """Yield `[[name]]`, the keys that differ from their default or are to be shown, then the tables within."""
    yield f"[[{name}]]"
    inner: list[tuple[str, msgspec.Struct]] = []
    for field in msgspec.structs.fields(type(settings)):
        value = getattr(settings, field.name)
        if isinstance(value, list) and value and isinstance(value[0], msgspec.Struct):
            inner += [(f"{name}.{field.encode_name}", one) for one in value]
        elif value != _default(field) or (field.encode_name in show and value != ""):
            yield f"{field.encode_name} = {_value(value)}"
    for table, one in inner:
        yield ""
        yield from _table(table, one, show)


def _end_of_keys(lines: list[str]) -> int:
    return next((at for at, line in enumerate(lines) if not line), len(lines))


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return msgspec.NODEFAULT if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(one) for one in value)}]"
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"{type(value).__name__} has no form in our configuration")
