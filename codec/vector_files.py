"""Test files of a tree in the ChirpStack repository layout: found, read, and put beside their codec.

`test_decode_<codec>.json` and `test_encode_<codec>.json` lie beside `<codec>.js`; each is an array of {name, input,
expected}. Trees of other people come as they are: with a byte order mark, as a JavaScript literal, with the codec in
another folder. What the repository's own runner accepts is run here too, with a note that names the trap.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec

FUNCTIONS: Final = {"test_decode_": "decodeUplink", "test_encode_": "encodeDownlink"}

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}\s*)+")
_OWN_BUFFER: Final = re.compile(r"(?m)^(?:var|let|const|class|function)\s+Buffer\b")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_BYTE_MAX: Final = 255


class Note(msgspec.Struct, frozen=True):
    """A trap that does not fail a vector here: its short name, and what it means."""

    trap: str
    message: str


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """One input with the whole return value that is expected, both as JSON; `problem` says why there is no input."""

    name: str
    input: str = ""
    expected: str = ""
    problem: str = ""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorFile:
    """One test file with its codec.

    `problem`: why none of it can run. `text`: what is no JSON, but may be JavaScript.
    """

    path: Path
    codec: Path | None
    function: str
    script: str = ""
    vectors: tuple[Vector, ...] = ()
    notes: tuple[Note, ...] = ()
    problem: str = ""
    text: str = ""


@dataclass(slots=True)
class _Codecs:
    """Where a test file's codec is: beside it, else in its vendor's folder, else anywhere in the tree."""

    root: Path
    _by_name: dict[str, list[Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in sorted(self.root.rglob("*.js")):
            self._by_name.setdefault(path.name.casefold(), []).append(path)

    def of(self, test: Path, name: str) -> tuple[Path | None, str, tuple[Note, ...]]:
        """Return the codec, why there is none, and what is odd about where it lies."""
        beside = test.with_name(f"{name}.js")
        if beside.is_file():
            return beside, "", ()
        found = self._by_name.get(f"{name}.js".casefold(), [])
        near = [path for path in found if path.parent == test.parent]
        if near:
            message = f"the codec is {near[0].name}: a file system that minds upper and lower case does not find it"
            return near[0], "", (Note("codec_case", message),)
        vendor = [path for path in found if path.parent.parent == test.parent.parent]
        choice = vendor or found
        if not choice:
            return None, f"there is no codec {name}.js, neither beside the test file nor elsewhere in the tree", ()
        if len({path.read_bytes() for path in choice}) > 1:
            places = ", ".join(str(path.relative_to(self.root)) for path in choice)
            return None, f"there is no codec {name}.js beside the test file, and several elsewhere: {places}", ()
        message = f"the codec lies elsewhere: {choice[0].relative_to(self.root)}"
        return choice[0], "", (Note("codec_elsewhere", message),)


def read_tree(root: Path) -> list[VectorFile]:
    """Read every test file under a folder, in order of path."""
    codecs = _Codecs(root)
    return [
        _read(path, path.stem.removeprefix(prefix), function, codecs)
        for path in sorted(root.rglob("test_*.json"))
        for prefix, function in FUNCTIONS.items()
        if path.name.startswith(prefix) and path.is_file()
    ]


def _read(path: Path, name: str, function: str, codecs: _Codecs) -> VectorFile:
    codec, problem, notes = codecs.of(path, name)
    file = VectorFile(path=path, codec=codec, function=function, notes=notes, problem=problem)
    try:
        text, bom = _text(path)
        script, script_bom = _text(codec) if codec is not None else ("", ())
    except (OSError, UnicodeDecodeError) as error:
        return replace(file, problem=f"cannot be read: {error}")
    notes = (*notes, *bom, *script_bom, *_script_notes(script))
    return with_vectors(replace(file, script=script, notes=notes), text)


def with_vectors(file: VectorFile, text: str, *, literal: bool = False) -> VectorFile:
    """Return a test file with the vectors of this text. `literal`: it was JavaScript, and is JSON now."""
    doubled: list[str] = []
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, doubled), parse_constant=_refuse)
    except RecursionError:
        return replace(file, problem="nested too deeply")
    except ValueError as error:
        return replace(file, problem=file.problem or f"not JSON: {error}", text="" if file.problem else text)
    notes = list(file.notes)
    if literal:
        message = "not JSON but a JavaScript literal, which that repository's runner pastes into its script"
        notes.append(Note("not_json", message))
    if doubled:
        notes.append(Note("duplicate_key", f"keys that stand twice in one object: {', '.join(sorted(set(doubled)))}"))
    if not isinstance(value, list):
        return replace(file, problem=file.problem or "not an array of vectors", notes=tuple(notes), text="")
    vectors = tuple(_vector(item, at, file.function) for at, item in enumerate(value, start=1))
    return replace(file, vectors=vectors, notes=tuple(notes), text="")


def _vector(item: Any, at: int, function: str) -> Vector:
    if not isinstance(item, dict):
        return Vector(name=f"#{at}", problem="malformed vector: not an object")
    name = item.get("name")
    name = name if isinstance(name, str) and name else f"#{at}"
    missing = [key for key in ("input", "expected") if key not in item]
    if missing:
        return Vector(name=name, problem=f"malformed vector: no {' and no '.join(missing)}")
    given: Any = item["input"]
    notes: list[Note] = []
    if function == "decodeUplink" and isinstance(given, dict):
        given, notes = _uplink(given)
    try:
        return Vector(name=name, input=json.dumps(given), expected=json.dumps(item["expected"]), notes=tuple(notes))
    except RecursionError:
        return Vector(name=name, problem="malformed vector: nested too deeply")


def _uplink(given: dict[str, Any]) -> tuple[dict[str, Any], list[Note]]:
    """Return a decode input as ChirpStack could give it, and what was odd."""
    notes: list[Note] = []
    raw = given.get("bytes")
    if isinstance(raw, str) and (raw == "" or _HEX.fullmatch(raw)):
        notes.append(Note("bytes_text", "bytes are hex text: run as the array of numbers that a codec is given"))
        given = {**given, "bytes": list(bytes.fromhex(raw))}
    elif not (isinstance(raw, list) and all(type(one) is int and 0 <= one <= _BYTE_MAX for one in raw)):
        notes.append(
            Note("bytes_range", "bytes are not an array of whole numbers from 0 to 255, as ChirpStack gives them")
        )
    if type(given.get("fPort")) is not int:
        notes.append(Note("no_f_port", "no fPort, which ChirpStack always gives"))
    return given, notes


def _script_notes(script: str) -> Iterator[Note]:
    if _OWN_BUFFER.search(script):
        message = "declares Buffer itself: ChirpStack imports one under that name, which does not go together"
        yield Note("redeclares_buffer", message)


def _text(path: Path) -> tuple[str, tuple[Note, ...]]:
    content = path.read_bytes()
    if content.startswith(_UTF16):
        return content.decode("utf-16"), (Note("bom", f"{path.name} is UTF-16, the format is UTF-8"),)
    text = content.decode("utf-8")
    if text.startswith("\ufeff"):
        return text[1:], (Note("bom", f"{path.name} starts with a byte order mark"),)
    return text, ()


def _object(pairs: Iterable[tuple[str, Any]], doubled: list[str]) -> dict[str, Any]:
    """Like JavaScript: the last of two wins."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            doubled.append(key)
        found[key] = value
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")
