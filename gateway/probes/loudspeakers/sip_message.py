"""SIP as far as OPTIONS needs it (RFC 3261 sections 7, 11, 17.1.3): requests out, responses in. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason

MOST_BYTES: Final = 65_535
_MOST_HEADERS: Final = 100
_STATUS: Final = re.compile(r"SIP/2\.0 ([1-6]\d\d)(?: .*)?")
_SHORT: Final = {"v": "via", "i": "call-id", "f": "from", "t": "to", "l": "content-length"}
_BRANCH: Final = re.compile(r";\s*branch\s*=\s*([^;,\s]+)", re.IGNORECASE)
_TAG: Final = re.compile(r";\s*tag\s*=\s*([^;,\s>]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One OPTIONS request. `branch`, `tag` and `call_id` are fresh random words; by them its answer is known."""

    target: str
    transport: str
    local: tuple[str, int]
    branch: str
    tag: str
    call_id: str
    sequence: int = 1
    login: tuple[str, str] | None = None

    def encode(self) -> bytes:
        """Write it as RFC 3261 section 11.1 has it."""
        host, port = self.local
        here = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [
            f"OPTIONS {self.target} SIP/2.0",
            f"Via: SIP/2.0/{self.transport.upper()} {here};rport;branch={self.branch}",
            "Max-Forwards: 70",
            f"From: <sip:xom@{here}>;tag={self.tag}",
            f"To: <{self.target}>",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.sequence} OPTIONS",
            f"Contact: <sip:xom@{here};transport={self.transport}>",
            "Accept: application/sdp",
            "User-Agent: xom",
        ]
        if self.login is not None:
            lines.append(f"{self.login[0]}: {self.login[1]}")
        return "\r\n".join([*lines, "Content-Length: 0", "", ""]).encode()

    def is_answered_by(self, response: Response) -> bool:
        """Whether it is ours: the transaction's branch and method (17.1.3), and the dialogue's words besides."""
        branch, tag = _BRANCH.search(response.first("via")), _TAG.search(response.first("from"))
        return (
            branch is not None
            and branch[1] == self.branch
            and response.first("cseq").split() == [str(self.sequence), "OPTIONS"]
            and response.first("call-id") == self.call_id
            and tag is not None
            and tag[1] == self.tag
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response: its status and headers, names in lower case."""

    status: int
    headers: Mapping[str, tuple[str, ...]]

    def first(self, name: str) -> str:
        """Return a header's first value, "" for none."""
        return self.headers.get(name, ("",))[0]

    @property
    def body_bytes(self) -> int:
        """How many bytes follow the headers; raises ProbeError."""
        text = self.first("content-length").strip() or "0"
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, "a Content-Length that is no number")
        return int(text)


def parse(head: bytes) -> Response:
    """Read a response's first line and headers; raises ProbeError(NOT_THE_PROTOCOL)."""
    text = head.partition(b"\r\n\r\n")[0].decode("utf-8", errors="replace")
    first, *lines = text.split("\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise ProbeError(Reason.NOT_THE_PROTOCOL, f"not a SIP response: {first[:60]!r}")
    if len(lines) > _MOST_HEADERS:
        raise ProbeError(Reason.TOO_LARGE, f"more than {_MOST_HEADERS} headers")
    headers: dict[str, tuple[str, ...]] = {}
    name = ""
    for line in lines:
        if line[:1] in (" ", "\t") and name:  # a folded line (7.3.1)
            *before, last = headers[name]
            headers[name] = (*before, f"{last} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        name = _SHORT.get(name, name)
        if not colon:
            raise ProbeError(Reason.NOT_THE_PROTOCOL, f"a SIP header without a colon: {line[:60]!r}")
        headers[name] = (*headers.get(name, ()), value.strip())
    return Response(status=int(status[1]), headers=headers)
