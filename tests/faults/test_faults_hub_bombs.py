"""G5: batches that unfold to more than any may, signed by an enrolled gateway's own key: the worst sender there is.

They are refused while they unfold, in memory that does not grow with what they claim, and what is behind them goes on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hub.ingest.admit import Refused, admit
from tests.faults import harness
from tests.faults.hub_world import home_below, running_hub, stored_batches, until
from tests.hub.ingest.running import station
from tests.hub.written import Log
from tests.hub_database import enrol
from tests.real_mosquitto import Mosquitto
from wire import batch as batch_room
from wire import dsse
from wire.batch import BATCH_TYPE, MAX_BODY_BYTES, MAX_ENVELOPE_BYTES, decompress
from wire.dictionary import BATCH_DICTIONARY
from wire.identity import GatewayId
from wire.keys import SigningKey
from wire.refusal import Reason

_ROOT = Path(__file__).parent.parent.parent
_TOPIC = "xom/v1/gw/gw-a/up/batch"
_MOST_MB = 120.0  # above a process that has opened a good batch; a bomb claims gigabytes
_CLAIMED = 600_000_000


def deflated(chunks: Iterator[bytes]) -> bytes:
    """What a gateway's deflater makes of a body, as far as one envelope takes it."""
    deflater = zlib.compressobj(9, zdict=BATCH_DICTIONARY)
    written = bytearray()
    for chunk in chunks:
        written += deflater.compress(chunk)
        if len(written) > MAX_ENVELOPE_BYTES - 65_536:
            break
    return bytes(written + deflater.flush())


def zeros(total: int) -> Iterator[bytes]:
    piece = bytes(1_000_000)
    for _ in range(total // len(piece)):
        yield piece


def body_of(log: Log) -> dict[str, Any]:
    """A good body as plain values, to be made bad."""
    body = decompress(dsse.Envelope.decode(log.sealed[0].envelope).payload)
    plain: dict[str, Any] = msgspec.msgpack.decode(body)
    return plain


def bombs(log: Log) -> dict[str, bytes]:
    """Payloads by what is wrong with them."""
    good = body_of(log)
    many = good | {"r": good["r"] | {"n": 2**40}}
    below = MAX_BODY_BYTES - 65_536
    stream = deflated(zeros(_CLAIMED))
    return {
        "1:1000, zeros": stream,
        "a bomb in a bomb": deflated(iter([stream])),
        "a stream without end": stream[:-8],
        "endless behind a good body": deflated(iter([msgspec.msgpack.encode(good), *zeros(50_000_000)])),
        "nil for every value": packed(good | {"r": good["r"] | {"values": [None] * below}}),
        "a million million readings": packed(many),
        "nested arrays": deflated(iter([b"\x91" * below, b"\xc0"])),
        "a text of its own length": deflated(iter([b"\xdb\xff\xff\xff\xff", *zeros(3_000_000)])),
        "a map of 4 thousand million": deflated(iter([b"\xdf\xff\xff\xff\xff"])),
    }


def packed(body: dict[str, Any]) -> bytes:
    return deflated(iter([msgspec.msgpack.encode(body)]))


def signed(payload: bytes, key: SigningKey) -> bytes:
    return dsse.sign(BATCH_TYPE, payload, key).encode()


_MEASURE = """
import json, os, sys
from pathlib import Path
from bench import machine
from hub.ingest.admit import Refused, admit
from wire import batch
from wire.keys import SigningKey
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
batch.decompress.__defaults__ = (limit,)
verifiers = {"gw-a": SigningKey.read(folder / "key.pem").public.verifier()}
admit(sys.argv[3], (folder / "good").read_bytes(), verifiers)
before, ends = machine.peak_rss_mb(os.getpid()), {}
for file in sorted(folder.glob("bomb-*")):
    verdict = admit(sys.argv[3], file.read_bytes(), verifiers)
    ends[file.name] = type(verdict).__name__
print(json.dumps([ends, machine.peak_rss_mb(os.getpid()) - before]))
"""


def measured(folder: Path, log: Log, limit: int) -> tuple[dict[str, str], float]:
    """Let a process of its own admit every bomb; returns each verdict, and how far its memory grew, MB."""
    log.key.write(folder / "key.pem")
    (folder / "good").write_bytes(log.sealed[0].envelope)
    for at, payload in enumerate(bombs(log).values()):
        (folder / f"bomb-{at:02}").write_bytes(signed(payload, log.key))
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(folder), str(limit), _TOPIC],
        cwd=_ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ends, grown = json.loads(done.stdout)
    return ends, grown


def test_g5_every_bomb_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    case = harness.Case(id="G5", seed=harness.seed(55))
    log = Log(GatewayId("gw-a"))
    log.many(1)
    ends, grown = measured(tmp_path, log, MAX_BODY_BYTES)
    case.trials = len(ends)
    case.lost = sum(1 for end in ends.values() if end != "Refused")
    case.notes += [] if grown < _MOST_MB else [f"memory grew by {grown:.0f} MB"]
    print(f"memory grew by {grown:.0f} MB")  # noqa: T201
    case.close()


def test_g5_fails_when_nothing_stops_the_inflating(tmp_path: Path) -> None:
    case = harness.Case(id="G5-broken:no_cap", seed=harness.seed(55))
    log = Log(GatewayId("gw-a"))
    log.many(1)
    ends, grown = measured(tmp_path, log, 2**31)
    case.trials = len(ends)
    case.notes += [f"memory grew by {grown:.0f} MB"]
    case.print()
    assert grown > 2 * _MOST_MB


@pytest.mark.mosquitto
@pytest.mark.postgres
async def test_g5_a_gateway_that_sends_bombs_is_told_and_its_good_batches_are_stored(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="G5-wire", seed=harness.seed(55))
    log = Log(GatewayId("gw-a"))
    good = log.many(2)
    sent = [signed(payload, log.key) for payload in bombs(log).values()]
    assert all(len(one) <= batch_room.MAX_ENVELOPE_BYTES for one in sent)
    async with running_hub(home_below(tmp_path, "hub"), dsn, mosquitto.port) as hub:
        await enrol(hub.database, log)
        await hub.enrolled.refresh(at_once=True)
        async with station(log.gateway, mosquitto.port, hub.key.public.verifier()) as sender:
            await sender.send(good[0].envelope, *sent, good[1].envelope)
            await until("the batch behind the bombs", lambda: hub.metrics.readings._value.get() == 6)
            await until("the sender told of each", lambda: len(sender.refused) == len(sent))
            assert {one.reason for one in sender.refused} <= {Reason.TOO_LARGE, Reason.MALFORMED}
            await sender.acked(2)
    case.trials, case.stored = len(sent), len(await stored_batches(dsn))
    assert case.stored == 2
    case.close()


def test_the_bombs_unfold_to_what_they_claim() -> None:
    """Otherwise the cases above would prove nothing."""
    log = Log(GatewayId("gw-a"))
    log.many(1)
    inflated = zlib.decompressobj(zdict=BATCH_DICTIONARY).decompress(bombs(log)["1:1000, zeros"], 100_000_000)
    assert len(inflated) == 100_000_000
    verdict = admit(_TOPIC, signed(bombs(log)["1:1000, zeros"], log.key), {log.gateway: log.key.public.verifier()})
    assert isinstance(verdict, Refused)
