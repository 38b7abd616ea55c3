"""What was received and the application has not taken yet: bounded, so that a slow application slows the broker."""

from __future__ import annotations

import asyncio
import collections
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One message as received. `connection` is the one it came by: a later one must not acknowledge it."""

    topic: str
    payload: bytes
    retained: bool
    mid: int
    connection: int


class HandOver:
    """Messages in order. When it is `full` the socket is not read until it is `half_empty` again."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._messages: collections.deque[Message] = collections.deque()
        self._arrived = asyncio.Event()

    def put(self, message: Message) -> None:
        """Take a message in, also above the size: what has been read cannot be given back."""
        self._messages.append(message)
        self._arrived.set()

    @property
    def full(self) -> bool:
        """Whether reading is to pause."""
        return len(self._messages) >= self._size

    @property
    def half_empty(self) -> bool:
        """Whether reading may go on."""
        return len(self._messages) < max(1, self._size // 2)

    async def take(self, most: int) -> list[Message]:
        """Wait for messages, and return up to `most`."""
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        return [self._messages.popleft() for _ in range(min(most, len(self._messages)))]
