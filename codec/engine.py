"""Decodes one codec's frames: bytes in, plain data out, within limits of CPU time, memory, stack and output.

Every frame meets the codec as if it were the first, as in ChirpStack, which makes a new runtime for each: the same
bytes give the same data today and when they are decoded again from the log. Here the context is kept, because a new one
costs twenty times the decoding: the codec is the body of a function that runs anew for each frame, and everything it
could leave a mark on is frozen. A codec that cannot live with that (it exports, or changes a built-in object) gets a
new context for each frame.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from codec.contexts import (
    FAILED,
    UNUSABLE,
    Limits,
    Native,
    call_door,
    freeze,
    furnish,
    import_free,
    new_context,
    open_module,
    run,
    syntax_error,
)
from codec.errors import DecodeError
from wire.reading import Undecoded

__all__ = ["Decoded", "Engine", "Limits", "reason_of"]

_DECODER: Final = 'typeof decodeUplink === "function" ? decodeUplink : undefined'

# What QuickJS says when one of its limits ends a run.
_LIMIT_SIGNS: Final = ("interrupted", "out of memory", "Maximum call stack", "too large to allocate", "string too long")
# What it says to a codec that changes what is frozen in a kept context.
_FROZEN_SIGNS: Final = (
    "is read-only",
    "not extensible",
    "could not delete property",
    "cannot define variable",
    "not configurable",
    "no setter for property",
)


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """What decodeUplink returned: its data by field, and its warnings."""

    data: dict[str, Any]
    warnings: tuple[str, ...]


class _Output(msgspec.Struct, gc=False):
    """The return value of decodeUplink (TS013); other keys are allowed there and ignored here."""

    data: dict[str, Any] | None = None
    warnings: tuple[str, ...] | None = None
    errors: tuple[str, ...] | None = None


_parse_output = msgspec.json.Decoder(_Output).decode


class Engine:
    """One codec, compiled with its first frame. `alone`: each of its frames needs a context of its own."""

    def __init__(self, script: str, limits: Limits) -> None:
        self.alone = False
        self._script = script
        self._limits = limits
        self._door: Native = None

    def decode(self, raw: bytes, f_port: int, recv_time_ms: int, variables: str = "") -> Decoded:
        """Run decodeUplink; raises DecodeError with CODEC_ERROR, CODEC_LIMIT or BAD_OUTPUT.

        `variables` is the JSON of the device's variables, "" for none.
        """
        # A float: the binding cuts whole numbers to 32 bits. The bytes are arguments: nothing is cheaper to hand over.
        arguments = (f_port, float(recv_time_ms), self._limits.output_chars, variables, *raw)
        if self._door is None:
            return _decoded(self._first(arguments))
        answer = call_door(self._door, arguments)
        return _decoded(answer if answer[0] == "{" else self._after(answer, arguments, used=True))

    def _first(self, arguments: tuple[object, ...]) -> str:
        """Run in a context that no frame has used."""
        if self.alone:
            return self._run_alone(arguments)
        failure = self._open()
        if failure:
            return failure
        if self._door is None:
            return self._run_alone(arguments)
        return self._after(call_door(self._door, arguments), arguments, used=False)

    def _after(self, answer: str, arguments: tuple[object, ...], *, used: bool) -> str:
        """See what a failed answer says of the context; returns the answer that counts."""
        if _says(answer, _LIMIT_SIGNS):
            self._door = None
            # Memory is a limit of the context, not of the run: after other frames, this one gets a context of its own.
            return self._first(arguments) if used and _says(answer, ("out of memory",)) else answer
        return self._run_alone(arguments) if _says(answer, _FROZEN_SIGNS) else answer

    def _run_alone(self, arguments: tuple[object, ...]) -> str:
        """Run in a context for this frame only, and from now on every frame."""
        self.alone, self._door = True, None
        opened = open_module(self._script, self._limits)
        return opened if isinstance(opened, str) else opened.uplink(arguments)

    def _open(self) -> str:
        """Make a context to be kept, where that can be; returns what is wrong with the script, as an answer, or ""."""
        failure = syntax_error(self._script, self._limits)
        if failure:
            return failure
        context = new_context(self._limits)
        door = furnish(context, self._script)
        freeze(context)
        body = run(context.eval, (f'() => {{"use strict";{import_free(self._script)}\n;return {_DECODER};}}',))
        if not isinstance(body, str):  # else it does what only a whole module may: it exports, or awaits
            self._door = door("uplink", body)
        return ""


def reason_of(answer: str) -> DecodeError | None:
    """Return what an answer of the door complains of, None when it is a codec's output."""
    if answer[0] == UNUSABLE:
        return DecodeError(Undecoded.BAD_OUTPUT, answer[1:])
    if answer[0] == FAILED:
        limit = _says(answer, _LIMIT_SIGNS)
        return DecodeError(Undecoded.CODEC_LIMIT if limit else Undecoded.CODEC_ERROR, answer[1:])
    return None


def _says(answer: str, signs: tuple[str, ...]) -> bool:
    return answer[:1] == FAILED and any(sign in answer for sign in signs)


def _decoded(answer: str) -> Decoded:
    failure = reason_of(answer)
    if failure is not None:
        raise failure
    try:
        output = _parse_output(answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DecodeError(Undecoded.BAD_OUTPUT, f"codec output: {error!s:.200}") from error
    if output.errors:
        raise DecodeError(Undecoded.CODEC_ERROR, "; ".join(output.errors)[:300])
    if output.data is None:
        raise DecodeError(Undecoded.BAD_OUTPUT, "codec returned neither data nor errors")
    return Decoded(output.data, _short(output.warnings) if output.warnings else ())


def _short(warnings: tuple[str, ...]) -> tuple[str, ...]:
    """At most eight warnings of 200 characters: they travel with every reading."""
    return tuple(warning[:200] for warning in warnings[:8])
