"""Puts new sections into a configuration file: at its end, the file that was there kept, never half of it written.

What a section is for is looked up once more in the file as it is now: an installer may have worked on it meanwhile.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.clock import SystemClock
from gateway.config import read
from gateway.discover.finding import Finding, Section, Standing
from gateway.discover.known import Known, known_in
from gateway.discover.toml import quoted, text_of
from gateway.durable import replace_file
from gateway.language import Language, Text
from gateway.probes.build import build
from gateway.probes.cameras.settings import Camera
from gateway.probes.loudspeakers.settings import Loudspeaker
from gateway.probes.network.settings import Modem, Wifi
from gateway.probes.serial.settings import SerialBus
from wire.configuration import ConfigError

_HEAD: Final = Text("Tìm thấy bởi `xom gateway discover`, {at}", "Found by `xom gateway discover`, {at}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was done: the sections that were added, and the copy of the file as it was, if there was one."""

    sections: tuple[Section, ...] = ()
    backup: Path | None = None


def sections_of(findings: Iterable[Finding]) -> list[Section]:
    """Return what is to be written."""
    wanted = (Standing.NEW, Standing.HAND)
    return [one.section for one in findings if one.section is not None and one.standing in wanted]


def snippet(sections: Sequence[Section], language: Language, at: datetime) -> str:
    """Return the sections as they are appended; "" for none. Pure."""
    if not sections:
        return ""
    head = _HEAD.say(language).format(at=f"{at.astimezone(UTC):%Y-%m-%d %H:%MZ}")
    return "\n".join([f"# {head}", *("\n" + text_of(one, language).rstrip("\n") for one in sections)]) + "\n"


def append(path: Path, sections: Sequence[Section], language: Language, at: datetime) -> Written:
    """Append what the file does not have, and keep a copy of the file as it was; raises ConfigError, OSError.

    The new file is read as the gateway would before it takes the place of the old one.
    """
    path = path.resolve()  # a link stays one
    before = path.read_bytes() if path.exists() else b""
    known = known_in(before, path)
    added = [one for one in sections if not _is_there(one, known)]
    if not added:
        return Written()
    gap = b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n"
    after = before + gap + snippet(added, language, at).encode()
    _prove(path, before, after)
    if not before:
        replace_file(path, after)
        return Written(sections=tuple(added))
    state = path.stat()
    keep = {"mode": state.st_mode & 0o7777, "owner": _owner(state)}
    backup = _free(path, at)
    replace_file(backup, before, **keep)  # type: ignore[arg-type]
    replace_file(path, after, **keep)  # type: ignore[arg-type]
    return Written(sections=tuple(added), backup=backup)


def _is_there(section: Section, known: Known) -> bool:
    """Whether the file has it, or the comment with which it was written before."""
    settings = section.settings
    if isinstance(settings, Camera):
        return known.has_camera(settings.host, settings.onvif_port)
    if isinstance(settings, Loudspeaker):
        return any(known.has_loudspeaker(one.host, one.port) for one in settings.sip)
    if isinstance(settings, Wifi):
        return known.has_wifi(settings.ssid) or f"# ssid = {quoted(settings.ssid)}" in known.comments
    if isinstance(settings, Modem):
        return known.has_modem(frozenset({settings.device}))
    if isinstance(settings, SerialBus):
        at_port = f"# port = {quoted(settings.port)}" in known.comments
        return at_port or Path(settings.port).resolve() in known.serial_ports
    raise TypeError(f"{type(settings).__name__} is not searched for")


def _prove(path: Path, before: bytes, after: bytes) -> None:
    """Read it as the gateway will, and make its probes of it; raises ConfigError where that would not work any more.

    A piece of a configuration is only read as far as it goes.
    """
    try:
        known_in(after, path)
        if "gateway" in tomllib.loads(after.decode()) and _problem(before) is None:
            problem = _problem(after)
            if problem is not None:
                raise problem
    except ConfigError as error:
        raise ConfigError(f"nothing was written, for with the new sections: {error}") from error


def _problem(data: bytes) -> ConfigError | None:
    """Return why a gateway would not start with this configuration."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            build(read(Path(file.name)), SystemClock())
        except ConfigError as error:
            return error
        except OSError as error:  # what it keeps may be for its own user alone
            return ConfigError(str(error))
    return None


def _owner(state: os.stat_result) -> tuple[int, int] | None:
    """Return the file's owner where a new file would be somebody else's: the gateway's user must go on reading it."""
    return None if (state.st_uid, state.st_gid) == (os.geteuid(), os.getegid()) else (state.st_uid, state.st_gid)


def _free(path: Path, at: datetime) -> Path:
    """Return a name for the copy that no file has."""
    stem = f"{path.name}.{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    names = (path.with_name(f"{stem}{more}.bak") for more in ("", *(f"-{number}" for number in range(2, 1000))))
    return next(name for name in names if not name.exists())
