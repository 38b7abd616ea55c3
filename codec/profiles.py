"""Device profiles on disk: the ChirpStack vendor tree, and our quantities beside it.

A profile is named `<vendor>/<device>` (last firmware) or `<vendor>/<device>@<firmware>`. Nothing is parsed before it is
asked for, so a library of hundreds of devices opens at once. An unknown key in a file is refused by name.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import device_profiles
from codec.errors import ProfileError
from codec.quantities import Lengths, Overlay, QuantityRule

_T = TypeVar("_T")


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One device with one firmware: how its frames are decoded and what its numbers mean.

    `codec` is `<vendor>/<codec>@<first 16 hex of the script's SHA-256>`, or "" with `script` None where the firmware
    has no codec. `interval_s` is the expected time between uplinks.
    """

    name: str
    title: str
    firmware: str
    codec: str
    script: str | None
    interval_s: int
    overlay: Overlay


class _Firmware(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: str
    profiles: tuple[str, ...] = ()
    codec: str | None = None


class _Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    firmware: tuple[_Firmware, ...]
    id: str = ""
    description: str = ""
    metadata: dict[str, str] = {}


class _DeviceFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    device: _Device


class _QuantitiesFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`quantities/<vendor>/<device>.toml`. `metadata` lists the fields of data that are not quantities."""

    interval_s: int
    payload: dict[str, dict[int, tuple[int, ...] | Lengths]] = {}
    metadata: tuple[str, ...] = ()
    quantity: tuple[QuantityRule, ...] = ()


class ProfileLibrary:
    """All device profiles under one folder that holds `vendors/` and `quantities/`."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(device_profiles.__path__[0])
        self._profiles: dict[str, DeviceProfile] = {}

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        vendor, _, device = name.partition("@")[0].partition("/")
        if not (_is_slug(vendor) and _is_slug(device) and self._device_path(vendor, device).is_file()):
            return False
        _, at, firmware = name.partition("@")
        return not at or any(entry.version == firmware for entry in self._device(vendor, device).firmware)

    def names(self) -> tuple[str, ...]:
        """Every profile with its firmware, sorted by vendor and device; reads the device files."""
        devices = sorted(self.root.glob("vendors/*/devices/*.toml"))
        return tuple(
            f"{path.parts[-3]}/{path.stem}@{firmware.version}"
            for path in devices
            for firmware in self._device(path.parts[-3], path.stem).firmware
        )

    def profile(self, name: str) -> DeviceProfile:
        """Return the profile of this name; raises ProfileError, which names the file and the key."""
        known = self._profiles.get(name)
        if known is None:
            known = self._profiles[name] = self._load(name)
        return known

    def check(self, names: Iterable[str] | None = None) -> None:
        """Load these profiles, or all, so that a broken file stops the start and not the first frame: ProfileError."""
        for name in self.names() if names is None else names:
            self.profile(name)

    def radio_files(self, name: str) -> tuple[Path, ...]:
        """The LoRaWAN profile files of this device's firmware; raises ProfileError."""
        vendor, device, version = self._parts(name)
        firmware = self._firmware(self._device(vendor, device), version, self._device_path(vendor, device))
        return tuple(self.root / "vendors" / vendor / "profiles" / file for file in firmware.profiles)

    def metadata_fields(self, name: str) -> frozenset[str]:
        """The fields of the codec's data that the quantities file leaves out on purpose."""
        vendor, _, device = name.partition("@")[0].partition("/")
        return frozenset(self._quantities(vendor, device).metadata)

    @cached_property
    def library_hash(self) -> str:
        """SHA-256 (hex) over the names and contents of all codecs and quantities: what decoding depends on."""
        digest = hashlib.sha256()
        paths = [*self.root.glob("vendors/*/codecs/*.js"), *self.root.glob("quantities/*/*.toml")]
        for path in sorted(paths):
            for part in (path.relative_to(self.root).as_posix().encode(), path.read_bytes()):
                digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    def _load(self, name: str) -> DeviceProfile:
        vendor, device, version = self._parts(name)
        description = self._device(vendor, device)
        firmware = self._firmware(description, version, self._device_path(vendor, device))
        return self._assemble(vendor, device, description.name, firmware)

    @staticmethod
    def _parts(name: str) -> tuple[str, str, str]:
        """Return vendor, device and firmware ("" for the last one); raises ProfileError."""
        base, _, version = name.partition("@")
        vendor, _, device = base.partition("/")
        # Names come from configuration: a slug cannot climb out of the tree.
        if not (_is_slug(vendor) and _is_slug(device)):
            raise ProfileError(f"{name!r:.80} is not a profile name: <vendor>/<device>[@<firmware>]")
        return vendor, device, version

    def _assemble(self, vendor: str, device: str, title: str, firmware: _Firmware) -> DeviceProfile:
        quantities = self._quantities(vendor, device)
        script = self._script(vendor, device, firmware)
        lengths = quantities.payload.get(firmware.codec or "")
        if script is not None and lengths is None:
            path = self._quantities_path(vendor, device)
            raise ProfileError(f'{path}: missing table [payload."{firmware.codec}"]')
        return DeviceProfile(
            name=f"{vendor}/{device}@{firmware.version}",
            title=title,
            firmware=firmware.version,
            codec=codec_id(vendor, firmware.codec, script) if firmware.codec and script is not None else "",
            script=script,
            interval_s=quantities.interval_s,
            overlay=Overlay(lengths=lengths or {}, quantities=quantities.quantity),
        )

    def _script(self, vendor: str, device: str, firmware: _Firmware) -> str | None:
        if firmware.codec is None:
            return None
        path = self.root / "vendors" / vendor / "codecs" / firmware.codec
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            where = f"{self._device_path(vendor, device)}: device.firmware {firmware.version}: codec"
            raise ProfileError(f"{where} {firmware.codec!r} cannot be read: {error}") from error

    @staticmethod
    def _firmware(device: _Device, version: str, path: Path) -> _Firmware:
        if not device.firmware:
            raise ProfileError(f"{path}: device.firmware: no firmware listed")
        if not version:
            return device.firmware[-1]
        for firmware in device.firmware:
            if firmware.version == version:
                return firmware
        known = ", ".join(firmware.version for firmware in device.firmware)
        raise ProfileError(f"{path}: device.firmware: no version {version!r}, there are {known}")

    def _device(self, vendor: str, device: str) -> _Device:
        return read_toml(self._device_path(vendor, device), _DeviceFile).device

    def _quantities(self, vendor: str, device: str) -> _QuantitiesFile:
        return read_toml(self._quantities_path(vendor, device), _QuantitiesFile)

    def _device_path(self, vendor: str, device: str) -> Path:
        return self.root / "vendors" / vendor / "devices" / f"{device}.toml"

    def _quantities_path(self, vendor: str, device: str) -> Path:
        return self.root / "quantities" / vendor / f"{device}.toml"


def codec_id(vendor: str, codec: str, script: str) -> str:
    """Name a codec by vendor, file and content: `dragino/ldds75@0123456789abcdef`."""
    digest = hashlib.sha256(script.encode()).hexdigest()
    return f"{vendor}/{codec.removesuffix('.js')}@{digest[:16]}"


def _is_slug(text: str) -> bool:
    return text.replace("-", "").replace("_", "").replace(".", "").isalnum() and not text.startswith(".")


def read_toml(path: Path, form: type[_T]) -> _T:
    """Read one file of the tree into its form; raises ProfileError, which names the file and the key."""
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(f"{path}: {error}") from error
    try:
        # TOML keys are strings; fPorts are numbers.
        return msgspec.convert(table, form, str_keys=True)
    except msgspec.ValidationError as error:
        raise ProfileError(f"{path}: {error}") from error
