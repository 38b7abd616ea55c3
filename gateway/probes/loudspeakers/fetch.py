"""One bounded question over HTTP, with the login that the other side wants.

No redirect is followed: an installer writes down where the page is, and nobody else names an address to us. Nothing
is unpacked, so nothing can unfold. httpx's own login reads the refusal's body whole: ours closes it unread.
"""

from __future__ import annotations

import secrets
import ssl
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.probes.credentials import Credential
from gateway.probes.digest import login
from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason

MOST_BYTES: Final = 64 * 1024
_DEEPEST: Final = 32

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class Page:
    """What came back: any status of 200 to 299, or one that the caller asked to see."""

    status: int
    body: bytes

    def json(self) -> Json:
        """Return it decoded; raises ProbeError(NOT_THE_PROTOCOL)."""
        if _depth(self.body) > _DEEPEST:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, f"JSON nested deeper than {_DEEPEST}")
        try:
            decoded: Json = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, f"not JSON: {error}") from error
        return decoded


async def fetch(
    url: str,
    credential: Credential,
    *,
    post: object = None,
    verify_tls: bool = True,
    seen: frozenset[int] = frozenset(),
) -> Page:
    """Ask with GET, or POST of JSON; `seen`: error statuses that the caller reads. Raises ProbeError, OSError.

    The caller's deadline bounds the time.
    """
    import httpx  # some 4 MB: only where a cluster is asked by HTTP

    method = "GET" if post is None else "POST"
    content = None if post is None else msgspec.json.encode(post)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "xom"}
    if post is not None:
        headers["Content-Type"] = "application/json"
    try:
        async with httpx.AsyncClient(
            timeout=None,  # noqa: S113 - the deadline bounds it
            verify=verify_tls,
            trust_env=False,
            follow_redirects=False,
        ) as client:
            response = await client.send(
                client.build_request(method, url, headers=headers, content=content), stream=True
            )
            tried = False
            while response.status_code == 401 and credential.username:
                challenges = response.headers.get_list("www-authenticate")
                await response.aclose()
                mine = login(challenges, credential)
                if tried and not mine.stale:
                    raise ProbeError(Reason.UNAUTHORISED, "it does not take our login", rung="answers")
                asked = client.build_request(method, url, headers=headers, content=content)
                asked.headers["Authorization"] = mine.answer(method, asked.url.raw_path.decode(), secrets.token_hex(8))
                if tried:
                    credential = Credential()  # a nonce too old is believed once
                tried = True
                response = await client.send(asked, stream=True)
            try:
                _refuse(response.status_code, seen)
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise ProbeError(Reason.NOT_THE_PROTOCOL, "it packs its answer, which we did not ask for")
                body = bytearray()
                async for chunk in response.aiter_raw(8_192):
                    body += chunk
                    if len(body) > MOST_BYTES:
                        raise ProbeError(Reason.TOO_LARGE, f"more than {MOST_BYTES} bytes")
                return Page(response.status_code, bytes(body))
            finally:
                await response.aclose()
    except httpx.HTTPError as error:
        raise _sorted(error) from error
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ProbeError(Reason.MISCONFIGURED, f"not an address: {error}") from error


def _refuse(status: int, seen: frozenset[int]) -> None:
    if 200 <= status < 300 or status in seen:
        return
    if 300 <= status < 400:
        raise ProbeError(Reason.REDIRECTED, f"it answers {status}, and we follow nobody's word to another place")
    if status in (401, 403, 407):
        raise ProbeError(Reason.UNAUTHORISED, f"it answers {status}")
    if status in (404, 405, 410):
        raise ProbeError(Reason.NOT_FOUND, f"it answers {status}: the address is not the one of its status")
    if status in (429, 503):
        raise ProbeError(Reason.BUSY, f"it answers {status}")
    raise ProbeError(Reason.DEVICE_ERROR, f"it answers {status}")


def _sorted(error: Exception) -> Exception:
    """Return what httpx's error means: the operating system's own where there is one below."""
    import httpx

    below: BaseException | None = error
    system: OSError | None = None
    while below is not None:
        if isinstance(below, ssl.SSLError):
            return ProbeError(Reason.TLS, str(below))
        if isinstance(below, OSError):
            system = below  # the deepest: above it stands a summary without its kind
        below = below.__cause__ or below.__context__
    if system is not None:
        return system
    if isinstance(error, httpx.RemoteProtocolError):
        text = str(error)
        reason = Reason.CLOSED if "closed" in text or "disconnected" in text else Reason.NOT_THE_PROTOCOL
        return ProbeError(reason, text)
    if isinstance(error, httpx.UnsupportedProtocol):
        return ProbeError(Reason.MISCONFIGURED, str(error))
    if isinstance(error, httpx.ConnectError):
        return ProbeError(Reason.UNREACHABLE, str(error))
    return ProbeError(Reason.CLOSED, str(error) or type(error).__name__)


def _depth(data: bytes) -> int:
    """Return how deep brackets nest outside of strings: known before anything is decoded."""
    depth = deepest = 0
    inside = escaped = False
    for byte in data:
        if escaped:
            escaped = False
        elif inside:
            escaped = byte == 0x5C
            inside = byte != 0x22
        elif byte == 0x22:
            inside = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
