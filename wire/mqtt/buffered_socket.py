"""The socket under paho: it reads ahead and writes in one piece."""

from __future__ import annotations

import socket
import ssl

_READ_AHEAD_BYTES = 256 * 1024
_RETRANSMITS = 2  # the byte of Linux's struct tcp_info (linux/tcp.h)


class BufferedSocket:
    """A socket that reads ahead and writes in one piece.

    paho asks for one byte, then a few, then the rest, and sends each packet by itself: with this between, a burst costs
    two system calls instead of some thousand.
    """

    def __init__(self, inner: socket.socket | ssl.SSLSocket) -> None:
        self._inner = inner
        self._ahead = b""
        self._at = 0
        self._out = bytearray()
        self.fault = ""

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes, b"" at the end. Raises BlockingIOError and what TLS has in its place."""
        if self._at == len(self._ahead):
            self._ahead, self._at = self._read(), 0
            if not self._ahead:
                return b""
        piece = self._ahead[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def _read(self) -> bytes:
        try:
            return self._inner.recv(_READ_AHEAD_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self.fault = str(error)  # paho keeps no reason; over TLS 1.3 this is where a broker refuses a certificate
            raise

    def pending(self) -> int:
        """Bytes that no event of the socket will announce: read ahead by us, or decrypted by TLS."""
        inner = self._inner.pending() if isinstance(self._inner, ssl.SSLSocket) else 0
        return len(self._ahead) - self._at + inner

    def send(self, data: bytes | bytearray) -> int:
        """Take bytes; `flush` sends them."""
        self._out += data
        return len(data)

    def flush(self) -> bool:
        """Send what has been written; returns whether all of it went out. Raises OSError when the line is cut."""
        while self._out:
            try:
                sent = self._inner.send(self._out)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return False
            del self._out[:sent]
        return True

    def repeats(self) -> int:
        """How often TCP has sent the same bytes again without an answer; 0 while they are answered."""
        return self._inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RETRANSMITS + 1)[_RETRANSMITS]

    def close(self) -> None:
        """Close the socket."""
        self._inner.close()

    def fileno(self) -> int:
        """Return the socket's number, -1 when it is closed."""
        return self._inner.fileno()

    def setblocking(self, flag: bool) -> None:
        """As of a socket."""
        self._inner.setblocking(flag)
