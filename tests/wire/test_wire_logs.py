"""Log lines: a stream that takes none stops nothing."""

from __future__ import annotations

import errno
import io

from wire.logs import Droppable


class Full(io.StringIO):
    """A file on a disk without room."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_that_cannot_be_written_is_dropped() -> None:
    print("line", file=Droppable(Full()), flush=True)


def test_a_line_that_can_is_written() -> None:
    stream = io.StringIO()
    print("line", file=Droppable(stream), flush=True)
    assert stream.getvalue() == "line\n"
