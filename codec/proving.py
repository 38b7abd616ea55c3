"""The process that runs test vectors of anyone's codec, every way that matters, and cannot harm the one that asks.

`python -m codec.proving` reads trials on stdin and writes one proof per vector on stdout, msgpack values behind their
length (4 bytes, big-endian). It is confined as the gateway's worker is (confine.py), each run has limits of CPU time
and memory, and a vector that outlasts them all ends this process, not the one that asked.

The ways: as an ES module in a new context (ChirpStack, and what decides); as a sloppy script, all vectors of a file in
one context (that repository's runner); as a module whose context is kept; and by the gateway's own engine.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from typing import Any, BinaryIO, Final

import msgspec

from codec.compare import difference, same
from codec.confine import confine
from codec.contexts import Limits, Native, Opened, new_context, open_module, open_script, run
from codec.engine import Engine, reason_of
from codec.errors import DecodeError
from codec.vector_files import Note
from codec.worker import prepare
from wire.reading import Undecoded

# Patient and roomy: a check on a desk, of anyone's codec, perhaps on a Raspberry Pi.
LIMITS: Final = Limits(cpu_s=1.0, memory_bytes=64 << 20, stack_bytes=256 << 10, output_chars=1 << 20)
# A codec that has met its limit this often is no longer waited for so long.
_PATIENT_RUNS: Final = 3
_IMPATIENT_CPU_S: Final = 0.2
# CPU seconds for all ways of one vector: then this process ends itself (SIGPROF), native loops ignore the engine's
# limit.
VECTOR_CPU_S: Final = 4.0
_ADDRESS_SPACE: Final = 768 << 20
_CHIRPSTACK_S: Final = 0.1  # ChirpStack's own limit for one frame, wall time
_BYTE_MAX: Final = 255

_UNDEFINED: Final = re.compile(r"ReferenceError: '?([\w$]+)'? is not defined")
# What codecs use of browsers, Node or The Things Stack. ChirpStack has Buffer beyond ECMAScript, and nothing else.
_ELSEWHERE_TEXT: Final = """
    TextDecoder TextEncoder URL URLSearchParams atob btoa console crypto exports fetch global module navigator
    performance process queueMicrotask require self setImmediate setInterval setTimeout structuredClone util
    window
