"""Which profile a source's frames are decoded with: a reading names its codec, not its device. Pure but for one file.

In this order: what the operator says, what the registry says, the only device of the library that has the codec. What
is unknown or ambiguous is left as it stands, and named.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from codec.device_map import read_map
from codec.errors import ProfileError
from codec.history import HistoryRule, history_rule
from codec.profiles import ProfileLibrary
from wire.identity import DevEui, IdentityError, SourceId, from_plain
from wire.reading import Kind, Reading, Undecoded


class DevicesError(ValueError):
    """A device that is named wrongly: the message names it, and what there is to choose from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the operator says of a device: its profile, and its interval where it differs."""

    profile: str
    interval_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why nobody knows a source's profile."""

    reason: str


class _Device(msgspec.Struct, frozen=True):
    """One [[device]] table, as in a gateway's file; its other keys do not matter here."""

    dev_eui: DevEui
    profile: str
    interval_s: float | None = None
    map: str = ""


class _Devices(msgspec.Struct, frozen=True):
    device: list[_Device]


def read_devices(path: Path, library: ProfileLibrary) -> dict[SourceId, Given]:
    """Read the [[device]] tables of a gateway's file, or of one that holds nothing else; raises DevicesError."""
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        devices = msgspec.convert(document, _Devices, dec_hook=from_plain).device
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, IdentityError) as error:
        raise DevicesError(f"{path}: {error}") from error
    given = {}
    for one in devices:
        profile = one.profile
        _check(library, profile, f"{path}: device {one.dev_eui}")
        if one.map:
            profile = _mapped(library, profile, _map_path(path, one.map, library), f"{path}: device {one.dev_eui}")
        given[one.dev_eui.source] = Given(profile=profile, interval_s=one.interval_s)
    return given


def read_options(options: Sequence[str], library: ProfileLibrary) -> dict[SourceId, Given]:
    """Read `DEVEUI=PROFILE` options; raises DevicesError."""
    given = {}
    for option in options:
        name, equals, profile = option.partition("=")
        try:
            source = DevEui.parse(name).source if ":" not in name else SourceId.parse(name)
        except IdentityError as error:
            raise DevicesError(f"--device {option}: {error}") from error
        if not equals:
            raise DevicesError(f"--device {option}: write DEVEUI=PROFILE")
        _check(library, profile, f"--device {option}")
        given[source] = Given(profile=profile)
    return given


def _check(library: ProfileLibrary, profile: str, place: str) -> None:
    try:
        if profile not in library:
            raise DevicesError(
                f"{place}: the library has no profile {profile!r}; `xom profile list` shows those it has"
            )
        library.profile(profile)
    except ProfileError as error:
        raise DevicesError(f"{place}: {error}") from error


def _map_path(file: Path, name: str, library: ProfileLibrary) -> Path:
    """A path beside the file, or the name of a map in the library's `maps/`."""
    beside = file.parent / name
    return beside if beside.is_file() else library.root / "maps" / f"{name.removesuffix('.toml')}.toml"


def _mapped(library: ProfileLibrary, profile: str, path: Path, place: str) -> str:
    try:
        return library.with_map(profile, read_map(path))
    except ProfileError as error:
        raise DevicesError(f"{place}: {error}") from error


def codec_name(codec: str) -> str:
    """A codec's vendor and name, `dragino/ps-lb` of `dragino/ps-lb+12345678@0123456789abcdef`: without map and hash."""
    return codec.partition("@")[0].partition("+")[0]


def is_frame(reading: Reading) -> bool:
    """Whether a reading has a frame that a codec decodes."""
    frame = reading.frame
    by_source = not reading.codec and reading.quantities  # measured by whoever wrote it down
    malformed = reading.undecoded is Undecoded.MALFORMED_EVENT
    return frame.kind is Kind.UPLINK and bool(frame.raw) and not by_source and not malformed


