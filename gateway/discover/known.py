"""What a configuration file already has: places that are not proposed again, names that are taken."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from gateway.config import Probing
from gateway.discover.names import Names
from gateway.probes.cameras.settings import Camera
from gateway.probes.credentials import CredentialError, Credentials
from gateway.probes.errors import ProbeError
from gateway.probes.loudspeakers.settings import Loudspeaker
from gateway.probes.network.settings import Modem, Wifi
from gateway.probes.serial.settings import SerialBus
from wire.configuration import ConfigError


class Sections(msgspec.Struct, frozen=True, kw_only=True):
    """The sections that can be found, in a whole configuration or in a piece of one; the others are passed over."""

    probes: Probing = Probing()
    camera: list[Camera] = []
    loudspeaker: list[Loudspeaker] = []
    modem: list[Modem] = []
    wifi: list[Wifi] = []
    serial_bus: list[SerialBus] = []


@dataclass(slots=True, kw_only=True)
class Known:
    """`logins` are the names in the credentials file, as far as it can be read; `comments` the lines that are none."""

    sections: Sections = field(default_factory=Sections)
    logins: tuple[Credentials, ...] = ()
    comments: frozenset[str] = frozenset()

    def has_camera(self, host: str, port: int) -> bool:
        """Whether the camera is there; one without ONVIF is known by its address alone."""
        return any(one.host == host and one.onvif_port in (port, 0) for one in self.sections.camera)

    def has_loudspeaker(self, host: str, port: int) -> bool:
        """Whether a cluster is asked there, by SIP at this port or in another way at this address."""
        for one in self.sections.loudspeaker:
            pages = [page.url for page in one.http] + [axis.url for axis in one.axis]
            others = [snmp.host for snmp in one.snmp] + [_host(url) for url in pages]
            if host in others or any((sip.host, sip.port) == (host, port) for sip in one.sip):
                return True
        return False

    def has_wifi(self, ssid: str) -> bool:
        """Whether the network is there."""
        return any(one.ssid == ssid for one in self.sections.wifi)

    def has_modem(self, ports: frozenset[str]) -> bool:
        """Whether one of a modem's ports is there; a modem without a port is ModemManager's only one."""
        for one in self.sections.modem:
            if one.via == "modemmanager" and not one.device:
                return True
            if one.device and Path(one.device).name in ports | {Path(path).name for path in ports}:
                return True
            if one.device.startswith("/") and Path(one.device).resolve().name in ports:
                return True
        return False

    @property
    def serial_ports(self) -> dict[Path, str]:
        """Return the ports that are the gateway's, links followed, with what they are to it."""
        found = {Path(bus.port).resolve(): f"serial_bus {bus.name}" for bus in self.sections.serial_bus if bus.port}
        asked = [one for one in self.sections.modem if one.device.startswith("/")]
        return found | {Path(one.device).resolve(): f"modem {one.name}" for one in asked}

    def has_login(self, name: str) -> bool:
        """Whether the credentials file has an entry of this name."""
        return any(_knows(logins, name) for logins in self.logins)

    def names(self) -> dict[str, Names]:
        """Return the taken names by kind of source."""
        there = self.sections
        instruments = {one.name for bus in there.serial_bus for one in bus.instrument}
        return {
            "camera": Names({one.name for one in there.camera}),
            "loudspeaker": Names({one.name for one in there.loudspeaker}),
            "modem": Names({one.name for one in there.modem}),
            "wifi": Names({one.name for one in there.wifi}),
            "serial": Names({bus.name for bus in there.serial_bus} | instruments),
        }


def known_of(paths: Sequence[Path]) -> Known:
    """Read configuration files, or pieces of them, as one; raises ConfigError."""
    known = [known_in(_bytes(path), path) for path in paths]
    sections = Sections(
        camera=[one for part in known for one in part.sections.camera],
        loudspeaker=[one for part in known for one in part.sections.loudspeaker],
        modem=[one for part in known for one in part.sections.modem],
        wifi=[one for part in known for one in part.sections.wifi],
        serial_bus=[one for part in known for one in part.sections.serial_bus],
    )
    return Known(sections=sections, logins=tuple(logins for part in known for logins in part.logins))


def known_in(data: bytes, path: Path) -> Known:
    """Read the bytes of a configuration file; raises ConfigError."""
    try:
        text = data.decode("utf-8")
        sections = msgspec.convert(tomllib.loads(text), Sections, strict=False, dec_hook=_path)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from error
    comments = frozenset(line.strip() for line in text.splitlines() if line.lstrip().startswith("#"))
    return Known(sections=sections, logins=_logins(sections.probes.credentials), comments=comments)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error}") from error


def _logins(path: Path | None) -> tuple[Credentials, ...]:
    try:
        return (Credentials(path),)
    except CredentialError:
        return ()  # the gateway says that itself at its start; here no login is there yet


def _knows(logins: Credentials, name: str) -> bool:
    try:
        logins.of(name)
    except ProbeError:
        return False
    return True


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} is not in these sections")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
