"""A speaker's web side on loopback: a JSON status page and a VAPIX stand-in, with a digest login and faults.

Written from Axis' public pages; no Axis product was at hand. Its requests are read by its own few lines.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Literal

Fault = Literal["", "drip", "endless", "redirect", "deep", "not_json", "huge_refusal", "cut", "packed"]


@dataclass(slots=True)
class HttpSpeaker:
    """One device. `page` is what GET answers; `test` the status of the speaker test; `mute` what its outputs say."""

    fault: Fault = ""
    page: dict[str, object] = field(default_factory=dict)
    redirect_to: str = "http://169.254.169.254/latest/meta-data/"
    username: str = ""
    password: str = "bí mật"  # noqa: S105 - a simulator's
    serial: str = "ACCC8E000001"
    test: str = "OK"
    tested_at: str = ""
    mute: bool = False
    port: int = 0
    asked: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> HttpSpeaker:
        """Listen on a loopback port."""
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                await self._answer(head, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        method, path, _ = head.split("\r\n")[0].split(" ")
        if self.username and not self._is_known(method, path, head):
            challenge = 'WWW-Authenticate: Digest realm="loa", nonce="abc", algorithm=MD5, qop="auth"\r\n'
            if self.fault == "huge_refusal":
                writer.write(f"HTTP/1.1 401 No\r\n{challenge}Content-Length: 999999999\r\n\r\n".encode())
                while not writer.is_closing():
                    writer.write(b"x" * 65_536)
                    await writer.drain()
            writer.write(f"HTTP/1.1 401 No\r\n{challenge}Content-Length: 0\r\n\r\n".encode())
            return
        if self.fault == "redirect":
            writer.write(f"HTTP/1.1 302 Go\r\nLocation: {self.redirect_to}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        status, said = self._said(path, body)
        data = json.dumps(said).encode()
        if self.fault == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not writer.is_closing():
                writer.write(b" " * 65_536)
                await writer.drain()
        data = {"deep": b"[" * 20_000, "not_json": b"<html>login</html>"}.get(self.fault, data)
        packed = "Content-Encoding: gzip\r\n" if self.fault == "packed" else ""
        more = 10 if self.fault == "cut" else 0
        whole = f"HTTP/1.1 {status} Said\r\n{packed}Content-Length: {len(data) + more}\r\n\r\n".encode() + data
        if self.fault == "drip":
            for byte in whole:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1.0)
        writer.write(whole)
        if self.fault == "cut":
            writer.close()

    def _said(self, path: str, body: bytes) -> tuple[int, object]:
        asked = json.loads(body) if body else {}
        self.asked.append(next(iter(asked), path) if path == "/vapix/axast" else path)
        if path == "/axis-cgi/basicdeviceinfo.cgi":
            listed = {"SerialNumber": self.serial, "ProdNbr": "C1310-E", "Version": "11.0"}
            return 200, {"apiVersion": "1.0", "data": {"propertyList": listed}}
        if path == "/axis-cgi/audiodevicecontrol.cgi":
            return 200, {"data": {"devices": [{"id": "0", "outputs": [{"id": "0", "mute": self.mute}]}]}}
        if path == "/vapix/axast" and "axast:PerformSpeakerTest" in asked:
            if self.test == "Uncalibrated":
                return 400, {"Fault": "env:Receiver", "FaultSubCode": "axast:DeviceNotCalibrated"}
            return 200, {}
        if path == "/vapix/axast":
            return 200, {"SpeakerTestReport": {"SpeakerTestStatus": self.test, "TestTimestamp": self.tested_at}}
        return 200, self.page

    def _is_known(self, method: str, path: str, head: str) -> bool:
        found = re.search(r"^authorization: Digest (.*)$", head, re.MULTILINE | re.IGNORECASE)
        if found is None:
            return False
        said = dict(re.findall(r'(\w+)="?([^",\r]+)"?', found[1]))

        def digest(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - what the devices know

        first, second = digest(f"{self.username}:loa:{self.password}"), digest(f"{method}:{path}")
        return said.get("response") == digest(f"{first}:abc:{said['nc']}:{said['cnonce']}:auth:{second}")
