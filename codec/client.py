"""The gateway's side of the codec worker: packs of frames go out, readings come back, in order.

The main process only packs and unpacks; the length check, the codec and the quantities run in the worker. A worker
that dies or stays silent is killed and started again, and its pack is retried frame by frame, so that only the
culprit fails. What a frame may cost is counted in CPU time: a worker that gets none, on a busy or stopped machine, is
waited for and its frames are retried, never failed. A codec that goes on meeting its limits is disabled for a while
(strikes.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

import codec
from codec.engine import Limits
from codec.errors import ProfileError, WorkerError
from codec.firmware import layout_for
from codec.history import past_frame
from codec.profiles import DeviceProfile, ProfileLibrary
from codec.strikes import Change, StrikeList
from codec.worker import Answer, Item, Load, Pack, most_cpu_s
from wire.identity import SourceId
from wire.reading import Frame, Kind, Reading, Undecoded

# A frame, and the name of its device's profile; None where the device is not enrolled.
Undecided = tuple[str | None, Frame]

MODULE: Final = "codec.worker"
ARGUMENTS: Final[tuple[str, ...]] = ()  # before the limits; a fault test's program takes its switch here

_PACK: Final = 256
_START_S: Final = 60.0  # a busy machine starts slowly
_LOOK_S: Final = 1.0  # between two looks at what a silent worker does
_SPARE_CPU_S: Final = 2.0  # beyond the frames: the codecs of the pack are compiled, too
_PATIENCE: Final = 3  # how often a frame is retried that was lost without having spent its CPU time
_CULPRIT: Final = "the codec worker died or overspent its CPU time on this frame"
_DISABLED: Final = "the codec is disabled: it kept meeting its limits; the frame is kept"

_answers = msgspec.msgpack.Decoder(list[Answer]).decode
_encode = msgspec.msgpack.Encoder().encode


class _Loss(enum.Enum):
    """Why the worker is gone."""

    SPENT = enum.auto()  # it used up the CPU time of its frames, or fell over them
    KILLED = enum.auto()  # from outside: an operator, or the kernel short of memory
    STARVED = enum.auto()  # it got no CPU time


class _WorkerLostError(Exception):
    """The worker is gone."""

    def __init__(self, loss: _Loss) -> None:
        super().__init__()
        self.loss = loss


class _OverspentError(TimeoutError):
    """The worker used more CPU time than its frames may cost."""


class CodecWorker:
    """Decodes frames in a killable process.

    `deadline_s` is how long a worker may get no CPU time at all before it is started again. `now_s` is a clock that
    does not step. Counters are plain numbers: `decoded` frames, `failed` by reason, `restarts` of the process.
    `unconfined` says what this machine could not take from the worker, "" if nothing.
    `firmware` is what each device's info frame has told; a mapping that outlives the process spares a device with
    several layouts the guess after a restart.
    """

    def __init__(
        self,
        profiles: ProfileLibrary,
        *,
        limits: Limits | None = None,
        deadline_s: float = 10.0,
        firmware: MutableMapping[SourceId, str] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.decoded = 0
        self.failed: Counter[Undecoded] = Counter()
        self.restarts = 0
        self.unconfined = ""
        self._now_s = now_s
        self._strikes = StrikeList()
        self._changes: list[Change] = []
        self._profiles = profiles
        self._limits = limits or Limits()
        self._deadline_s = deadline_s
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        # Profile name to the index that the worker knows, None where the profile has no codec.
        self._indices: dict[str, int | None] = {}
        # A profile that names no firmware to its layouts, where there are several.
        self._layouts: dict[str, tuple[str, ...]] = {}
        self._firmware: MutableMapping[SourceId, str] = {} if firmware is None else firmware
        self._loads: list[bytes] = []
        self._codecs: list[str] = []
        self._told = 0

    async def __aenter__(self) -> Self:
        async with self._lock:
            await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    @property
    def pid(self) -> int | None:
        """The worker's process id while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def disabled(self) -> list[str]:
        """The codecs out of service now."""
        return self._strikes.disabled

    def changes(self) -> list[Change]:
        """Return the codecs that were disabled or came back since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes

    async def decode(self, frames: Sequence[Undecided]) -> list[Reading]:
        """Return one reading per frame, in order: what the frame itself measured. Raises as `unfold` does."""
        return [readings[0] for readings in await self.unfold(frames)]

    async def unfold(self, frames: Sequence[Undecided]) -> list[tuple[Reading, ...]]:
        """Return each frame's readings, in order: its own, then those it brought from the device's memory.

        Frames that nothing can decode never reach the process. Raises ProfileError for a broken profile file and
        WorkerError when the worker cannot be started, or gets no CPU time however often it is.
        """
        unfolded: list[tuple[Reading, ...] | None] = [self._without_codec(name, frame) for name, frame in frames]
        waiting = [place for place, readings in enumerate(unfolded) if readings is None]
        if waiting:
            items = [self._item(*frames[place]) for place in waiting]
            async with self._lock:
                answers = await self._ask_all(items)
            for place, answer in zip(waiting, answers, strict=True):
                unfolded[place] = _readings(frames[place][1], answer)
                self._remember(*frames[place], answer)
        done = [readings for readings in unfolded if readings is not None]
        self._count(readings[0] for readings in done)
        return done

    def _remember(self, name: str | None, frame: Frame, answer: Answer) -> None:
        """Keep what an info frame told, where it decides between layouts."""
        if answer.firmware and name in self._layouts and self._firmware.get(frame.source) != answer.firmware:
            self._firmware[frame.source] = answer.firmware

    def _without_codec(self, name: str | None, frame: Frame) -> tuple[Reading] | None:
        """The one reading of a frame that needs no codec, or None when it does."""
        if frame.kind is not Kind.UPLINK:
            return (Reading(frame),)
        if name is None:
            return (Reading(frame, undecoded=Undecoded.UNKNOWN_DEVICE),)
        if not frame.raw:
            return (Reading(frame, undecoded=Undecoded.EMPTY),)
        if name not in self._indices:
            self._indices[name] = self._register(name)
        index = self._indices[name]
        if index is None:
            return (Reading(frame, undecoded=Undecoded.NO_CODEC),)
        if not self._strikes.admits(self._codecs[index], self._now_s()):
            return (Reading(frame, undecoded=Undecoded.CODEC_LIMIT, warnings=(_DISABLED,)),)
        return None

    def _judge(self, answer: Answer) -> bool:
        """Count limits in a row; returns whether this one disabled the codec.

        An answer for which the codec did not run counts neither way.
        """
        change = None
        if answer.undecoded is Undecoded.CODEC_LIMIT:
            change = self._strikes.struck(answer.codec, "; ".join(answer.warnings), self._now_s())
        elif answer.undecoded not in (Undecoded.WRONG_PORT, Undecoded.WRONG_LENGTH):
            change = self._strikes.passed(answer.codec)
        if change is None:
            return False
        self._changes.append(change)
        return change.disabled

    def _register(self, name: str) -> int | None:
        if name not in self._profiles:
            return None
        layouts = self._profiles.layouts(name)
        if len(layouts) > 1:
            self._layouts[name] = layouts
            for layout in layouts:
                self._indices[layout] = self._register(layout)
            return self._indices[layouts[-1]]
        profile = self._profiles.profile(name)
        if profile.script is None:
            return None
        index = len(self._loads)
        self._loads.append(_message(_load(index, profile, profile.script)))
        self._codecs.append(profile.codec)
        return index

    def _item(self, name: str | None, frame: Frame) -> Item:
        f_port = frame.link.f_port if frame.link is not None else 0
        indices = [index for layout in self._layouts_of(name, frame) if (index := self._indices[layout]) is not None]
        if not indices:
            raise ProfileError(f"profile {name!r} has no codec")
        return Item(indices[0], f_port, frame.raw, frame.observed_at_ms, tuple(indices[1:]))

    def _layouts_of(self, name: str | None, frame: Frame) -> tuple[str, ...]:
        """The profiles that a frame may be of: all layouts, or the one of the device's known firmware."""
        layouts = self._layouts.get(name or "", () if name is None else (name,))
        known = self._firmware.get(frame.source, "") if len(layouts) > 1 else ""
        layout = layout_for(known, layouts) if known else None
        return layouts if layout is None else (layout,)

    def _count(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            if reading.undecoded is not None:
                self.failed[reading.undecoded] += 1
            elif reading.codec:
                self.decoded += 1

    async def _ask_all(self, items: Sequence[Item]) -> list[Answer]:
        answers: list[Answer] = []
        for pack in _packs(items):
            try:
                told = await self._ask(pack)
            except _WorkerLostError:
                answers += await self._ask_each(pack)
            else:
                for answer in told:
                    self._judge(answer)
                answers += told
        return answers

    async def _ask_each(self, pack: Sequence[Item]) -> list[Answer]:
        """Frame by frame, so that only the culprit fails. A codec that is struck out on the way is left out."""
        answers: list[Answer] = []
        out: set[int] = set()
        for item in pack:
            if item.index in out:
                answers.append(Answer("", (), Undecoded.CODEC_LIMIT, (_DISABLED,)))
                continue
            answer = await self._ask_alone(item)
            if self._judge(answer):
                out.add(item.index)
            answers.append(answer)
        return answers

    async def _ask_alone(self, item: Item) -> Answer:
        loss, lost = _Loss.STARVED, 0
        while lost < _PATIENCE:
            try:
                return (await self._ask([item]))[0]
            except _WorkerLostError as error:
                loss = error.loss
                lost += _PATIENCE if loss is _Loss.SPENT else 1
        if loss is _Loss.STARVED:
            raise WorkerError(
                f"the codec worker got no CPU time for {self._deadline_s:g} s, {_PATIENCE} times in a row"
            )
        return Answer(self._codecs[item.index], (), Undecoded.CODEC_LIMIT, (_CULPRIT,))

    async def _ask(self, pack: Sequence[Item]) -> list[Answer]:
        """One roundtrip. Whatever interrupts it, cancellation too, ends the process: its pipe is out of step."""
        if self._process is None:
            self.restarts += 1
            await self._start()
        try:
            answers = _answers(await self._watched(pack))
        except (TimeoutError, asyncio.IncompleteReadError, OSError, msgspec.DecodeError) as error:
            raise _WorkerLostError(_loss(error, await self._stop())) from error
        except BaseException:
            await self._stop()
            raise
        return answers

    async def _watched(self, pack: Sequence[Item]) -> bytes:
        """Exchange a pack while its CPU time lasts; raises TimeoutError, as _OverspentError when it does not.

        The worker ends itself first, by its own timer; this is for one that could not.
        """
        exchange = asyncio.ensure_future(self._exchange(pack))
        try:
            await asyncio.wait((exchange,), timeout=_LOOK_S)
            if not exchange.done():
                await self._wait_while_it_works(exchange, len(pack) * most_cpu_s(self._limits) + _SPARE_CPU_S)
            return await exchange
        finally:
            exchange.cancel()

    async def _wait_while_it_works(self, exchange: asyncio.Future[bytes], budget_s: float) -> None:
        first = used = cpu_s(self.pid)
        idle_since = time.monotonic()
        while not exchange.done():
            await asyncio.wait((exchange,), timeout=min(_LOOK_S, self._deadline_s))
            before, used = used, cpu_s(self.pid)
            if used > before:
                idle_since = time.monotonic()
            if used - first > budget_s:
                raise _OverspentError
            if time.monotonic() - idle_since > self._deadline_s:
                raise TimeoutError

    async def _exchange(self, pack: Sequence[Item]) -> bytes:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise OSError("the codec worker is not running")
        news = self._loads[self._told :]
        self._told = len(self._loads)
        process.stdin.write(b"".join([*news, _message(Pack(tuple(pack)))]))
        await process.stdin.drain()
        return await _read_message(process.stdout)

    async def _start(self) -> None:
        self._told = 0
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            MODULE,
            *ARGUMENTS,
            msgspec.json.encode(self._limits).decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            limit=1 << 20,
        )
        try:
            async with asyncio.timeout(_START_S):
                self.unconfined = msgspec.msgpack.decode(await _read_message(_stdout(self._process)), type=str)
        except (TimeoutError, asyncio.IncompleteReadError, msgspec.DecodeError) as error:
            await self._stop()
            raise WorkerError("the codec worker did not start; its standard error says why") from error
        except BaseException:
            await self._stop()
            raise

    async def _stop(self) -> int | None:
        """End the process; returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        return await process.wait()


def _readings(frame: Frame, answer: Answer) -> tuple[Reading, ...]:
    own = Reading(frame, answer.codec, answer.quantities, answer.undecoded, answer.warnings, answer.urgent)
    return (own, *[Reading(past_frame(frame, past), answer.codec, past.quantities) for past in answer.history])


def _load(index: int, profile: DeviceProfile, script: str) -> Load:
    return Load(index, profile.codec, script, profile.overlay)


def _packs(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Bounded packs: the deadline and the size of an answer are per pack."""
    for start in range(0, len(items), _PACK):
        yield items[start : start + _PACK]


