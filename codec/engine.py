"""Runs one TS013 codec in QuickJS: bytes in, plain data out, within limits of CPU time, memory, stack and output.

The context is reused from frame to frame and thrown away after any error, so that nothing a failed run left behind
reaches the next frame. `_quickjs` is imported directly, the `quickjs` package starts a thread on import; and only where
it runs, in the worker: the gateway's main process knows this file for its limits.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from codec.errors import DecodeError
from wire.reading import Undecoded

# Appended to the codec inside its own ES module, as ChirpStack does. The errors are turned into text in here, under
# the time limit: an exception whose toString() never ends would otherwise hang the engine outside any limit
# (quickjs-ng 0.17 formats a JSException after the limit is lifted; seen here).
_DOOR: Final = """
;{
  const parse = JSON.parse, stringify = JSON.stringify, text = String, Time = Date;
  const doors = {
    decodeUplink: typeof decodeUplink === "function" ? decodeUplink : undefined,
    decodeDownlink: typeof decodeDownlink === "function" ? decodeDownlink : undefined,
    encodeDownlink: typeof encodeDownlink === "function" ? encodeDownlink : undefined,
  };
  globalThis.__xom_call = (name, json, cap) => {
    try {
      const call = doors[name];
      if (call === undefined) return "!codec has no function " + name;
      const input = parse(json);
      if (input.recvTime !== undefined) input.recvTime = new Time(input.recvTime);
      const output = stringify(call(input));
      if (typeof output !== "string") return "?codec returned nothing";
      if (output.length > cap) return "?output of " + output.length + " characters, the limit is " + cap;
      return output;
    } catch (error) {
      // With no memory left for an Error object QuickJS throws null, as a codec would hardly do by itself.
      if (error === null) return "!out of memory (null was thrown)";
      return "!" + text(error).slice(0, 300);
    }
  };
}
"""

# A codec's JSON starts with neither sign, so an answer needs no envelope. (Prefixing a long output would make it a
# "rope", which the Python binding of quickjs-ng 0.17 cannot read.)
_FAILED: Final = "!"
_UNUSABLE: Final = "?"

# What QuickJS says when one of its limits ends a run.
_LIMIT_SIGNS: Final = ("interrupted", "out of memory", "Maximum call stack", "too large to allocate")


class Limits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one frame may cost: CPU seconds, heap and stack bytes, characters of output."""

    cpu_s: float = 0.1
    memory_bytes: int = 16 << 20
    stack_bytes: int = 256 << 10
    output_chars: int = 64 << 10


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
    """One codec, compiled on first use."""

    def __init__(self, script: str, limits: Limits) -> None:
        self._script = script
        self._limits = limits
        self._door: Any = None  # a function object of QuickJS, which has no types
        self._runs = 0

    def decode(self, raw: bytes, f_port: int, recv_time_ms: int) -> Decoded:
        """Run decodeUplink; raises DecodeError with CODEC_ERROR, CODEC_LIMIT or BAD_OUTPUT."""
        request = f'{{"bytes":{list(raw)},"fPort":{f_port},"recvTime":{recv_time_ms}}}'
        output = self._typed(self.call("decodeUplink", request))
        if output.errors:
            raise DecodeError(Undecoded.CODEC_ERROR, "; ".join(output.errors)[:300])
        if output.data is None:
            raise DecodeError(Undecoded.BAD_OUTPUT, "codec returned neither data nor errors")
        return Decoded(output.data, _short(output.warnings or ()))

    def call(self, function: str, request: str) -> str:
        """Run one TS013 function on a JSON text and return the JSON text of its result; raises DecodeError.

        Memory is a limit of the context, not of the run: when a used context runs out, the frame gets a fresh one.
        """
        used = self._runs > 0
        try:
            return self._call(function, request)
        except DecodeError as error:
            if not (used and "out of memory" in error.message):
                raise
            return self._call(function, request)

    def _call(self, function: str, request: str) -> str:
        answer = self._run(function, request)
        sign, text = answer[:1], answer[1:]
        if sign not in (_FAILED, _UNUSABLE):
            self._runs += 1
            return answer
        self._forget()
        raise DecodeError(Undecoded.BAD_OUTPUT if sign == _UNUSABLE else _reason(text), text)

    def _run(self, function: str, request: str) -> str:
        import _quickjs

        try:
            if self._door is None:
                self._door = self._compile()
            return str(self._door(function, request, self._limits.output_chars))
        except (_quickjs.JSException, TypeError, UnicodeError, MemoryError) as error:
            return f"{_FAILED}{error!s:.300}"

    def _compile(self) -> Any:
        import _quickjs

        context = _quickjs.Context()
        context.set_memory_limit(self._limits.memory_bytes)
        context.set_max_stack_size(self._limits.stack_bytes)
        context.set_time_limit(self._limits.cpu_s)
        context.module(self._script + _DOOR)
        return context.get("__xom_call")

    def _forget(self) -> None:
        self._door = None
        self._runs = 0

    @staticmethod
    def _typed(text: str) -> _Output:
        try:
            return _parse_output(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise DecodeError(Undecoded.BAD_OUTPUT, f"codec output: {error!s:.200}") from error


def _reason(message: str) -> Undecoded:
    return Undecoded.CODEC_LIMIT if any(sign in message for sign in _LIMIT_SIGNS) else Undecoded.CODEC_ERROR


def _short(warnings: tuple[str, ...]) -> tuple[str, ...]:
    """At most eight warnings of 200 characters: they travel with every reading."""
    return tuple(warning[:200] for warning in warnings[:8])
