"""Whether two JSON values are equal, and where they are not. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Final

_ABSENT: Final = object()
_SHOWN: Final = 200


def same(left: object, right: object) -> bool:
    """Equal as JSON values: 1 is 1.0 as in JavaScript, but true is not 1 as in Python."""
    return next(_differences("", left, right), None) is None


def difference(expected: object, actual: object) -> str:
    """Name the first place where two values differ: `data.level: expected 2, got 3`; "" where they do not."""
    return next(_differences("", expected, actual), "")


def _differences(path: str, expected: object, actual: object) -> Iterator[str]:
    # A list of what is left to compare, not recursion: depth is the file's choice.
    waiting = [(path, expected, actual)]
    while waiting:
        path, left, right = waiting.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            keys = [*left, *(key for key in right if key not in left)]
            inner = [(_below(path, key), left.get(key, _ABSENT), right.get(key, _ABSENT)) for key in keys]
            waiting.extend(reversed(inner))
        elif isinstance(left, list) and isinstance(right, list):
            pairs = enumerate(zip_longest(left, right, fillvalue=_ABSENT))
            waiting.extend(reversed([(f"{path}[{at}]", *pair) for at, pair in pairs]))
        elif isinstance(left, bool) != isinstance(right, bool) or left != right:
            yield f"{path or 'the whole'}: expected {_shown(left)}, got {_shown(right)}{_hint(left, right)}"


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _shown(value: object) -> str:
    if value is _ABSENT:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _hint(left: object, right: object) -> str:
    case_only = isinstance(left, str) and isinstance(right, str) and left.casefold() == right.casefold()
    return " (only upper and lower case differ)" if case_only else ""