"""
_ELSEWHERE: Final = frozenset(_ELSEWHERE_TEXT.split())


class Trial(msgspec.Struct, frozen=True, array_like=True, tag="trial"):
    """Vectors of one function of one codec: (input, expected), both JSON."""

    script: str
    function: str
    vectors: tuple[tuple[str, str], ...]


class Literal(msgspec.Struct, frozen=True, array_like=True, tag="literal"):
    """A JavaScript literal to be written as JSON. Answered by the JSON, or "!" and the error."""

    text: str


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one way of running gave: `output` as JSON, or the error. `passed`: by value what was expected."""

    passed: bool
    output: str | None = None
    error: str = ""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one vector. `script` is None where it was not run; `key_order`: equal by value, not as text."""

    module: Run
    script: Run | None = None
    key_order: bool = False
    problem: str = ""
    cpu_ms: float = 0.0
    notes: tuple[Note, ...] = ()


class Bench:
    """One codec on the bench, with the contexts that outlive a vector."""

    def __init__(self, script: str, function: str) -> None:
        self._text = script
        self._function = function
        self._limits = LIMITS
        self._limits_met = 0
        self._script: Opened | str | None = None
        self._kept: Opened | str | None = None
        self._engine = Engine(script, LIMITS)

    def prove(self, given: str, expected: str) -> Proof:
        """Run one vector every way. Never raises for what a codec does."""
        began = time.process_time()
        answer = self._module(given)
        cpu_s = time.process_time() - began
        module = _run_of(answer, expected)
        if _met_limit(answer):
            return self._impatient(Proof(module=module, problem=module.error, cpu_ms=cpu_s * 1000))
        script = _run_of(self._sloppy(given), expected)
        notes = [
            *_module_traps(module, script, cpu_s),
            *self._stateful(given, module),
            *self._dated(given, script, expected),
            *self._gateway(given, module),
        ]
        return Proof(
            module=module,
            script=script,
            key_order=module.passed and module.output != expected,
            problem=_problem(module, expected),
            cpu_ms=round(cpu_s * 1000, 3),
            notes=tuple(notes),
        )

    def _impatient(self, proof: Proof) -> Proof:
        self._limits_met += 1
        if self._limits_met >= _PATIENT_RUNS:
            self._limits = msgspec.structs.replace(LIMITS, cpu_s=_IMPATIENT_CPU_S)
        return proof

    def _module(self, given: str) -> str:
        opened = open_module(self._text, self._limits)
        return opened if isinstance(opened, str) else self._call(opened, given)

    def _sloppy(self, given: str, *, dated: bool = True) -> str:
        if not isinstance(self._script, Opened):
            self._script = open_script(self._text, self._limits)
        if isinstance(self._script, str):
            return self._script
        answer = self._call(self._script, given, dated=dated)
        if _met_limit(answer):
            self._script = None
        return answer

    def _call(self, opened: Opened, given: str, *, dated: bool = True) -> str:
        return opened.call(self._function, given, self._limits.output_chars, dated=dated)

    def _stateful(self, given: str, module: Run) -> list[Note]:
        """Twice in a context that is kept from vector to vector: what comes out may not depend on the frames before."""
        if not isinstance(self._kept, Opened):
            self._kept = open_module(self._text, self._limits)
        if isinstance(self._kept, str):
            return []
        for _ in range(2):
            answer = self._call(self._kept, given)
            if _met_limit(answer):
                self._kept = None
                return []
            if not _equal(_output(answer), module.output):
                message = (
                    "keeps state from frame to frame: ChirpStack and Xóm start afresh for each, other runners do not"
                )
                return [Note("stateful", message)]
        return []

    def _dated(self, given: str, script: Run, expected: str) -> list[Note]:
        if '"recvTime"' not in given or not script.passed:
            return []
        if _run_of(self._sloppy(given, dated=False), expected).passed:
            return []
        message = "that repository's runner hands recvTime over as text, ChirpStack as a Date: there this vector fails"
        return [Note("recv_time_text", message)]

    def _gateway(self, given: str, module: Run) -> list[Note]:
        """The gateway's engine keeps its context; it may not make a difference."""
        frame = json.loads(given)
        if self._function != "decodeUplink" or module.output is None or not _as_from_the_air(frame, self._text):
            return []
        seen, data = json.loads(module.output), None
        try:
            at_ms = _milliseconds(frame.get("recvTime"))
            variables = json.dumps(frame.get("variables", {}))
            data = self._engine.decode(bytes(frame["bytes"]), frame["fPort"], at_ms, variables).data
        except DecodeError as error:
            refused = isinstance(seen, dict) and (seen.get("errors") or not isinstance(seen.get("data"), dict))
            if refused or error.reason is Undecoded.BAD_OUTPUT:
                return []
        if isinstance(seen, dict) and (seen.get("errors") or same(data, seen.get("data"))):
            return []
        return [Note("gateway_differs", "the gateway's engine, which keeps its context, decodes this frame otherwise")]


def _as_from_the_air(frame: Any, script: str) -> bool:
    """Whether a vector's input is complete enough for the gateway to be compared."""
    if not isinstance(frame, dict) or type(frame.get("fPort")) is not int:
        return False
    raw = frame.get("bytes")
    if not (isinstance(raw, list) and all(type(one) is int and 0 <= one <= _BYTE_MAX for one in raw)):
        return False
    timed = _milliseconds(frame.get("recvTime")) >= 0 or not re.search(r"\brecvTime\b|\bDate\b", script)
    return timed and ("variables" in frame or "variables" not in script) and "Math.random" not in script


