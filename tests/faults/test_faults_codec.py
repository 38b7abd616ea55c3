"""G1, G2, G3: codec bombs, escapes, and a legitimate codec on a machine that has no time for it.

The oracle is the gateway's side: every frame that went in comes back as a reading with its raw bytes, whatever became
of the worker; frames of good codecs are decoded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from codec import client
from codec.client import CodecWorker
from codec.engine import Engine, Limits
from codec.errors import DecodeError
from codec.profiles import ProfileLibrary
from tests.faults.codec_broken import Switch
from tests.faults.gateway_bed import ROOT
from tests.faults.harness import Case, Oracle, environment, poll, seed, trials
from wire.identity import SourceId
from wire.reading import ClockState, Frame, Kind, Link, Reading, Undecoded

STRACE = shutil.which("strace")

DEVICE = """
[device]
name = "Test"
[[device.firmware]]
version = "1"
codec = "{name}.js"
"""
QUANTITIES = """
interval_s = 60
[payload."{name}.js"]
2 = {{ min = 1, max = 242 }}
[[quantity]]
field = "x"
name = "depth"
unit = "mm"
min = 0
max = 255
"""

GOOD = "function decodeUplink(input) { return { data: { x: input.bytes[0] } }; }"

# What a codec may do to whoever runs it, and what is said of the frame.
LIMIT, BAD, ERROR = Undecoded.CODEC_LIMIT, Undecoded.BAD_OUTPUT, Undecoded.CODEC_ERROR
BOMBS: dict[str, tuple[str, Undecoded]] = {
    "endless loop": ("while (true) {}", LIMIT),
    "a loop that catches": ("for (;;) { try { while (true) {} } catch (e) {} finally { continue; } }", LIMIT),
    "backtracking regex": ("return /(a+)+$/.test('a'.repeat(40) + 'b')", LIMIT),
    "memory growth": ("const all = []; for (;;) all.push(new Array(1000).fill(1))", LIMIT),
    "typed memory": ("const all = []; for (;;) all.push(new Uint8Array(1e6))", LIMIT),
    "string doubling": ("let s = 'x'; for (;;) s += s", LIMIT),
    "deep recursion": ("const f = () => f() + 1; return f()", LIMIT),
    "deep JSON in": ("return JSON.parse('['.repeat(1e5))", LIMIT),
    "deep JSON out": ("let d = {}; for (let i = 0; i < 1e5; i++) d = { d }; return { data: d }", LIMIT),
    "huge integer": ("return { data: { x: 2n ** 100000n } }", ERROR),
    "a number past all": ("return { data: { x: 1e308 * 10 } }", BAD),
    "100 MB of output": ("return { data: { x: 'x'.repeat(1e8) } }", LIMIT),
    "output over the cap": ("return { data: { x: 'x'.repeat(1e5) } }", BAD),
    "10 million fields": ("const d = {}; for (let i = 0; i < 1e7; i++) d['f' + i] = i; return { data: d }", LIMIT),
    "NaN": ("return { data: { x: NaN } }", BAD),
    "Infinity": ("return { data: { x: -Infinity } }", BAD),
    "a number as text": ("return { data: { x: '5' } }", BAD),
    "a toString without end": ("throw { toString() { while (true) {} } }", LIMIT),
    "a toJSON without end": ("return { data: { toJSON() { while (true) {} } } }", LIMIT),
    "a getter without end": ("return { data: { get x() { while (true) {} } } }", LIMIT),
    "a proxy without end": ("return { data: new Proxy({}, { ownKeys() { while (true) {} } }) }", LIMIT),
    "a native loop": ("return [].sort.call({ length: 1e9 })", LIMIT),
    "endless promises": ("const f = () => Promise.resolve().then(f); f(); return { data: {} }", ERROR),
    "the constructor of constructors": ("return { data: { x: [].map.constructor('return process')() } }", ERROR),
    "the global object": ("return { data: { x: [].map.constructor('return this')().process.env } }", ERROR),
    "import": ("import('fs'); return { data: { x: require('fs') } }", ERROR),
    "std": ("return { data: { x: std.open('/etc/passwd') } }", ERROR),
    "os": ("return { data: { x: os.exec(['true']) } }", ERROR),
}
# Answers that are merely wrong: the promise's frame has no field of ours.
HARMLESS = {"endless promises"}

# What a frame may leave behind for the next, in the same context.
POLLUTIONS = [
    "Object.prototype.x = 66",
    "Array.prototype.toJSON = () => 66",
    "Number.prototype.toJSON = () => 66",
    'JSON.stringify = () => \'{"data":{"x":66}}\'',
    "JSON.parse = () => 66",
    "Array.prototype[Symbol.iterator] = function* () { yield 66 }",
    "Object.defineProperty(Array.prototype, 0, { get: () => 66, set() {} })",
    "Object.setPrototypeOf(Object.prototype === 1 ? {} : Array.prototype, { x: 66 })",
    "globalThis.decodeUplink = () => ({ data: { x: 66 } })",
    "globalThis.undefined = 66; globalThis.left = 66",
    "Date = function () { return 66 }",
    "String.prototype.slice = () => '66'",
    "Function.prototype.call = () => 66",
    "(function* () {}).__proto__.prototype.next = () => 66",
    "[].values().__proto__.next = () => ({ done: true })",
    "/x/.__proto__.exec = () => 66",
    "Promise.prototype.then = () => 66",
    "Error.stackTraceLimit = 66; Error.prepareStackTrace = () => 66",
    "delete Array.prototype.push; delete globalThis.Object",
    "(0, eval)('var left = 66')",
    "new Function('this.left = 66')()",
    "decodeUplink.left = 66",
    "state.left = 66; count = 66",
]
POLLUTED = """
let count = 0;
const state = {{}};
function decodeUplink(input) {{
  const found = [
    count, state.left, decodeUplink.left, typeof left, {{}}.x, [].x, JSON.stringify([1]), JSON.parse("1"),
    [...[1]].length, (5).toJSON, new Date(0).getTime(), "abc".slice(1), Math.max.call(null, 3),
    [...[1].values()].length, (() => {{ const made = []; made[0] = 5; return made[0]; }})(), /x/.exec("x")[0],
    Error.stackTraceLimit,
    typeof Object, typeof [].push, typeof (function* () {{}})().next().done,
  ].join();
  if (input.bytes[0] === 1) {{ try {{ {trick} }} catch (error) {{ {caught} }} }}
  count += 1;
  return {{ data: {{ x: input.bytes[0], found }} }};
}}
"""
UNTOUCHED = "0,,,undefined,,,[1],1,1,,0,bc,3,1,5,x,10,function,function,boolean"


OF_A_DECODER = {
    *("read", "write", "mmap", "munmap", "mremap", "brk", "madvise", "setitimer", "clock_gettime", "futex"),
    *("getrusage", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "times", "sched_yield"),
}


def frame(byte: int, source: str = "00") -> Frame:
    return Frame(
        SourceId(f"lorawan:a8404100000000{source}"), Kind.UPLINK, os.urandom(16), 1_755_636_688_000, 1_755_636_688_500,
        1000, "boot", ClockState.NTP, bytes([byte]), Link(f_port=2),
    )  # fmt: skip


def write_library(root: Path, scripts: dict[str, str]) -> ProfileLibrary:
    for name, script in scripts.items():
        for folder in ("vendors/test/devices", "vendors/test/codecs", "quantities/test"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / f"vendors/test/devices/{name}.toml").write_text(DEVICE.format(name=name))
        (root / f"vendors/test/codecs/{name}.js").write_text(script)
        (root / f"quantities/test/{name}.toml").write_text(QUANTITIES.format(name=name))
    return ProfileLibrary(root)


@contextlib.contextmanager
def switched(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start workers with this switch thrown."""
    monkeypatch.setattr(client, "MODULE", "codec.worker" if switch is Switch.NONE else "tests.faults.codec_broken")
    monkeypatch.setattr(client, "ARGUMENTS", () if switch is Switch.NONE else (str(switch),))
    yield


