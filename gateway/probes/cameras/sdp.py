"""What a camera offers, as its session description says (RFC 8866; RFC 6184 and RFC 7798 for the parameters). Pure."""

from __future__ import annotations

import base64
import binascii
import enum
from dataclasses import dataclass

from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason


class Codec(enum.StrEnum):
    """What we decode, by FFmpeg's name."""

    H264 = "h264"
    H265 = "hevc"


_ENCODINGS = {"H264": Codec.H264, "H265": Codec.H265}


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """The first video that is offered. `codec` is None where it is one that we do not decode (e.g. JPEG)."""

    encoding: str
    codec: Codec | None
    payload_type: int
    control: str  # of the media, as written: relative, absolute or ""
    session_control: str
    parameters: tuple[
        bytes, ...
    ]  # parameter sets (SPS, PPS, VPS) without start codes; cameras may also send them in-band


def video(body: bytes) -> Video:
    """Return the first video of a description, one that we decode before others; raises ProbeError."""
    lines = [line.strip() for line in body.decode("utf-8", "replace").splitlines()]
    if not lines or not lines[0].startswith("v="):
        raise ProbeError(Reason.NOT_THE_PROTOCOL, "200 to DESCRIBE without a session description")
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    session = lines[: starts[0]] if starts else lines
    sections = [lines[start:end] for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]
    offered = [_video(section, session) for section in sections if section[0].startswith("m=video ")]
    if not offered:
        raise ProbeError(Reason.NO_PICTURE, "the stream has no video, only sound or data")
    return next((one for one in offered if one.codec is not None), offered[0])


def _video(section: list[str], session: list[str]) -> Video:
    words = section[0].split()
    payload_type = int(words[3]) if len(words) > 3 and words[3].isascii() and words[3].isdigit() else -1
    encoding = "JPEG" if payload_type == 26 else ""
    parameters: tuple[bytes, ...] = ()
    for line in section:
        name, _, value = line.partition(":")
        kind, _, rest = value.partition(" ")
        if kind != str(payload_type):
            continue
        if name == "a=rtpmap":
            encoding = rest.partition("/")[0].strip().upper()[:20]
        elif name == "a=fmtp":
            parameters = _parameters(rest)
    return Video(
        encoding=encoding,
        codec=_ENCODINGS.get(encoding),
        payload_type=payload_type,
        control=_control(section),
        session_control=_control(session),
        parameters=parameters,
    )


def _control(lines: list[str]) -> str:
    found = next((line.removeprefix("a=control:").strip() for line in lines if line.startswith("a=control:")), "")
    # It becomes part of a request line: nothing that could end one.
    if not all(0x20 < ord(letter) < 0x7F for letter in found):
        raise ProbeError(Reason.NOT_THE_PROTOCOL, "a control address with blanks or control characters")
    return found


def _parameters(text: str) -> tuple[bytes, ...]:
    pairs = {name.strip().lower(): value for name, _, value in (part.partition("=") for part in text.split(";"))}
    listed = ",".join(pairs.get(name, "") for name in ("sprop-vps", "sprop-sps", "sprop-pps", "sprop-parameter-sets"))
    found = []
    for word in listed.split(","):
        try:
            found.append(base64.b64decode(word.strip(), validate=True))
        except (binascii.Error, ValueError):
            continue  # what is missing here may still come in-band
    return tuple(one for one in found if one)
