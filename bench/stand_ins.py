"""What the probes of `bench/probes.py` talk to, in a process of its own: hamlets, one in ten dead, and serial buses.

    python -m bench.stand_ins HAMLETS BUSES

prints one JSON line that says where they are, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Final

import msgspec

from simulators.hamlet import Fault, Place, stand
from simulators.serial_bus import Fault as BusFault
from simulators.serial_bus import SerialBus, SimInstrument

ON_A_BUS: Final = 4
_ONE_DEAD_OF: Final = 10


class StandIns(msgspec.Struct, frozen=True):
    """The hamlets, and the ports of serial buses with four instruments each, the last of them dead."""

    hamlets: list[Place]
    buses: list[str]


@contextmanager
def stand_ins(hamlets: int, buses: int) -> Iterator[StandIns]:
    """Have them while the context is open; raises RuntimeError where they do not come up."""
    command = [sys.executable, "-m", "bench.stand_ins", str(hamlets), str(buses)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the stand-ins did not come up")
            yield msgspec.json.decode(line, type=StandIns)
        finally:
            process.stdin.close()
            process.wait(30)


async def _stand(hamlets: int, buses: int) -> None:
    async with AsyncExitStack() as stack:
        places = []
        for at in range(hamlets):
            fault = Fault.DEAD if at % _ONE_DEAD_OF == 3 else Fault.NONE
            # Cameras of one host are taken for one recorder's channels, and asked one after the other.
            places.append(await stand(stack, fault, host=f"127.0.1.{at + 1}"))
        lines = [await stack.enter_async_context(_bus()) for _ in range(buses)]
        told = StandIns(places, [line.line.path for line in lines])
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()
        await asyncio.to_thread(sys.stdin.buffer.read)


def _bus() -> SerialBus:
    faults = [BusFault.DEAD if at == ON_A_BUS else BusFault.NONE for at in range(1, ON_A_BUS + 1)]
    return SerialBus([SimInstrument(at, [700, 280], fault) for at, fault in enumerate(faults, start=1)])


if __name__ == "__main__":
    asyncio.run(_stand(int(sys.argv[1]), int(sys.argv[2])))
