"""A SIP speaker on loopback, over UDP and TCP, with a login and faults on demand (RFC 3261, 7616, 8760).

It shares no code with the gateway, and reads requests in its own way.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass, field
from typing import Literal

Fault = Literal["", "silent", "garbage", "foreign", "late", "drip", "endless_header", "slow_start", "stale"]


@dataclass(slots=True)
class SipSpeaker:
    """One device. `status` is what it answers at last; `challenge` is 401 or 407, 0 for none.

    Faults: `foreign` answers with another Call-ID, `late` first with an old branch and then rightly, `slow_start` drops
    the first request, `drip` sends one byte a second over TCP, `stale` calls each first nonce too old.
    """

    status: int = 200
    fault: Fault = ""
    challenge: int = 0
    algorithm: Literal["MD5", "SHA-256"] = "MD5"
    realm: str = "xom"
    username: str = "loa"
    password: str = "bí mật"  # noqa: S105 - a simulator's
    port: int = 0
    requests: list[str] = field(default_factory=list)
    _udp: asyncio.DatagramTransport | None = None
    _tcp: asyncio.Server | None = None

    async def __aenter__(self) -> SipSpeaker:
        """Listen on one loopback port, both ways."""
        speaker = self
        self._tcp = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._tcp.sockets[0].getsockname()[1]

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                assert speaker._udp is not None  # noqa: S101
                for answer in speaker.answers(data.decode()):
                    speaker._udp.sendto(answer, addr)

        self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Protocol, local_addr=("127.0.0.1", self.port)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        await asyncio.sleep(0)

    def answers(self, request: str) -> list[bytes]:
        """Return what it sends for one request."""
        self.requests.append(request)
        if self.fault == "silent" or (self.fault == "slow_start" and len(self.requests) == 1):
            return []
        if self.fault == "garbage":
            return [b"\x00\xff\x13 hello"]
        status, more = self.status, ""
        if self.challenge and not self._is_known(request):
            status = self.challenge
            name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
            nonce = f"n{len(self.requests)}"
            stale = ", stale=true" if self.fault == "stale" and "uthorization:" in request else ""
            login = f'realm="{self.realm}", nonce="{nonce}", algorithm={self.algorithm}, qop="auth"{stale}'
            more = f"{name}: Digest {login}\r\n"
        right = self._response(request, status, more)
        if self.fault == "foreign":
            return [re.sub(rb"Call-ID: \S+", b"Call-ID: another", right)]
        if self.fault == "late":
            return [re.sub(rb"branch=\S+", b"branch=z9hG4bKold", right.replace(b" 200 ", b" 503 ")), right]
        return [self._response(request, 100, ""), right]

    def _response(self, request: str, status: int, more: str) -> bytes:
        kept = [
            line for line in request.split("\r\n") if line.split(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")
        ]
        return ("\r\n".join([f"SIP/2.0 {status} Said", *kept]) + f"\r\n{more}Content-Length: 0\r\n\r\n").encode()

    def _is_known(self, request: str) -> bool:
        header = "Authorization" if self.challenge == 401 else "Proxy-Authorization"
        found = re.search(rf"^{header}: Digest (.*)$", request, re.MULTILINE)
        if found is None:
            return False
        said = dict(re.findall(r'(\w+)="?([^",\r]+)"?', found[1]))
        if self.fault == "stale" and said.get("nonce") == "n1":
            return False

        def digest(text: str) -> str:
            data = text.encode()
            return hashlib.md5(data).hexdigest() if self.algorithm == "MD5" else hashlib.sha256(data).hexdigest()  # noqa: S324

        first = digest(f"{self.username}:{self.realm}:{self.password}")
        second = digest(f"OPTIONS:{said['uri']}")
        wanted = digest(f"{first}:{said['nonce']}:{said['nc']}:{said['cnonce']}:auth:{second}")
        return said.get("username") == self.username and said.get("response") == wanted

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                for answer in self.answers(request):
                    if self.fault == "endless_header":
                        writer.write(b"SIP/2.0 200 OK\r\n")
                        while not writer.is_closing():
                            writer.write(b"X-More: " + b"x" * 1_000 + b"\r\n")
                            await writer.drain()
                    for byte in answer if self.fault == "drip" else b"":
                        writer.write(bytes([byte]))
                        await writer.drain()
                        await asyncio.sleep(1.0)
                    if self.fault != "drip":
                        writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
