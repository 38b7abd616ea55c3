"""Whose fault it is: a frame or its codec (DecodeError), a profile file (ProfileError), the worker (WorkerError)."""

from __future__ import annotations

from wire.reading import Undecoded


class DecodeError(Exception):
    """Theirs: this frame has no quantities. Keep the frame, carry on."""

    def __init__(self, reason: Undecoded, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ProfileError(ValueError):
    """Ours: a device profile cannot be used. The message names the file and the key."""


class WorkerError(RuntimeError):
    """Ours: the codec worker cannot be started at all, so no frame could ever be decoded."""