def bomb(body: str) -> str:
    """A codec that goes off at a frame whose first byte is 1."""
    return (
        f"function decodeUplink(input) {{ if (input.bytes[0] === 1) {{ {body} }}"
        " return { data: { x: input.bytes[0] } }; }"
    )


async def run_bomb(worker: CodecWorker, name: str) -> list[Reading]:
    """A bomb between two good frames of its own codec, and two of another."""
    return await worker.decode(
        [("test/good", frame(9)), (name, frame(2)), (name, frame(1)), (name, frame(3)), ("test/good", frame(8))]
    )


def judge(case: Case, readings: list[Reading], reason: Undecoded | None, name: str) -> None:
    oracle: Oracle[int] = Oracle()
    oracle.promise(9, 2, 1, 3, 8)
    case.take(oracle.judge(reading.frame.raw[0] for reading in readings))
    values = [reading.quantities[0].value if reading.quantities else None for reading in readings]
    if values[:2] + values[3:] != [9, 2, 3, 8]:
        case.notes.append(f"{name}: its neighbours gave {values}")
    if readings[2].undecoded is not reason:
        case.notes.append(f"{name}: {readings[2].undecoded} {readings[2].warnings}")


async def test_g1_bombs_cost_their_own_frame_and_nothing_else(tmp_path: Path) -> None:
    case = Case(id="G1", seed=seed(1))
    scripts = {f"b{at}": bomb(body) for at, (body, _) in enumerate(BOMBS.values())}
    library = write_library(tmp_path, {"good": GOOD, **scripts})
    async with CodecWorker(library, limits=Limits(cpu_s=0.05)) as worker:
        for _ in range(trials(1)):
            for at, (name, (_, reason)) in enumerate(BOMBS.items()):
                began = time.monotonic()
                judge(case, await run_bomb(worker, f"test/b{at}"), None if name in HARMLESS else reason, name)
                case.recovered(time.monotonic() - began)
                case.trials += 1
        assert worker.disabled == []  # one limit among good frames is no strike-out
    case.close()


