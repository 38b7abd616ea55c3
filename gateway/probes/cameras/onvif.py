"""What a camera says of itself over ONVIF: its clock, its name, the address of its stream.

Our own few SOAP 1.2 calls over httpx and not onvif-zeep-async: every answer needs a byte cap, XML without document
types and one deadline, and zeep, lxml and aiohttp would cost the gateway memory. ONVIF Core and Media Specification;
WS-Security UsernameToken Profile 1.0 for the login, HTTP digest where the camera asks for that instead.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import httpx

from gateway.probes.credentials import Credential
from gateway.probes.digest import login
from gateway.probes.errors import ProbeError
from gateway.probes.limits import MOST_BYTES, parse_xml
from gateway.probes.outcome import Reason

_SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
_DEVICE: Final = "http://www.onvif.org/ver10/device/wsdl"
_MEDIA: Final = "http://www.onvif.org/ver10/media/wsdl"
_SCHEMA: Final = "http://www.onvif.org/ver10/schema"
_WSS: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity"
_TOKEN: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"  # noqa: S105
_BASE64: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
_LOGIN_FAULTS: Final = ("notauthorized", "failedauthentication", "invalidsecurity")
_LONGEST: Final = 100
_WANTED: Final = ("H264", "H265")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a camera says it is."""

    manufacturer: str
    model: str
    firmware: str
    serial: str


@dataclass(slots=True, kw_only=True)
class Onvif:
    """One camera's services. Only `host` and `port` as configured are ever connected to: of the addresses that the
    camera names, the path is taken alone. `offset` is the camera's clock minus ours, once `clock` has asked.
    """

    host: str
    port: int
    path: str
    credential: Credential
    client: httpx.AsyncClient
    offset: timedelta = field(default=timedelta())

    async def clock(self) -> datetime | None:
        """Return the camera's time (UTC), None where it names none; no login is needed (ONVIF Core 5.12.1.2)."""
        answer = await self._call(self.path, f'<GetSystemDateAndTime xmlns="{_DEVICE}"/>', with_login=False)
        found = answer.find(f".//{{{_SCHEMA}}}UTCDateTime")
        if found is None:
            return None
        names = ("Date/Year", "Date/Month", "Date/Day", "Time/Hour", "Time/Minute", "Time/Second")
        texts = [found.findtext("/".join(f"{{{_SCHEMA}}}{part}" for part in name.split("/")), "") for name in names]
        try:
            year, month, day, hour, minute, second = (int(text) for text in texts)
            time = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        except (ValueError, OverflowError) as error:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, f"a time that is none: {texts}") from error
        self.offset = time - datetime.now(UTC)
        return time

    async def identity(self) -> Identity:
        """Return maker, model, firmware and serial number; needs a login on most cameras."""
        answer = await self._call(self.path, f'<GetDeviceInformation xmlns="{_DEVICE}"/>')
        names = ("Manufacturer", "Model", "FirmwareVersion", "SerialNumber")
        manufacturer, model, firmware, serial = (
            answer.findtext(f".//{{{_DEVICE}}}{name}", "").strip()[:_LONGEST] for name in names
        )
        return Identity(manufacturer=manufacturer, model=model, firmware=firmware, serial=serial)

    async def stream_uri(self) -> str:
        """Return the address of the smallest stream that we decode, as the camera names it: it may hold a login."""
        media = await self._media_path()
        answer = await self._call(media, f'<GetProfiles xmlns="{_MEDIA}"/>')
        token = _smallest(answer)
        request = (
            f'<GetStreamUri xmlns="{_MEDIA}"><StreamSetup><Stream xmlns="{_SCHEMA}">RTP-Unicast</Stream>'
            f'<Transport xmlns="{_SCHEMA}"><Protocol>RTSP</Protocol></Transport></StreamSetup>'
            f"<ProfileToken>{escape(token)}</ProfileToken></GetStreamUri>"
        )
        found = (await self._call(media, request)).findtext(f".//{{{_SCHEMA}}}Uri", "").strip()
        if not found:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, "GetStreamUri without an address")
        return found

    async def _media_path(self) -> str:
        """Return where the media service is: as the camera says, else where the device service is."""
        request = f'<GetCapabilities xmlns="{_DEVICE}"><Category>Media</Category></GetCapabilities>'
        try:
            answer = await self._call(self.path, request)
        except ProbeError as error:
            if error.reason is not Reason.DEVICE_ERROR:  # an older camera may not know the question
                raise
            return self.path
        address = answer.findtext(f".//{{{_SCHEMA}}}Media/{{{_SCHEMA}}}XAddr", "").strip()
        try:
            path = urlsplit(address).path
        except ValueError:
            path = ""
        return path if path.startswith("/") and path.isascii() and path.isprintable() else self.path

    async def _call(self, path: str, body: str, *, with_login: bool = True) -> ElementTree.Element:
        """Ask and return the answer's body; raises ProbeError, TimeoutError, OSError as every probe's read."""
        headers: dict[str, str] = {}
        has_login = with_login and bool(self.credential.username)
        for attempt in range(2):
            header = self._header() if has_login else ""
            envelope = f'<s:Envelope xmlns:s="{_SOAP}">{header}<s:Body>{body}</s:Body></s:Envelope>'
            status, challenges, data = await self._post(path, envelope.encode(), headers)
            if status != 401 or attempt or not any("digest" in one.lower() for one in challenges):
                break
            found = login(challenges, self.credential)
            headers = {"Authorization": found.answer("POST", path, secrets.token_hex(8))}
        return self._body(status, data)

    def _body(self, status: int, data: bytes) -> ElementTree.Element:
        if 300 <= status < 400:
            raise ProbeError(Reason.REDIRECTED, f"{status}: a camera's services do not move")
        if status in (401, 403) and b"Envelope" not in data:
            raise self._refused(f"{status}")
        if status == 404:
            raise ProbeError(Reason.NOT_FOUND, "no ONVIF service at this path")
        if status == 503:
            raise ProbeError(Reason.BUSY, "503: it cannot answer now")
        if b"Envelope" not in data:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, f"{status} without SOAP")
        root = parse_xml(data)
        body = root.find(f"{{{_SOAP}}}Body")
        if root.tag != f"{{{_SOAP}}}Envelope" or body is None:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, f"XML, and no SOAP 1.2: {root.tag[:60]}")
        fault = body.find(f"{{{_SOAP}}}Fault")
        if fault is not None:
            codes = [(one.text or "").rpartition(":")[2].strip() for one in fault.iter(f"{{{_SOAP}}}Value")]
            why = " ".join((one.text or "").strip() for one in fault.iter(f"{{{_SOAP}}}Text"))[:_LONGEST]
            if status in (401, 403) or any(code.lower() in _LOGIN_FAULTS for code in codes):
                raise self._refused(f"{'/'.join(codes)[:_LONGEST]} {why}")
            raise ProbeError(Reason.DEVICE_ERROR, f"fault {'/'.join(codes)[:_LONGEST]} {why}")
        if status >= 400:
            raise ProbeError(Reason.DEVICE_ERROR, f"{status}")
        return body

    def _refused(self, why: str) -> ProbeError:
        if not self.credential.username:
            return ProbeError(
                Reason.CREDENTIALS_MISSING, "it wants a login, and the configuration names no credentials"
            )
        return ProbeError(Reason.UNAUTHORISED, f"ONVIF refuses the login: {why}")

    async def _post(self, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, list[str], bytes]:
        # identity: a few bytes that unfold to gigabytes would pass the cap
        fixed = {"Content-Type": "application/soap+xml; charset=utf-8", "Accept-Encoding": "identity"}
        host = f"[{self.host}]" if ":" in self.host else self.host
        url = f"http://{host}:{self.port}{path}"
        try:
            async with self.client.stream("POST", url, content=data, headers=fixed | headers) as response:
                read = bytearray()
                async for chunk in response.aiter_raw(16_384):
                    read += chunk
                    if len(read) > MOST_BYTES:
                        raise ProbeError(Reason.TOO_LARGE, f"more than {MOST_BYTES} bytes of SOAP")
                return response.status_code, response.headers.get_list("www-authenticate"), bytes(read)
        except httpx.ConnectError as error:
            raise _os_error(error) from error
        except httpx.RemoteProtocolError as error:
            ended = "disconnected" in str(error) or "closed" in str(error)
            raise ProbeError(Reason.CLOSED if ended else Reason.NOT_THE_PROTOCOL, str(error)[:_LONGEST]) from error
        except httpx.TransportError as error:
            raise ProbeError(Reason.CLOSED, f"{type(error).__name__} {error}"[:_LONGEST]) from error

    def _header(self) -> str:
        """Return a UsernameToken whose time is the camera's own, else a camera with a wrong clock refuses it."""
        nonce = secrets.token_bytes(16)
        created = (datetime.now(UTC) + self.offset).strftime("%Y-%m-%dT%H:%M:%SZ")
        digest = hashlib.sha1(nonce + created.encode() + self.credential.password.encode(), usedforsecurity=False)
        return (
            f'<s:Header><Security s:mustUnderstand="1" xmlns="{_WSS}-secext-1.0.xsd"><UsernameToken>'
            f"<Username>{escape(self.credential.username)}</Username>"
            f'<Password Type="{_TOKEN}">{base64.b64encode(digest.digest()).decode()}</Password>'
            f'<Nonce EncodingType="{_BASE64}">{base64.b64encode(nonce).decode()}</Nonce>'
            f'<Created xmlns="{_WSS}-utility-1.0.xsd">{created}</Created>'
            "</UsernameToken></Security></s:Header>"
        )


