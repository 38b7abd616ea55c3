"""QuickJS contexts with a codec in them: as an ES module (ChirpStack), or as a sloppy script (its repository's own
runner).

Here is all that touches the engine's binding. `_quickjs` is imported where it runs and directly: the `quickjs` package
starts a thread on import.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

FAILED: Final = "!"  # an answer that starts so is an error, see door.js
UNUSABLE: Final = "?"  # an answer that starts so names what is wrong with the output

# A function object of QuickJS, or a context: the binding has no types.
Native = Any

_JAVASCRIPT: Final = Path(__file__).with_name("javascript")
_FUNCTIONS: Final = ("decodeUplink", "decodeDownlink", "encodeDownlink")
FUNCTIONS_BY_NAME: Final = (
    "{" + ", ".join(f'{name}: typeof {name} === "function" ? {name} : undefined' for name in _FUNCTIONS) + "}"
)

# There is no module loader: the one import that ChirpStack knows becomes a declaration.
_IMPORT: Final = re.compile(
    r"""(?m)^[ \t]*import\s+(?P<what>\{[^}]*\}|\*\s*as\s+\w+|\w+)\s+from\s+(['"])(?:node:)?buffer\2[ \t]*;?"""
)
_MOST_JOBS: Final = 100


class Limits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one frame may cost: CPU seconds, heap and stack bytes, characters of output."""

    cpu_s: float = 0.1
    memory_bytes: int = 16 << 20
    stack_bytes: int = 256 << 10
    output_chars: int = 64 << 10


@dataclass(frozen=True, slots=True)
class Opened:
    """A codec in a context: its functions by name, and the door that calls them."""

    door: Native
    functions: Native

    def call(self, function: str, request: str, cap: int, *, dated: bool = True) -> str:
        """Run one function on a JSON text; returns the answer. `dated` makes a Date of recvTime, as ChirpStack does."""
        return call_door(self.door("call", self.functions), (function, request, cap, dated))

    def uplink(self, arguments: tuple[object, ...]) -> str:
        """Run decodeUplink on the arguments of the uplink door; returns the answer."""
        return call_door(self.door("uplink", self.door("decoder", self.functions)), arguments)


def new_context(limits: Limits) -> Native:
    """Return an empty context; each has a runtime, and so a heap, of its own."""
    import _quickjs

    context = _quickjs.Context()
    context.set_memory_limit(limits.memory_bytes)
    context.set_max_stack_size(limits.stack_bytes)
    context.set_time_limit(limits.cpu_s)
    return context


def furnish(context: Native, script: str) -> Native:
    """Give a context what ChirpStack's has, no more, and return the door."""
    door = context.eval(_source("door.js"))
    context.eval(_source("ecmascript.js"))
    if "Buffer" in script:
        context.eval(_source("buffer.js"))
    return door


def open_module(script: str, limits: Limits) -> Opened | str:
    """Run a codec's top level as an ES module; returns what was opened, or the answer that says why not."""
    context = new_context(limits)
    door = furnish(context, script)
    began = run(context.module, (f"{import_free(script)}\n;globalThis.__xom = {FUNCTIONS_BY_NAME};",))
    if isinstance(began, str):
        return began
    functions = context.get("__xom")
    return _why_stopped(context, began) if functions is None else Opened(door, functions)


def open_script(script: str, limits: Limits) -> Opened | str:
    """Run a codec's top level as a sloppy script; returns what was opened, or the answer that says why not."""
    context = new_context(limits)
    door = furnish(context, script)
    began = run(context.eval, (script,))
    if isinstance(began, str) and began[:1] == FAILED:
        return began
    functions = run(context.eval, (f"({FUNCTIONS_BY_NAME})",))
    return functions if isinstance(functions, str) else Opened(door, functions)


def freeze(context: Native) -> None:
    """Freeze every built-in object: from now on nothing can be left behind in this context."""
    context.eval(_source("freeze.js"))


def syntax_error(script: str, limits: Limits) -> str:
    """Return the answer that says why a script is no ES module, "" if it is one. Nothing of it runs."""
    answer = run(new_context(limits).module, (f"throw 0;{import_free(script)}",))
    return answer if isinstance(answer, str) else ""


def import_free(script: str) -> str:
    """Return a script with `import { Buffer } from "buffer"` as a declaration; nothing else can be imported."""
    return _IMPORT.sub(_declaration, script)


def call_door(door: Native, arguments: tuple[object, ...]) -> str:
    """Call a door; returns its answer."""
    return _answer(run(door, arguments))


def run(function: Native, arguments: tuple[object, ...]) -> Any:
    """Call into the engine; whatever it throws becomes an answer."""
    try:
        return function(*arguments)
    except _thrown() as error:  # asked for only when something was: this is the hottest line there is
        return f"{FAILED}{_first_line(str(error)):.300}"


@cache
def _thrown() -> tuple[type[Exception], ...]:
    import _quickjs

    return (_quickjs.JSException, TypeError, UnicodeError, MemoryError)


def _answer(value: object) -> str:
    """What comes through the door is text; a codec that has got at the door itself has no answer."""
    return value if isinstance(value, str) and value else f"{UNUSABLE}codec returned no text through the door"


def _declaration(found: re.Match[str]) -> str:
    what = found["what"]
    names = re.sub(r"\s+as\s+", ": ", what) if what.startswith("{") else re.sub(r"^\*\s*as\s+", "", what)
    # Over as many lines as before, so that an error's line is the right one.
    return f"const {names} = {{ Buffer: globalThis.Buffer }};"


def _why_stopped(context: Native, promise: Native) -> str:
    """A module's top level threw: its promise knows what."""
    context.eval("(promise) => { promise.then(null, (error) => { globalThis.__xom = String(error); }); }")(promise)
    jobs = 0
    while jobs < _MOST_JOBS and run(context.execute_pending_job, ()) is True:
        jobs += 1
    said = context.get("__xom")
    return (
        f"{FAILED}{said:.300}" if isinstance(said, str) else f"{FAILED}the module's top level did not come to its end"
    )


def _first_line(message: str) -> str:
    return message.partition("\n")[0]


@cache
def _source(name: str) -> str:
    return (_JAVASCRIPT / name).read_text(encoding="utf-8")


def read_sources() -> None:
    """Read our JavaScript into memory: a confined process opens no files."""
    for path in _JAVASCRIPT.glob("*.js"):
        _source(path.name)
