"""Runs a tree's test vectors in processes of their own, several at once, each killable: `xom profile test`.

A vector passes when its codec, run as an ES module as ChirpStack runs it, returns what is expected, by value. All else
that is found (another order of keys, another result as a sloppy script, state) is a note. A codec that hangs, or takes
its process with it, fails its own vector; the next one finds a new process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from codec.client import cpu_s, environment
from codec.compare import same
from codec.contexts import FAILED
from codec.proving import VECTOR_CPU_S, Literal, Proof, Run, Trial
from codec.vector_files import Note, Vector, VectorFile, read_tree, with_vectors

__all__ = ["Note", "Outcome", "run_tree", "same"]

_MOST_PROCESSES: Final = 8
_LOOK_S: Final = 1.0
_IDLE_S: Final = 60.0  # a process that gets no CPU time at all for so long is stuck

_DYING_S: Final = 0.5
_ENDED: Final = {
    -signal.SIGPROF: f"more than {VECTOR_CPU_S:g} s of CPU time",
    -signal.SIGSEGV: "its process fell over (SIGSEGV)",
    -signal.SIGKILL: "its process was killed from outside, perhaps for want of memory",
}

_proof = msgspec.msgpack.Decoder(Proof).decode
_text = msgspec.msgpack.Decoder(str).decode


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one vector gave; `problem` is "" when it passed.

    A file that could not be run is one outcome without a name.
    """

    file: str
    name: str
    problem: str
    function: str = ""
    codec: str = ""
    module: Run | None = None
    script: Run | None = None
    key_order: bool = False
    cpu_ms: float = 0.0
    notes: tuple[Note, ...] = ()


def run_tree(root: Path, *, processes: int | None = None, told: Callable[[], None] = lambda: None) -> Iterator[Outcome]:
    """Run every vector file under a folder, in order of path; `told` is called for each vector as it is done."""
    files = read_tree(root)
    count = max(1, min(processes or os.cpu_count() or 1, _MOST_PROCESSES, len(files)))
    benches: queue.SimpleQueue[_Process] = queue.SimpleQueue()
    for _ in range(count):
        benches.put(_Process())

    def work(file: VectorFile) -> list[Outcome]:
        process = benches.get()
        try:
            return list(_run_file(file, process, told))
        finally:
            benches.put(process)

    with ThreadPoolExecutor(count) as pool:
        try:
            for outcomes in pool.map(work, files):
                yield from outcomes
        finally:
            pool.shutdown(cancel_futures=True)
            for _ in range(count):
                benches.get().end()


def _run_file(file: VectorFile, process: _Process, told: Callable[[], None]) -> Iterator[Outcome]:
    if file.text:
        file = _read_literal(file, process)
    if file.problem and not file.vectors:
        yield _outcome(file, Vector(name=""), file.problem)
        return
    runnable = [] if file.problem else [vector for vector in file.vectors if not vector.problem]
    proofs = process.prove(Trial(file.script, file.function, tuple((one.input, one.expected) for one in runnable)))
    for vector in file.vectors:
        problem = file.problem or vector.problem
        yield _outcome(file, vector, problem) if problem else _proven(file, vector, next(proofs))
        told()


def _read_literal(file: VectorFile, process: _Process) -> VectorFile:
    """What is no JSON may be JavaScript: that repository's runner pastes it into a script."""
    written = process.literal(file.text)
    return with_vectors(replace(file, problem="", text=""), written, literal=True) if written else file


def _proven(file: VectorFile, vector: Vector, proof: Proof | str) -> Outcome:
    if isinstance(proof, str):
        return _outcome(file, vector, proof)
    return Outcome(
        file=str(file.path),
        name=vector.name,
        problem=proof.problem,
        function=file.function,
        codec=str(file.codec),
        module=proof.module,
        script=proof.script,
        key_order=proof.key_order,
        cpu_ms=proof.cpu_ms,
        notes=(*file.notes, *vector.notes, *proof.notes),
    )


def _outcome(file: VectorFile, vector: Vector, problem: str) -> Outcome:
    return Outcome(
        file=str(file.path),
        name=vector.name,
        problem=problem,
        function=file.function,
        codec=str(file.codec or ""),
        notes=(*file.notes, *vector.notes),
    )


class _LostError(Exception):
    """The process died on a vector, or was killed for it."""


class _Process:
    """One proving process, started when it is needed, and again when it is gone."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def prove(self, trial: Trial) -> Iterator[Proof | str]:
        """Yield a proof for each vector of a trial, in order, or why there is none."""
        at = 0
        while at < len(trial.vectors):
            try:
                self._send(Trial(trial.script, trial.function, trial.vectors[at:]))
                while at < len(trial.vectors):
                    proof = _proof(self._receive())
                    at += 1
                    yield proof
            except (_LostError, OSError, msgspec.DecodeError) as error:
                at += 1
                yield f"the codec was killed: {self.end() or error}"

    def literal(self, text: str) -> str:
        """Return the JSON of a JavaScript literal, "" for what is none."""
        try:
            self._send(Literal(text))
            written = _text(self._receive())
        except (_LostError, OSError, msgspec.DecodeError):
            self.end()
            return ""
        return "" if written.startswith(FAILED) else written

    def end(self) -> str:
        """End the process; returns why it had ended by itself, "" if it had not."""
        process, self._process = self._process, None
        if process is None:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_DYING_S)
        code = process.poll()
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()
        return "" if code is None else _ENDED.get(code, f"its process ended with {code}")

    def _send(self, request: Trial | Literal) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "codec.proving"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment(),
            )
        body = msgspec.msgpack.encode(request)
        if self._process.stdin is not None:
            self._process.stdin.write(len(body).to_bytes(4, "big") + body)
            self._process.stdin.flush()

    def _receive(self) -> bytes:
        size = int.from_bytes(self._read(4), "big")
        return self._read(size)

    def _read(self, size: int) -> bytes:
        """Read so many bytes; raises _LostError when the process ends, spends too much, or gets no time at all."""
        if self._process is None or self._process.stdout is None:
            raise _LostError("its process is not running")
        descriptor, pid, parts = self._process.stdout.fileno(), self._process.pid, b""
        first = used = cpu_s(pid)
        idle_since = time.monotonic()
        while len(parts) < size:
            if select.select([descriptor], [], [], _LOOK_S)[0]:
                got = os.read(descriptor, size - len(parts))
                if not got:
                    raise _LostError("its process ended")
                parts += got
                continue
            before, used = used, cpu_s(pid)
            idle_since = time.monotonic() if used > before else idle_since
            if used - first > 2 * VECTOR_CPU_S or time.monotonic() - idle_since > _IDLE_S:
                raise _LostError("its process had to be ended")
        return parts
