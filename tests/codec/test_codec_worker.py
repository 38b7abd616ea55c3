"""The worker process: order, isolation, death and retry."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from codec.client import CodecWorker
from codec.engine import Limits
from codec.profiles import ProfileLibrary
from codec.strikes import FIRST_PAUSE_S
from wire.identity import SourceId
from wire.reading import ClockState, Frame, Kind, Link, Quality, Undecoded

GOOD = "0d0a07e900000001"


def frame(raw: str = GOOD, *, f_port: int = 2, kind: Kind = Kind.UPLINK) -> Frame:
    return Frame(
        SourceId("lorawan:a840410000000001"),
        kind,
        bytes(16),
        1_755_636_688_000,
        1_755_636_688_500,
        1000,
        "boot",
        ClockState.NTP,
        bytes.fromhex(raw),
        Link(f_port=f_port),
    )


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

# Byte 0 chooses what goes wrong. 4: a native loop that never looks at the engine's time limit.
BOMBS = """
function decodeUplink(input) {
  switch (input.bytes[0]) {
    case 1: while (true) {}
    case 2: { const all = []; for (;;) all.push(new Array(1000).fill(1)); }
    case 3: { const f = () => f() + 1; return f(); }
    case 4: return [].sort.call({ length: 1e9 });
    case 5: return { data: { x: "x".repeat(1e5) } };
    case 6: return { data: { x: NaN } };
    case 7: return /(a+)+$/.test("a".repeat(40) + "b");
  }
  return { data: { x: input.bytes[0] } };
}
"""


@pytest.fixture
def library(tmp_path: Path) -> ProfileLibrary:
    """A tree with the codec `test/bombs`, and `test/none`, whose firmware has no codec."""
    for name, script in {"bombs": BOMBS, "none": "", "other": BOMBS + "// another"}.items():
        for folder in ("vendors/test/devices", "vendors/test/codecs", "quantities/test"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / f"vendors/test/devices/{name}.toml").write_text(DEVICE.format(name=name))
        (tmp_path / f"vendors/test/codecs/{name}.js").write_text(script)
        (tmp_path / f"quantities/test/{name}.toml").write_text(QUANTITIES.format(name=name))
    path = tmp_path / "vendors/test/devices/none.toml"
    path.write_text(path.read_text().replace('codec = "none.js"', ""))
    return ProfileLibrary(tmp_path)


async def test_frames_come_back_as_readings_in_order() -> None:
    async with CodecWorker(ProfileLibrary()) as worker:
        frames = [
            ("dragino/ldds75", frame()),
            (None, frame()),
            ("milesight/em500-udl", frame("01756403821e00", f_port=85)),
            ("dragino/ldds75", frame("")),
            ("dragino/ldds75", frame(kind=Kind.JOIN)),
            ("dragino/ldds75", frame(f_port=9)),
            ("dragino/ldds75", frame("0d0a07")),
            ("nobody/knows", frame()),
            ("dragino/ldds75", frame("0d0a001400000001")),
        ]
        readings = await worker.decode(frames)
    assert [reading.frame for reading in readings] == [item for _, item in frames]
    assert [reading.undecoded for reading in readings] == [
        None,
        Undecoded.UNKNOWN_DEVICE,
        None,
        Undecoded.EMPTY,
        None,
        Undecoded.WRONG_PORT,
        Undecoded.WRONG_LENGTH,
        Undecoded.NO_CODEC,
        None,
    ]
    assert readings[0].quantities[0].value == 2025
    assert readings[0].codec == ProfileLibrary().profile("dragino/ldds75").codec
    assert readings[4].quantities == ()
    assert readings[8].quantities[0].quality is Quality.INVALID
    assert worker.decoded == 3
    assert sum(worker.failed.values()) == 5
    assert worker.restarts == 0


async def test_bombs_stop_within_limits_and_their_neighbours_are_decoded(library: ProfileLibrary) -> None:
    async with CodecWorker(library) as worker:
        pid = worker.pid
        sent = [1, 100, 2, 101, 3, 102, 5, 103, 6, 104, 7, 105]
        readings = await worker.decode([("test/bombs", frame(f"{byte:02x}")) for byte in sent])
        assert [reading.undecoded for reading in readings[::2]] == [
            Undecoded.CODEC_LIMIT,
            Undecoded.CODEC_LIMIT,
            Undecoded.CODEC_LIMIT,
            Undecoded.BAD_OUTPUT,
            Undecoded.BAD_OUTPUT,
            Undecoded.CODEC_LIMIT,
        ]
        assert [reading.quantities[0].value for reading in readings[1::2]] == [100, 101, 102, 103, 104, 105]
        assert worker.pid == pid
        assert all(reading.warnings for reading in readings[::2])


async def test_a_codec_that_blinds_the_engine_costs_only_its_own_frame(library: ProfileLibrary) -> None:
    async with CodecWorker(library, limits=Limits(cpu_s=0.05)) as worker:
        readings = await worker.decode([("test/bombs", frame(f"{byte:02x}")) for byte in (100, 4, 101)])
        assert [reading.undecoded for reading in readings] == [None, Undecoded.CODEC_LIMIT, None]
        assert worker.restarts == 2
        assert worker.failed == {Undecoded.CODEC_LIMIT: 1}


async def test_a_codec_that_only_meets_limits_is_disabled_and_tried_again_after_a_pause(
    library: ProfileLibrary,
) -> None:
    now = 0.0
    good, bomb = ("test/bombs", frame("64")), ("test/bombs", frame("01"))
    async with CodecWorker(library, limits=Limits(cpu_s=0.02), now_s=lambda: now) as worker:
        readings = await worker.decode([bomb] * 50)
        assert {reading.undecoded for reading in readings} == {Undecoded.CODEC_LIMIT}
        assert "sits out" in readings[-1].warnings[0]
        (change,) = worker.changes()
        assert change.disabled
        assert change.codec == library.profile("test/bombs").codec == worker.disabled[0]
        assert worker.changes() == []

        now = FIRST_PAUSE_S - 1
        (waiting,) = await worker.decode([good])
        assert (waiting.undecoded, waiting.codec) == (Undecoded.CODEC_LIMIT, "")
        assert waiting.frame.raw == good[1].raw  # kept: it can be decoded later
        assert "disabled" in waiting.warnings[0]
        (other,) = await worker.decode([("test/none", frame())])
        assert other.undecoded is Undecoded.NO_CODEC

        now = FIRST_PAUSE_S
        trial, next_one = await worker.decode([good, good])  # one is let through, to see
        assert (trial.undecoded, next_one.undecoded) == (None, Undecoded.CODEC_LIMIT)
        assert [change.disabled for change in worker.changes()] == [False]
        (again,) = await worker.decode([good])
        assert again.undecoded is None


async def test_another_codec_is_decoded_while_one_is_disabled(library: ProfileLibrary, tmp_path: Path) -> None:
    async with CodecWorker(library, limits=Limits(cpu_s=0.02)) as worker:
        await worker.decode([("test/bombs", frame("01"))] * 5)
        assert worker.disabled
        (reading,) = await worker.decode([("test/other", frame("64"))])
        assert reading.quantities[0].value == 100


async def test_a_profile_without_codec_is_said_so(library: ProfileLibrary) -> None:
    async with CodecWorker(library) as worker:
        (reading,) = await worker.decode([("test/none", frame())])
        assert reading.undecoded is Undecoded.NO_CODEC


async def test_a_killed_worker_is_replaced_and_no_frame_is_lost() -> None:
    async with CodecWorker(ProfileLibrary()) as worker:
        for _ in range(3):
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            readings = await worker.decode([("dragino/ldds75", frame())] * 20)
            assert [reading.quantities[0].value for reading in readings] == [2025] * 20
        assert worker.restarts == 3


async def test_a_worker_killed_while_it_decodes_loses_no_frame(library: ProfileLibrary) -> None:
    async with CodecWorker(library, limits=Limits(cpu_s=0.3)) as worker:
        assert worker.pid is not None
        pack = [("test/bombs", frame("01")), ("test/bombs", frame("64"))]
        task = asyncio.create_task(worker.decode(pack))
        await asyncio.sleep(0)  # the request is on its way
        os.kill(worker.pid, signal.SIGKILL)
        readings = await task
        assert [reading.undecoded for reading in readings] == [Undecoded.CODEC_LIMIT, None]


async def test_a_silent_worker_is_killed_at_the_deadline() -> None:
    async with CodecWorker(ProfileLibrary(), deadline_s=2.0) as worker:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        readings = await worker.decode([("dragino/ldds75", frame())])
        assert readings[0].undecoded is None
        assert worker.restarts == 1


async def test_a_cancelled_pack_leaves_no_stale_answer(library: ProfileLibrary) -> None:
    async with CodecWorker(library, limits=Limits(cpu_s=0.5)) as worker:
        task = asyncio.create_task(worker.decode([("test/bombs", frame("01"))]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (reading,) = await worker.decode([("test/bombs", frame("64"))])
        assert reading.quantities[0].value == 100


async def test_packs_of_concurrent_callers_do_not_mix(library: ProfileLibrary) -> None:
    async with CodecWorker(library) as worker:
        calls = [worker.decode([("test/bombs", frame(f"{byte:02x}"))] * 3) for byte in range(100, 120)]
        for byte, readings in zip(range(100, 120), await asyncio.gather(*calls), strict=True):
            assert [reading.quantities[0].value for reading in readings] == [byte] * 3


async def test_more_frames_than_a_pack_holds_keep_their_order(library: ProfileLibrary) -> None:
    async with CodecWorker(library) as worker:
        sent = [10 + number % 200 for number in range(700)]
        readings = await worker.decode([("test/bombs", frame(f"{byte:02x}")) for byte in sent])
        assert [reading.quantities[0].value for reading in readings] == sent


def test_the_worker_ends_with_its_input_and_imports_no_network() -> None:
    script = (
        "import sys, codec.worker as worker; worker.main();"
        "print(sorted({'socket', 'asyncio', 'typer', 'structlog', 'paho', 'apsw', 'threading'} & set(sys.modules)),"
        " file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=b"", capture_output=True, check=True, timeout=30)
    assert done.stdout == b"\x00\x00\x00\x01\xa0"  # ready; nothing that could not be given up
    assert done.stderr.decode().strip() == "[]"