async def test_g1_without_limits_a_bomb_is_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch: the gateway's own look at its worker's CPU time still ends it, later, so that this ends too."""
    case = Case(id="G1/no_limits", seed=seed(1), trials=1)
    library = write_library(tmp_path, {"good": GOOD, "loop": bomb("while (true) {}")})
    monkeypatch.setattr(client, "_SPARE_CPU_S", 0.2)
    monkeypatch.setattr(client, "most_cpu_s", lambda _: 0.2)
    with switched(Switch.NO_LIMITS, monkeypatch):
        async with CodecWorker(library, limits=Limits(cpu_s=0.05)) as worker:
            readings = await run_bomb(worker, "test/loop")
            assert worker.restarts >= 1  # nothing inside stopped it
    judge(case, readings, Undecoded.CODEC_LIMIT, "endless loop")
    case.close()


async def test_g1_a_codec_that_goes_on_is_disabled_the_others_go_on_and_no_frame_is_lost(tmp_path: Path) -> None:
    case = Case(id="G1/strikes", seed=seed(1), trials=1)
    bad = {"loop": bomb("while (true) {}"), "native": bomb("[].sort.call({ length: 1e9 })")}
    library = write_library(tmp_path, {"good": GOOD, **bad})
    oracle: Oracle[bytes] = Oracle()
    readings: list[Reading] = []
    async with CodecWorker(library, limits=Limits(cpu_s=0.02)) as worker:
        for _ in range(2):
            sent = [("test/loop", frame(1)), ("test/native", frame(1)), ("test/good", frame(7))] * 6
            sent = [(name, frame(one.raw[0])) for name, one in sent]  # each a frame of its own
            oracle.promise(*(one.key for _, one in sent))
            readings += await worker.decode(sent)
        changes = worker.changes()
        restarts = worker.restarts
        assert restarts <= 7  # the pack that died, and one for each strike
        await worker.decode([("test/loop", frame(1)), ("test/native", frame(1))])
        assert worker.restarts == restarts  # disabled: they reach the process no more
    case.take(oracle.judge(reading.frame.key for reading in readings))
    assert sorted(change.codec.partition("@")[0] for change in changes) == ["test/loop", "test/native"]
    assert all(change.disabled for change in changes)
    good = [reading for reading in readings if reading.codec.startswith("test/good")]
    assert [reading.quantities[0].value for reading in good] == [7] * 12
    case.close()


@pytest.mark.parametrize("caught", ["", "throw error"])
def test_g1_no_frame_leaves_anything_for_the_next(caught: str) -> None:
    case = Case(id="G1/pollution", seed=seed(1), trials=len(POLLUTIONS))
    for trick in POLLUTIONS:
        dirty = Engine(POLLUTED.format(trick=trick, caught=caught), Limits())
        assert dirty.decode(b"\x02", 2, 0).data == {"x": 2, "found": UNTOUCHED}
        with contextlib.suppress(DecodeError):  # in its own frame a codec may hurt itself
            dirty.decode(b"\x01", 2, 0)
        for _ in range(2):
            after = dirty.decode(b"\x02", 2, 0).data
            if after != {"x": 2, "found": UNTOUCHED}:
                case.notes.append(f"{trick}: {after}")
    case.close()


def test_g1_without_freezing_a_frame_poisons_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.engine.freeze", lambda _: None)
    poisoned = []
    for trick in POLLUTIONS:
        dirty = Engine(POLLUTED.format(trick=trick, caught=""), Limits())
        dirty.decode(b"\x02", 2, 0)
        with contextlib.suppress(DecodeError):
            dirty.decode(b"\x01", 2, 0)
        try:
            after: object = dirty.decode(b"\x02", 2, 0).data
        except DecodeError as error:
            after = error
        if after != {"x": 2, "found": UNTOUCHED}:
            poisoned.append(trick)
    assert len(poisoned) > len(POLLUTIONS) // 2, poisoned


# ---- G2


def attempts(switch: Switch) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.codec_broken", switch, "attempts"],
        cwd=ROOT, env=environment(), capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    tried: dict[str, str] = json.loads(done.stdout)
    return tried


def needs_filter() -> None:
    if os.uname().machine not in {"x86_64", "aarch64"}:
        pytest.skip(f"no filter of system calls for {os.uname().machine}: the worker has resource limits alone")


def test_g2_a_codec_that_broke_out_of_the_engine_can_open_and_start_nothing() -> None:
    needs_filter()
    case = Case(id="G2/walls", seed=seed(1), trials=1)
    case.notes += [f"{name}: {end}" for name, end in attempts(Switch.NONE).items() if end != "PermissionError"]
    case.close()


def test_g2_without_walls_it_could() -> None:
    tried = attempts(Switch.NO_WALLS)
    assert {tried["open a file"], tried["open a socket"], tried["list a folder"]} == {"did it"}


@pytest.mark.skipif(STRACE is None, reason="strace is not installed: system calls are not watched")
async def test_g2_escapes_from_within_a_codec_make_no_system_call_beyond_a_decoders(tmp_path: Path) -> None:
    case = Case(id="G2", seed=seed(1), trials=1)
    names = [name for name, (_, reason) in BOMBS.items() if reason is Undecoded.CODEC_ERROR]
    library = write_library(tmp_path / "library", {f"b{at}": bomb(BOMBS[name][0]) for at, name in enumerate(names)})
    trace = tmp_path / "trace"
    async with CodecWorker(library) as worker:
        with watched(worker.pid or 0, trace):
            readings = await worker.decode([(f"test/b{at}", frame(1)) for at in range(len(names))])
    for name, reading in zip(names, readings, strict=True):
        if reading.undecoded is None and name not in HARMLESS:
            case.notes.append(f"{name}: {reading.quantities}")
    calls = {line.split(maxsplit=1)[1].partition("(")[0] for line in trace.read_text().splitlines() if "(" in line}
    assert {"read", "write"} <= calls, "strace saw nothing: this proves nothing"
    if calls - OF_A_DECODER:
        case.notes.append(f"calls: {sorted(calls - OF_A_DECODER)}")
    case.close()


@contextlib.contextmanager
def watched(pid: int, trace: Path) -> Iterator[None]:
    """Have strace write down every system call of a process."""
    assert STRACE is not None
    status = Path(f"/proc/{pid}/status")
    with (trace.parent / "strace.log").open("wb") as log:
        watcher = subprocess.Popen([STRACE, "-f", "-qq", "-o", str(trace), "-p", str(pid)], stderr=log)
        try:
            poll("strace", lambda: "TracerPid:\t0\n" not in status.read_text())
            yield
        finally:
            watcher.send_signal(signal.SIGTERM)
            watcher.wait(timeout=20)


async def test_g2_the_worker_is_given_no_environment_of_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XOM_SECRET", "hunter2")
    async with CodecWorker(write_library(tmp_path, {"good": GOOD})) as worker:
        seen, status, descriptors = looked_at(Path(f"/proc/{worker.pid}"))
        assert worker.unconfined == "" or os.uname().machine not in {"x86_64", "aarch64"}
    assert b"hunter2" not in seen
    assert "NoNewPrivs:\t1" in status
    assert descriptors == {"0", "1", "2"}


def looked_at(process: Path) -> tuple[bytes, str, set[str]]:
    """A process's environment, status and open files."""
    files = {path.name for path in (process / "fd").iterdir()}
    return (process / "environ").read_bytes(), (process / "status").read_text(), files