def _milliseconds(recv_time: object) -> int:
    """Milliseconds of a vector's recvTime, -1 for one that there is not or that is no date to JavaScript."""
    context = _reader()
    moment = run(context.eval, (f"Date.parse({json.dumps(recv_time)})",)) if isinstance(recv_time, str) else recv_time
    return int(moment) if isinstance(moment, int | float) and moment == moment else -1


def _run_of(answer: str, expected: str) -> Run:
    output = _output(answer)
    if output is None:
        failure = reason_of(answer)
        return Run(passed=False, error=failure.message if failure else "no output")
    return Run(passed=_equal(output, expected), output=output)


def _output(answer: str) -> str | None:
    return answer if reason_of(answer) is None else None


def _equal(left: str | None, right: str | None) -> bool:
    if left is None or right is None or left == right:
        return left == right
    return same(json.loads(left), json.loads(right))


def _met_limit(answer: str) -> bool:
    failure = reason_of(answer)
    return failure is not None and failure.reason is Undecoded.CODEC_LIMIT


def _problem(module: Run, expected: str) -> str:
    if module.passed:
        return ""
    if module.output is None:
        return f"{module.error}{_lacking(module.error)}"
    return difference(json.loads(expected), json.loads(module.output))


def _lacking(error: str) -> str:
    name = _UNDEFINED.search(error)
    if name is not None and name[1] in _ELSEWHERE:
        return f" (ChirpStack gives a codec Buffer, and nothing else beyond ECMAScript: no {name[1]})"
    return ""


def _module_traps(module: Run, script: Run, cpu_s: float) -> list[Note]:
    traps = []
    name = _UNDEFINED.search(module.error)
    if name is not None and name[1] in _ELSEWHERE:
        traps.append(Note("not_in_chirpstack", f"needs {name[1]}, which ChirpStack does not have"))
    elif name is not None and script.passed:
        message = f"uses {name[1]} without declaring it: passes as a sloppy script, fails in ChirpStack, an ES module"
        traps.append(Note("undeclared", message))
    elif script.passed != module.passed:
        one, other = ("a sloppy script", "an ES module") if script.passed else ("an ES module", "a sloppy script")
        why = (module if script.passed else script).error or "another value"
        traps.append(Note("mode", f"passes as {one}, fails as {other}: {why:.120}"))
    if cpu_s > _CHIRPSTACK_S:
        traps.append(Note("slow", "took more than 0.1 s, where ChirpStack stops a codec"))
    return traps


# ---- the process


class _Reader:
    """One context that runs no codec: it reads and writes JSON as JavaScript does."""

    context: Native = None


def _reader() -> Native:
    if _Reader.context is None:
        _Reader.context = new_context(LIMITS)
    return _Reader.context


def _normal(text: str) -> str:
    """JSON as JavaScript writes it: numbers, order of keys, escapes."""
    return str(_reader().eval("(text) => JSON.stringify(JSON.parse(text))")(text))


def _literal(text: str) -> str:
    answer = run(new_context(LIMITS).eval, (f"JSON.stringify(\n{text}\n)",))
    return answer if isinstance(answer, str) else "!no value"


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer trials until the requests end."""
    decode = msgspec.msgpack.Decoder(Trial | Literal).decode
    while head := requests.read(4):
        request = decode(requests.read(int.from_bytes(head, "big")))
        if isinstance(request, Literal):
            _write(answers, _literal(request.text))
            continue
        bench = Bench(request.script, request.function)
        for given, expected in request.vectors:
            signal.setitimer(signal.ITIMER_PROF, VECTOR_CPU_S)
            _write(answers, bench.prove(given, _normal(expected)))
        signal.setitimer(signal.ITIMER_PROF, 0)


def _write(stream: BinaryIO, value: object) -> None:
    body = msgspec.msgpack.encode(value)
    stream.write(len(body).to_bytes(4, "big") + body)
    stream.flush()


def main() -> None:
    """Run the process on its standard streams."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare(LIMITS)
    confine(_ADDRESS_SPACE)
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
