"""The API on a socket, until cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import structlog
import uvicorn

from hub.api.application import create_app
from hub.config import Http
from hub.metrics import Metrics
from hub.store.database import Database
from wire.mqtt import Link

_PATIENCE_S: Final = 3  # how long requests under way may take when we stop

log = structlog.get_logger(__name__)


class ServingError(Exception):
    """The API cannot listen where it should: the message names the address and what to do."""


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers: the program around us decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def listen(http: Http) -> socket.socket:
    """Return a listening socket; raises ServingError. With port 0 its name tells which one was free."""
    try:
        return socket.create_server((http.host, http.port), family=_family(http.host))
    except OSError as error:
        raise ServingError(
            f"the API cannot listen on {http.host} port {http.port}: {error.strerror}. "
            "Choose another [http] host or port, or stop the program that has it."
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def serve_api(listening: socket.socket, database: Database, metrics: Metrics, link: Link) -> None:
    """Answer requests on a socket that listens, until cancelled. The socket stays its owner's to close."""
    app = create_app(database, metrics=metrics.registry, broker_connected=lambda: link.connected)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_PATIENCE_S
    )
    server = _Server(config)
    host, port = listening.getsockname()[:2]
    log.info("the API listens", address=f"http://{host}:{port}")
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True  # lets answers under way finish; cancelling would cut them
        await serving
        raise
