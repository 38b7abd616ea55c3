"""Answers to a server's request for a login, as SIP, RTSP and HTTP share them. Pure.

RFC 2617 (MD5, what most devices know), RFC 7616 and 8760 (SHA-256), RFC 7617 (Basic, where nothing better is offered).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from gateway.probes.credentials import Credential
from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason

_HASHES: Final[dict[str, Callable[[bytes], str]]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
}
_BEST_FIRST: Final = ("SHA-256", "MD5")
_PAIR: Final = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
_SCHEME: Final = re.compile(r"(?:^|,)\s*(Digest|Basic)\s+", re.IGNORECASE)


@dataclass(slots=True)
class Login:
    """One login against one challenge; counts how often the nonce was used."""

    credential: Credential
    algorithm: str  # "" for Basic
    realm: str = ""
    nonce: str = ""
    opaque: str | None = None
    session: bool = False  # MD5-sess, SHA-256-sess
    quality: bool = False  # qop=auth
    stale: bool = False  # the server says: the login is right, the nonce too old
    used: int = field(default=0)

    def answer(self, method: str, uri: str, client_nonce: str) -> str:
        """Return the value of the Authorization header for one request; `client_nonce` must be fresh."""
        user, password = self.credential.username, self.credential.password
        if not self.algorithm:
            return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.used += 1
        digest = _HASHES[self.algorithm]
        first = digest(f"{user}:{self.realm}:{password}".encode())
        if self.session:
            first = digest(f"{first}:{self.nonce}:{client_nonce}".encode())
        second = digest(f"{method}:{uri}".encode())
        count = f"{self.used:08x}"
        between = f"{self.nonce}:{count}:{client_nonce}:auth" if self.quality else self.nonce
        response = digest(f"{first}:{between}:{second}".encode())
        parts = [f'username="{_quoted(user)}"', f'realm="{_quoted(self.realm)}"', f'nonce="{_quoted(self.nonce)}"']
        parts += [f'uri="{uri}"', f'response="{response}"']
        if self.algorithm != "MD5" or self.session:
            parts.append(f"algorithm={self.algorithm}{'-sess' if self.session else ''}")
        if self.opaque is not None:
            parts.append(f'opaque="{_quoted(self.opaque)}"')
        if self.quality:
            parts += ["qop=auth", f"nc={count}"]
        if self.quality or self.session:
            parts.append(f'cnonce="{client_nonce}"')
        return "Digest " + ", ".join(parts)


def login(challenges: Iterable[str], credential: Credential) -> Login:
    """Return the best login that a server's WWW-Authenticate headers allow; raises ProbeError.

    CREDENTIALS_MISSING where the configuration names no user, NOT_THE_PROTOCOL where nothing offered is known.
    """
    if not credential.username:
        raise ProbeError(Reason.CREDENTIALS_MISSING, "it wants a login, and the configuration names no credentials")
    offered: dict[str, Login] = {}
    for challenge in challenges:
        for scheme, text in _split(challenge):
            found = _login(scheme, text, credential)
            if found is not None:
                offered.setdefault(found.algorithm, found)
    for algorithm in (*_BEST_FIRST, ""):
        if algorithm in offered:
            return offered[algorithm]
    raise ProbeError(Reason.NOT_THE_PROTOCOL, "it wants a login of a kind that is neither Digest nor Basic")


def _split(challenge: str) -> Iterable[tuple[str, str]]:
    """One header may carry several challenges (RFC 7235 section 4.1)."""
    found = list(_SCHEME.finditer(challenge))
    ends = [*(one.start() for one in found), len(challenge)][1:]
    return [(one[1].lower(), challenge[one.end() : end]) for one, end in zip(found, ends, strict=True)]


def _login(scheme: str, text: str, credential: Credential) -> Login | None:
    pairs = {name.lower(): (quoted or plain).replace("\\", "") for name, quoted, plain in _PAIR.findall(text)}
    if scheme == "basic":
        return Login(credential, "", realm=pairs.get("realm", ""))
    name = pairs.get("algorithm", "MD5").upper()
    algorithm = name.removesuffix("-SESS")
    qualities = [word.strip().lower() for word in pairs.get("qop", "").split(",")]
    if (
        algorithm not in _HASHES
        or "nonce" not in pairs
        or (qualities not in ([""], ["auth"]) and "auth" not in qualities)
    ):
        return None
    return Login(
        credential,
        algorithm,
        realm=pairs.get("realm", ""),
        nonce=pairs["nonce"],
        opaque=pairs.get("opaque"),
        session=name.endswith("-SESS"),
        quality="auth" in qualities,
        stale=pairs.get("stale", "").lower() == "true",
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
