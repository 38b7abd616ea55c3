"""The embedded broker, for demonstrations and a first look: rumqttd in a child process, from the iotcore package.

It keeps nothing over a restart and bounds its memory by forgetting, so it is no broker for the field: there it is
Mosquitto. Delivery does not mind, because no broker's word frees a reading. Decision 006.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from wire.batch import MAX_ENVELOPE_BYTES

_SETTINGS = """\
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 500
max_segment_size = 67108864
max_segment_count = 8

[v5.1]
name = "v5"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {payload}
max_inflight_count = 500
dynamic_filters = true
"""


class BrokerError(Exception):
    """The embedded broker cannot start: the message names cause and remedy."""


@asynccontextmanager
async def embedded_broker(data: Path, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
    """Run a broker for as long as the context is open; yields host and port. Port 0 takes a free one."""
    from iotcore import Broker  # 14 MB of native code: only who wants the embedded broker loads it

    port = port or _free_port(host)
    broker = Broker(config_path=str(_write_settings(data, host, port)))
    try:
        await asyncio.to_thread(broker.start)
    except (OSError, RuntimeError) as error:
        raise BrokerError(
            f"the embedded broker cannot listen on {host}:{port} ({error}); choose another port"
        ) from error
    try:
        yield host, port
    finally:
        await asyncio.to_thread(broker.stop)


def _write_settings(data: Path, host: str, port: int) -> Path:
    data.mkdir(parents=True, exist_ok=True)
    settings = data / "broker.toml"
    settings.write_text(_SETTINGS.format(host=host, port=port, payload=2 * MAX_ENVELOPE_BYTES))
    return settings


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
