"""The codec worker: a process of its own, so that whatever a codec does, the gateway goes on.

`python -m codec.worker [limits as JSON]` reads requests on stdin and answers on stdout, each a msgpack
value behind its length (4 bytes, big-endian). When it is ready it says what it could not give up (see confine.py),
"" if nothing, and it ends when stdin closes. It imports as little as it can: no network, no logging, no database.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import BinaryIO, Final

import msgspec

from codec.confine import confine
from codec.contexts import Limits, read_sources
from codec.engine import Engine
from codec.errors import DecodeError
from codec.quantities import Overlay, Past, check_payload, read_firmware, read_history, read_quantities
from codec.strikes import STRIKES
from wire.reading import Quantity, Undecoded

# Past the engine's own limit, CPU time kills the process (SIGPROF): some native loops (Array.prototype.sort over a huge
# length, String.prototype.indexOf) never look at the engine's limit; seen here with quickjs-ng 0.17.
BACKSTOP_S: Final = 1.0

_ADDRESS_SPACE: Final = 512 << 20
_MOST_TOLD: Final = 4  # warnings about records that are not believed


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """Remember a codec and its overlay under `index`. No answer."""

    index: int
    codec: str
    script: str
    overlay: Overlay


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One frame to decode with the profile `index`; with `others` too where the device's firmware is not known."""

    index: int
    f_port: int
    raw: bytes
    recv_time_ms: int
    others: tuple[int, ...] = ()


class Pack(msgspec.Struct, frozen=True, array_like=True, tag="pack"):
    """Frames to decode. Answered by one Answer per frame, in the same order."""

    items: tuple[Item, ...]


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of one frame: quantities, or the reason why not, with the message as the only warning.

    `history` are the records that it brought from the device's memory, `firmware` is what an info frame told.
    """

    codec: str
    quantities: tuple[Quantity, ...] = ()
    undecoded: Undecoded | None = None
    warnings: tuple[str, ...] = ()
    urgent: bool = False
    history: tuple[Past, ...] = ()
    firmware: str = ""


class Loaded:
    """A codec with its overlay, and how often in a row it met a limit in this pack."""

    __slots__ = ("codec", "engine", "overlay", "strikes")

    def __init__(self, load: Load, limits: Limits) -> None:
        self.codec = load.codec
        self.engine = Engine(load.script, limits)
        self.overlay = load.overlay
        self.strikes = 0

    def answer(self, item: Item) -> Answer:
        """Decode one frame. Never raises for what a codec does."""
        try:
            check_payload(item.raw, item.f_port, self.overlay)
            self._check_strikes()
            decoded = self.engine.decode(item.raw, item.f_port, item.recv_time_ms)
            quantities, urgent = read_quantities(decoded.data, self.overlay)
            history = read_history(decoded.data, self.overlay, item.recv_time_ms)
        except DecodeError as error:
            self.strikes = self.strikes + 1 if error.reason is Undecoded.CODEC_LIMIT else 0
            return Answer(self.codec, (), error.reason, (error.message,))
        self.strikes = 0
        firmware = read_firmware(decoded.data, self.overlay)
        return settle(Answer(self.codec, quantities, None, decoded.warnings, urgent, history, firmware))

    def _check_strikes(self) -> None:
        if self.strikes >= STRIKES:
            raise DecodeError(Undecoded.CODEC_LIMIT, f"{STRIKES} limits in a row: codec sits out this pack")


def settle(answer: Answer) -> Answer:
    """Let go of records that cannot be believed; a frame that brought nothing else is undecoded for that reason."""
    bad = [past for past in answer.history if past.undecoded is not None]
    if not bad:
        return answer
    told = tuple(dict.fromkeys(past.problem for past in bad))[:_MOST_TOLD]
    return msgspec.structs.replace(
        answer,
        undecoded=None if answer.quantities else bad[0].undecoded,
        warnings=(*answer.warnings, *told),
        history=tuple(past for past in answer.history if past.undecoded is None),
    )


def choose(answers: Sequence[Answer]) -> Answer:
    """Return the answer of the one layout that accepts the frame.

    Where several accept it and say the same (an info frame), that is the answer; where they contradict each other the
    frame stays raw. Where none accepts it, the newest layout's reason stands.
    """
    accepted = [answer for answer in answers if answer.undecoded is None]
    if len(answers) == 1 or not accepted:
        return answers[-1]
    if len({(answer.quantities, answer.history, answer.firmware) for answer in accepted}) == 1:
        return min(reversed(accepted), key=lambda answer: len(answer.warnings))
    codecs = " and ".join(answer.codec.partition("@")[0] for answer in accepted)
    return Answer("", (), Undecoded.AMBIGUOUS_FIRMWARE, (f"the frame fits {codecs}; the firmware is not known",))


class Room:
    """All loaded codecs of this process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._loaded: dict[int, Loaded] = {}

    def load(self, load: Load) -> None:
        """Remember a codec; it is compiled with its first frame."""
        self._loaded[load.index] = Loaded(load, self._limits)

    def decode(self, pack: Pack) -> list[Answer]:
        """Answer every frame of a pack, in order, under the CPU backstop."""
        for loaded in self._loaded.values():
            loaded.strikes = 0
        answers = []
        for item in pack.items:
            signal.setitimer(signal.ITIMER_PROF, most_cpu_s(self._limits))
            answers.append(choose([self._loaded[index].answer(item) for index in (item.index, *item.others)]))
        signal.setitimer(signal.ITIMER_PROF, 0)
        return answers


def most_cpu_s(limits: Limits) -> float:
    """CPU seconds after which one frame ends the process: the engine's own limit comes twice (a retry) before that."""
    return limits.cpu_s * 2 + BACKSTOP_S


def serve(requests: BinaryIO, answers: BinaryIO, room: Room, unconfined: str) -> None:
    """Say that we are ready, and answer packs until the requests end."""
    decode = msgspec.msgpack.Decoder(Load | Pack).decode
    encode = msgspec.msgpack.Encoder().encode
    _write(answers, encode(unconfined))
    while head := requests.read(4):
        request = decode(requests.read(int.from_bytes(head, "big")))
        if isinstance(request, Load):
            room.load(request)
        else:
            _write(answers, encode(room.decode(request)))


def _write(stream: BinaryIO, body: bytes) -> None:
    stream.write(len(body).to_bytes(4, "big") + body)
    stream.flush()


def main() -> None:
    """Run the worker on this process's standard streams."""
    # Ctrl-C goes to the whole terminal group; the gateway closes our stdin when it is done with us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limits = msgspec.json.decode(sys.argv[1], type=Limits) if len(sys.argv) > 1 else Limits()
    prepare(limits)
    serve(sys.stdin.buffer, sys.stdout.buffer, Room(limits), confine(_ADDRESS_SPACE))


def prepare(limits: Limits) -> None:
    """Do once, while files can still be opened, all that opens one: our JavaScript, the engine, the time zone."""
    read_sources()
    Engine("function decodeUplink() { return { data: { x: new Date().getTimezoneOffset() } }; }", limits).decode(
        b"", 1, 0
    )


if __name__ == "__main__":
    main()
