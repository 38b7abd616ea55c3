"""Publishing in order, in windows, failing aloud; once against a real Mosquitto."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest

from simulators import publisher
from simulators.commune import build_commune
from simulators.faults import Faults
from simulators.simulation import Published, Simulation

START = 1_740_268_800_000


class RecordingClient:
    """A client that acknowledges at once, remembers, and fails at a chosen message."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.sent: list[tuple[str, bytes, int]] = []
        self.waiting = 0
        self.most_waiting = 0
        self._fail_at = fail_at

    async def publish(self, /, topic: str, payload: bytes, qos: int) -> None:
        if len(self.sent) == self._fail_at:
            raise aiomqtt.MqttError("the line is down")
        self.sent.append((topic, payload, qos))
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        await asyncio.sleep(0)
        self.waiting -= 1


def some_events(minutes: int = 60) -> list[Published]:
    return Simulation(build_commune(1), Faults(), START).advance(START + minutes * 60_000)


async def test_everything_is_sent_in_order_at_qos_1() -> None:
    client, published = RecordingClient(), some_events()
    assert await publisher.publish(client, published) == len(published) > 2 * publisher.WINDOW
    assert client.sent == [(one.topic, one.payload(), 1) for one in published]


async def test_protobuf_on_request() -> None:
    client, published = RecordingClient(), some_events(10)
    await publisher.publish(client, published, protobuf=True)
    assert [sent[1] for sent in client.sent] == [one.payload(protobuf=True) for one in published]


async def test_no_more_than_a_window_waits_for_acknowledgement() -> None:
    client = RecordingClient()
    await publisher.publish(client, some_events())
    assert client.most_waiting == publisher.WINDOW


async def test_failure_is_raised_and_stops() -> None:
    client = RecordingClient(fail_at=60)
    with pytest.raises(aiomqtt.MqttError, match="line is down"):
        await publisher.publish(client, some_events())
    assert len(client.sent) < 2 * publisher.WINDOW


async def test_no_broker_is_an_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(aiomqtt.MqttError):
        async with publisher.connect("127.0.0.1", port, client_id="xom-sim-test"):
            pass


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[int]:
    """A Mosquitto with its default settings on a free port; yields the port."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("Mosquitto is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "running" not in (line := process.stderr.readline()):
        assert line, "Mosquitto ended before it was running"
    yield port
    process.terminate()
    process.wait(timeout=10)
    process.stderr.close()


@pytest.mark.mosquitto
async def test_a_real_broker_receives_every_byte_in_order(mosquitto: int) -> None:
    published = some_events()
    async with publisher.connect("127.0.0.1", mosquitto, client_id="listener") as listener:
        await listener.subscribe("application/+/device/+/event/+", qos=1)
        async with publisher.connect("127.0.0.1", mosquitto, client_id="simulator") as client:
            await publisher.publish(client, published)
        received = []
        async for message in listener.messages:
            received.append((str(message.topic), message.payload))
            if len(received) == len(published):
                break
    assert received == [(one.topic, one.payload()) for one in published]
