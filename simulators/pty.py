"""The far end of a serial line: a pseudo-terminal whose near end a gateway opens as it would a USB adapter."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self


class PtyLine:
    """A line that hands what the gateway writes to `heard`. `path` is what the gateway opens.

    The near end stays open here too: without that, a gateway that closes it would end the line for the next one.
    """

    def __init__(self, heard: Callable[[bytes], None] = lambda _: None) -> None:
        self._heard = heard
        self._far = self._near = -1
        self.path = ""

    async def __aenter__(self) -> Self:
        self._far, self._near = os.openpty()
        tty.setraw(self._near)
        os.set_blocking(self._far, False)
        self.path = os.ttyname(self._near)
        asyncio.get_running_loop().add_reader(self._far, self._readable)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()

    def say(self, data: bytes) -> None:
        """Put bytes on the line; nobody need be listening."""
        if self._far >= 0:
            with suppress(OSError):
                os.write(self._far, data)

    def hang_up(self) -> None:
        """Pull the adapter out."""
        if self._far >= 0:
            asyncio.get_running_loop().remove_reader(self._far)
            os.close(self._far)
            os.close(self._near)
            self._far = self._near = -1

    def _readable(self) -> None:
        with suppress(OSError):
            self._heard(os.read(self._far, 4_096))