# ---- G3


class Throttle(threading.Thread):
    """Lets a worker, whichever it is, run for 2 ms of every 150: a machine with better things to do."""

    def __init__(self, worker: CodecWorker) -> None:
        super().__init__(daemon=True)
        self._worker = worker
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.002):
            self._signal(signal.SIGSTOP)
            self._ended.wait(0.148)
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        pid = self._worker.pid
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, number)

    def end(self) -> None:
        self._ended.set()
        self.join(10)


WORK = """
function decodeUplink(input) {
  let n = 0;
  for (let i = 0; i < ROUNDS; i++) n += i;
  return { data: { x: input.bytes[0] } };
}
"""


async def decode_throttled(library: ProfileLibrary, count: int) -> list[Reading]:
    async with CodecWorker(library, deadline_s=0.5) as worker:
        await worker.decode([("test/work", frame(1))])
        throttle = Throttle(worker)
        throttle.start()
        try:
            return await worker.decode([("test/work", frame(byte)) for byte in range(1, count + 1)])
        finally:
            throttle.end()


async def test_g3_a_legitimate_codec_on_a_busy_machine_is_late_and_not_failed(tmp_path: Path) -> None:
    case = Case(id="G3", seed=seed(1), trials=1)
    count = 40
    began = time.monotonic()
    readings = await decode_throttled(write_library(tmp_path, {"work": WORK.replace("ROUNDS", "2e4")}), count)
    case.recovered(time.monotonic() - began)
    oracle: Oracle[int] = Oracle()
    oracle.promise(*range(1, count + 1))
    case.take(oracle.judge(int(reading.quantities[0].value or 0) for reading in readings if reading.quantities))
    assert time.monotonic() - began > 1.5, "it was not slowed: this proves nothing"
    case.close()


