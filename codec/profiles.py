"""Device profiles on disk: the ChirpStack vendor tree, and our quantities beside it.

A profile is named `<vendor>/<device>` (last firmware) or `<vendor>/<device>@<firmware>`; with a device's own map it is
named `<either>+<first 8 hex of the map's SHA-256>`. Nothing is parsed before it is asked for, so a library of hundreds
of devices opens at once. An unknown key in a file is refused by name.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

import device_profiles
from codec.device_map import DeviceMap
from codec.errors import ProfileError
from codec.quantities import HISTORY, Lengths, Overlay, QuantityRule, SalinityRule, rule_problem

_T = TypeVar("_T")
MapNeed = Literal["none", "optional", "required"]


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One device with one firmware: how its frames are decoded and what its numbers mean.

    `codec` is `<vendor>/<codec>@<first 16 hex of the script's SHA-256>`, or "" with `script` None where the firmware
    has no codec. `interval_s` is the expected time between uplinks. `history` devices send records from their memory;
    `history_tolerance_s` is how far such a record may lie from the live sample that it repeats, None for half the
    interval. `device_map` says whether the device
    needs a map of its own.
    """

    name: str
    title: str
    firmware: str
    codec: str
    script: str | None
    interval_s: int
    overlay: Overlay
    history: bool = False
    history_tolerance_s: int | None = None
    device_map: MapNeed = "none"


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
    """`quantities/<vendor>/<device>.toml`. `metadata` lists the fields of data that are not quantities; `*` matches."""

    interval_s: int
    history: bool = False
    history_tolerance_s: int | None = None
    device_map: MapNeed = "none"
    firmware_fields: tuple[str, ...] = ()
    salinity: SalinityRule | None = None
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
        if "+" in name:
            return name in self._profiles
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

    def layouts(self, name: str) -> tuple[str, ...]:
        """The profiles that a frame of this device may be of: one, or one for each codec where no firmware is named.

        Firmwares that share a codec are one layout, named by the last of them. Raises ProfileError.
        """
        base, _, mapped = name.partition("+")
        if "@" in base:
            return (name,)
        vendor, _, device = base.partition("/")
        last = {firmware.codec: firmware.version for firmware in self._device(vendor, device).firmware}
        if len(last) < 2:
            return (name,)
        return tuple(f"{base}@{version}{'+' if mapped else ''}{mapped}" for version in last.values())

    def with_map(self, name: str, device_map: DeviceMap) -> str:
        """Make the profile of one device with its own map known, for every layout; returns its name. ProfileError."""
        mark = f"+{device_map.digest[:8]}"
        for layout in {name, *self.layouts(name)}:
            plain = self.profile(layout)
            if plain.device_map == "none":
                raise ProfileError(f"{plain.name} takes no map: its frames say what they hold")
            codec, _, digest = plain.codec.partition("@")
            self._profiles[f"{layout}{mark}"] = msgspec.structs.replace(
                plain,
                name=f"{plain.name}{mark}",
                codec=f"{codec}{mark}@{digest}",
                overlay=_mapped(plain.overlay, device_map),
            )
        return f"{name}{mark}"

    def check(self, names: Iterable[str] | None = None) -> None:
        """Load these profiles, or all, so that a broken file stops the start and not the first frame: ProfileError."""
        for name in self.names() if names is None else names:
            self.profile(name)

    def radio_files(self, name: str) -> tuple[Path, ...]:
        """The LoRaWAN profile files of this device's firmware; raises ProfileError."""
        vendor, device, version = self._parts(name)
        firmware = self._firmware(self._device(vendor, device), version, self._device_path(vendor, device))
        return tuple(self.root / "vendors" / vendor / "profiles" / file for file in firmware.profiles)

    def is_metadata(self, name: str, field: str) -> bool:
        """Whether the quantities file leaves a field of the codec's data out on purpose."""
        vendor, _, device = name.partition("@")[0].partition("/")
        quantities = self._quantities(vendor, device)
        if field == HISTORY:
            return quantities.history
        return any(fnmatchcase(field, pattern) for pattern in quantities.metadata)

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
            history=quantities.history,
            history_tolerance_s=quantities.history_tolerance_s,
            device_map=quantities.device_map,
            overlay=self._overlay(vendor, device, quantities, lengths or {}),
        )

    def _overlay(
        self, vendor: str, device: str, quantities: _QuantitiesFile, lengths: dict[int, tuple[int, ...] | Lengths]
    ) -> Overlay:
        overlay = Overlay(
            lengths=lengths,
            quantities=quantities.quantity,
            salinity=quantities.salinity,
            firmware_fields=quantities.firmware_fields,
        )
        for rule in overlay.quantities:
            problem = rule_problem(rule, overlay.salinity)
            if problem:
                raise ProfileError(f"{self._quantities_path(vendor, device)}: quantity {rule.name}: {problem}")
        return overlay

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


def _mapped(overlay: Overlay, device_map: DeviceMap) -> Overlay:
    """The map's quantities first: they take the place of what the profile says of the same property."""
    return msgspec.structs.replace(
        overlay,
        quantities=device_map.quantity + overlay.quantities,
        salinity=device_map.salinity or overlay.salinity,
    )


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