class DeviceBook:
    """Knows the profiles of sources, as far as anybody does; `only` asks for the frames of one codec alone.

    Raises ProfileError for a library that is broken, DevicesError for a codec that it does not have.
    """

    def __init__(
        self,
        library: ProfileLibrary,
        given: Mapping[SourceId, Given],
        registered: Mapping[tuple[str, str], str],
        *,
        only: str | None = None,
    ) -> None:
        self._library = library
        self._given = given
        self._registered = registered
        self._only = only
        self._devices: dict[str, set[str]] = {}  # by codec, those that have it
        for name in library.names():
            codec = codec_name(library.profile(name).codec)
            if codec:
                self._devices.setdefault(codec, set()).add(name.partition("@")[0])
        if only is not None and only not in self._devices:
            raise DevicesError(f"--codec {only}: the library has no such codec; it has {', '.join(self.codecs)}")
        self._seen: dict[tuple[str, SourceId], str] = {}
        self._rules: dict[tuple[str, float | None], HistoryRule | None] = {}

    @property
    def codecs(self) -> list[str]:
        """The codecs of the library, `<vendor>/<codec>`."""
        return sorted(self._devices)

    def choose(self, gateway: str, reading: Reading) -> str | Unresolved | None:
        """Return the profile that decodes this frame, why nobody knows it, or None where it is not asked for."""
        codec = codec_name(reading.codec)
        found = self._profile(gateway, reading, codec)
        if isinstance(found, Unresolved):
            return found if self._only is None or codec == self._only else None
        if self._only is not None and self._only not in {codec, *self._codecs_of(found)}:
            return None
        return self._pinned(found, codec)

    def rule(self, profile: str, source: SourceId) -> HistoryRule | None:
        """How records of a device's memory are compared with its samples."""
        given = self._given.get(source)
        key = (profile, given.interval_s if given else None)
        if key not in self._rules:
            self._rules[key] = history_rule(self._library.profile(profile), key[1])
        return self._rules[key]

    def _profile(self, gateway: str, reading: Reading, codec: str) -> str | Unresolved:
        source = reading.frame.source
        if source in self._given:
            return self._usable(self._given[source].profile, reading)
        registered = self._registered.get((gateway, str(source)))
        if registered is not None:
            return self._from_registry(registered, reading, codec)
        if not codec:
            known = self._seen.get((gateway, source))
            return known or Unresolved("its profile is not known")
        devices = sorted(self._devices.get(codec, ()))
        if len(devices) != 1:
            choices = f"one of {', '.join(devices)}" if devices else f"the library has no codec {codec}"
            return Unresolved(f"codec {codec}: {choices}")
        found = self._usable(devices[0], reading)
        if isinstance(found, str):
            self._seen[gateway, source] = found
        return found

    def _from_registry(self, registered: str, reading: Reading, codec: str) -> str | Unresolved:
        try:
            known = registered in self._library
        except ProfileError as error:
            return Unresolved(f"the registry says {registered}: {error}")
        if not known:
            return Unresolved(f"the registry says {registered}, which the library does not have")
        if codec and codec not in self._codecs_of(registered):
            return Unresolved(f"the registry says {registered}, its frames were decoded with {codec}")
        return self._usable(registered, reading)

    def _usable(self, profile: str, reading: Reading) -> str | Unresolved:
        """A profile, unless the device needs a map of its own that nobody has named."""
        needed = self._library.profile(profile).device_map == "required" or "+" in reading.codec.partition("@")[0]
        if needed and "+" not in profile:
            return Unresolved(f"{profile} needs the device's map: name it in a devices file")
        return profile

    def _codecs_of(self, profile: str) -> set[str]:
        return {codec_name(self._library.profile(layout).codec) for layout in self._library.layouts(profile)}

    def _pinned(self, profile: str, codec: str) -> str:
        """The layout that the gateway had found out, where there are several."""
        layouts = self._library.layouts(profile)
        if codec and len(layouts) > 1:
            for layout in layouts:
                if codec_name(self._library.profile(layout).codec) == codec:
                    return layout
        return profile