async def test_g3_a_limit_by_the_clock_would_fail_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def by_the_clock(self: CodecWorker, exchange: asyncio.Future[bytes], budget_s: float) -> None:
        await asyncio.wait((exchange,), timeout=self._deadline_s)
        if not exchange.done():
            raise client._OverspentError

    monkeypatch.setattr(CodecWorker, "_wait_while_it_works", by_the_clock)
    monkeypatch.setattr(client, "_LOOK_S", 0.05)
    readings = await decode_throttled(write_library(tmp_path, {"work": WORK.replace("ROUNDS", "6e5")}), 1)
    assert Undecoded.CODEC_LIMIT in {reading.undecoded for reading in readings}


async def test_g3_a_worker_that_is_stopped_is_replaced_and_its_frames_are_decoded(tmp_path: Path) -> None:
    case = Case(id="G3/stopped", seed=seed(1), trials=1)
    async with CodecWorker(write_library(tmp_path, {"good": GOOD}), deadline_s=1.0) as worker:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        readings = await worker.decode([("test/good", frame(byte)) for byte in range(5)])
        assert worker.restarts == 1
    oracle: Oracle[int] = Oracle()
    oracle.promise(*range(5))
    case.take(oracle.judge(int(reading.quantities[0].value or 0) for reading in readings if reading.quantities))
    case.close()
