"""An ONVIF camera's SOAP service and its WS-Discovery answer, with faults on demand; UsernameToken is checked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_BOMB = '<!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]><Envelope>&b;</Envelope>'
_S, _T = "http://www.w3.org/2003/05/soap-envelope", "http://www.onvif.org/ver10/schema"
_D, _M = "http://www.onvif.org/ver10/device/wsdl", "http://www.onvif.org/ver10/media/wsdl"
_DIS, _ADR = "http://schemas.xmlsoap.org/ws/2005/04/discovery", "http://schemas.xmlsoap.org/ws/2004/08/addressing"


@dataclass(slots=True, kw_only=True)
class CameraOnvif:
    """One camera. `fault`: "", mute, endless, bomb, redirect, not_soap, fault. `skew_s`: how far its clock is ahead."""

    password: str = "right"  # noqa: S105 - nobody's
    fault: str = ""
    skew_s: float = 0.0
    stream: str = "rtsp://169.254.169.254:554/stream"
    asked: list[str] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request and close."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(re.search(r"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
        status, body = self._content((await reader.readexactly(length)).decode())
        if self.fault == "mute":
            await asyncio.sleep(3600)
        if self.fault == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(bytes(10_000))
                await writer.drain()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()

    def _content(self, request: str) -> tuple[str, str]:
        name = re.search(r"Body><(\w+)", request)[1]  # type: ignore[index]
        self.asked.append(name)
        now = datetime.now(UTC) + timedelta(seconds=self.skew_s)
        match self.fault:
            case "bomb":
                return "200 OK", _BOMB
            case "redirect":
                return "302 Found\r\nLocation: http://169.254.169.254/", ""
            case "not_soap":
                return "200 OK", "<html>hello</html>"
            case "fault":
                return "400 Bad", _fault("ActionNotSupported")
        if name == "GetSystemDateAndTime":
            date = f"<t:Date><t:Year>{now.year}</t:Year><t:Month>{now.month}</t:Month><t:Day>{now.day}</t:Day></t:Date>"
            time = f"<t:Hour>{now.hour}</t:Hour><t:Minute>{now.minute}</t:Minute><t:Second>{now.second}</t:Second>"
            return "200 OK", _soap(f"<t:UTCDateTime><t:Time>{time}</t:Time>{date}</t:UTCDateTime>")
        if not self._known(request, now):
            return "400 Bad", _fault("NotAuthorized")
        return "200 OK", _soap(
            {
                "GetDeviceInformation": "<d:Manufacturer>Sim</d:Manufacturer><d:SerialNumber>S1</d:SerialNumber>",
                "GetCapabilities": "<t:Media><t:XAddr>http://10.9.9.9/onvif/media</t:XAddr></t:Media>",
                "GetProfiles": '<m:Profiles token="p1"><t:VideoEncoderConfiguration><t:Encoding>H264</t:Encoding>'
                "</t:VideoEncoderConfiguration></m:Profiles>",
                "GetStreamUri": f"<t:Uri>{self.stream}</t:Uri>",
            }[name]
        )

    def _known(self, request: str, now: datetime) -> bool:
        parts: dict[str, str] = dict(re.findall(r"<(Username|Password|Nonce|Created)[^>]*>([^<]*)<", request))
        created = parts.get("Created", "2000-01-01T00:00:00Z")
        if abs((datetime.fromisoformat(created) - now).total_seconds()) > 30:
            return False
        text = base64.b64decode(parts["Nonce"]) + created.encode() + self.password.encode()
        return base64.b64encode(hashlib.sha1(text, usedforsecurity=False).digest()).decode() == parts["Password"]


def _soap(body: str) -> str:
    return (
        f'<s:Envelope xmlns:s="{_S}" xmlns:t="{_T}" xmlns:d="{_D}" xmlns:m="{_M}"><s:Body>{body}</s:Body></s:Envelope>'
    )


def _fault(code: str) -> str:
    return _soap(f"<s:Fault><s:Code><s:Subcode><s:Value>ter:{code}</s:Value></s:Subcode></s:Code></s:Fault>")


@asynccontextmanager
async def served(camera: CameraOnvif) -> AsyncIterator[int]:
    """Serve on loopback; yields the port, and ends every connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
            await camera.answer(reader, writer)
        writer.close()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


class Discoverable(asyncio.DatagramProtocol):
    """Answers a WS-Discovery probe as a camera does, after a bomb and noise."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Remember where answers go."""
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer one probe."""
        message = re.search(rb"MessageID>([^<]+)<", data)[1].decode()  # type: ignore[index]
        match = (
            f'<s:Envelope xmlns:s="{_S}" xmlns:a="{_ADR}" xmlns:d="{_DIS}"><s:Header>'
            f"<a:RelatesTo>{message}</a:RelatesTo>"
            "</s:Header><s:Body><d:ProbeMatches><d:ProbeMatch><d:Types>n:NetworkVideoTransmitter</d:Types>"
            "<d:Scopes>onvif://www.onvif.org/name/Cong%20UBND onvif://www.onvif.org/hardware/X1</d:Scopes>"
            "<d:XAddrs>http://10.9.9.9:8080/onvif/device_service</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body>"
            "</s:Envelope>"
        )
        for answer in (_BOMB, "noise", match.replace(message, "uuid:other"), match):
            self.transport.sendto(answer.encode(), address)
