"""Codec test vectors in the ChirpStack repository layout: `test_decode_<codec>.json`, `test_encode_<codec>.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from codec.engine import Engine, Limits
from codec.errors import DecodeError

_FUNCTIONS: Final = {"test_decode_": "decodeUplink", "test_encode_": "encodeDownlink"}

# A check on a desk, of anyone's codec: slower than a frame in the field may be.
_LIMITS: Final = Limits(cpu_s=1.0, memory_bytes=64 << 20, output_chars=1 << 20)


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """One input with the whole return value that is expected."""

    name: str
    input: dict[str, Any]
    expected: Any


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one vector gave; `problem` is "" when it passed."""

    file: str
    name: str
    problem: str


def run_tree(root: Path) -> Iterator[Outcome]:
    """Run every vector file under a folder, in order of path."""
    for path in sorted(root.rglob("test_*.json")):
        for prefix, function in _FUNCTIONS.items():
            if path.name.startswith(prefix):
                yield from _run_file(path, path.stem.removeprefix(prefix), function)


def _run_file(path: Path, codec: str, function: str) -> Iterator[Outcome]:
    try:
        vectors = msgspec.json.decode(path.read_bytes(), type=list[Vector])
        engine = Engine(path.with_name(f"{codec}.js").read_text(encoding="utf-8"), _LIMITS)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        yield Outcome(file=str(path), name="", problem=str(error))
        return
    for vector in vectors:
        yield Outcome(file=str(path), name=vector.name, problem=_problem(engine, function, vector))


def _problem(engine: Engine, function: str, vector: Vector) -> str:
    try:
        actual = json.loads(engine.call(function, json.dumps(vector.input)))
    except DecodeError as error:
        return f"{error.reason}: {error.message}"
    if same(actual, vector.expected):
        return ""
    return f"expected {json.dumps(vector.expected)}, got {json.dumps(actual)}"


def same(left: object, right: object) -> bool:
    """Equal as JSON values: 1 is 1.0 as in JavaScript, but true is not 1 as in Python."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and left == right