def client() -> httpx.AsyncClient:
    """Return a client as a camera needs it: no proxy, no redirect, no cookie of another; time is the caller's."""
    # verify=False: no TLS is spoken here, and loading the world's certificates costs megabytes
    return httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=None, verify=False)  # noqa: S501, S113


def _os_error(error: httpx.ConnectError) -> OSError | ProbeError:
    """Return what lies under httpx's word: refused, no route."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return ProbeError(Reason.UNREACHABLE, str(error)[:_LONGEST])


def _smallest(answer: ElementTree.Element) -> str:
    """Return the token of the smallest profile that we decode: a probe needs no large picture. Raises ProbeError."""
    found: list[tuple[int, str]] = []
    profiles = list(answer.iter(f"{{{_MEDIA}}}Profiles"))
    for profile in profiles:
        encoder = profile.find(f"{{{_SCHEMA}}}VideoEncoderConfiguration")
        token = profile.get("token", "")
        if encoder is None or not token:
            continue
        if encoder.findtext(f"{{{_SCHEMA}}}Encoding", "").strip().upper() in _WANTED:
            width = encoder.findtext(f"{{{_SCHEMA}}}Resolution/{{{_SCHEMA}}}Width", "").strip()
            found.append((int(width[:6]) if width.isascii() and width.isdigit() else 0, token))
    if not found:
        raise ProbeError(Reason.NO_PICTURE, f"none of its {len(profiles)} profiles is H.264 or H.265")
    return min(found)[1]