def _message(value: msgspec.Struct) -> bytes:
    body = _encode(value)
    return len(body).to_bytes(4, "big") + body


async def _read_message(stream: asyncio.StreamReader) -> bytes:
    head = await stream.readexactly(4)
    return await stream.readexactly(int.from_bytes(head, "big"))


def _stdout(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise WorkerError("the codec worker has no standard output")
    return process.stdout


def _loss(error: Exception, exit_code: int | None) -> _Loss:
    if isinstance(error, _OverspentError) or exit_code not in (None, -signal.SIGKILL):
        return _Loss.SPENT  # SIGPROF is its own timer, SIGSEGV a fault in the engine
    return _Loss.STARVED if isinstance(error, TimeoutError) else _Loss.KILLED


def cpu_s(pid: int | None) -> float:
    """CPU seconds that a process has used; 0 once it is gone."""
    if pid is None:
        return 0.0
    try:
        return time.clock_gettime(~pid << 3 | 2)  # its CPU clock, as clock_getcpuclockid(3) names it on Linux
    except OSError:
        return 0.0


def environment() -> dict[str, str]:
    """Only what finds the code: a codec that broke out would find no secret of the gateway in there."""
    root = str(Path(codec.__path__[0]).parent)
    path = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": root if path is None else f"{root}{os.pathsep}{path}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TZ": "UTC",  # a codec's local time is the same everywhere, and on every decoding
    }
