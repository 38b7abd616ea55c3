"""Looks over a tree in the ChirpStack repository layout without running a codec: what would go wrong on import, or
unseen.

The traps are those of ChirpStack's importer as it is, not of the format: it takes every file of `devices/`, finds
entries again by their ids, matches profiles by device, region and firmware, and passes over what it does not know.
Where our `quantities/` lie beside `vendors/`, units, fields and regions are looked over too.
"""

from __future__ import annotations

import functools
import json
import tomllib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from codec.errors import ProfileError
from codec.profiles import ProfileLibrary
from codec.ucum import problem_of
from codec.vector_files import read_tree

Level = Literal["error", "warning"]
_T = TypeVar("_T")

_SKIPPED: Final = "example-vendor"  # the importer passes over it, too
_IMPORTED_INTERVAL_S: Final = 3600
_VIET_NAM: Final = "AS923-2"
_LICENCE_FREE_DBM: Final = 16  # EIRP; 25 mW ERP
_OUI_DIGITS: Final = 6
_REGIONS_TEXT: Final = """
    EU868 US915 CN779 EU433 AU915 CN470 AS923 AS923-2 AS923-3 AS923-4 AS923_2 AS923_3 AS923_4 KR920 IN865 RU864 ISM2400
"""
_REGIONS: Final = frozenset(_REGIONS_TEXT.split())
_MAC_VERSIONS: Final = frozenset(["1.0.0", "1.0.1", "1.0.2", "1.0.3", "1.0.4", "1.1.0"])
_REVISIONS_TEXT: Final = """
    A B RP002-1.0.0 RP002-1.0.1 RP002-1.0.2 RP002-1.0.3 RP002-1.0.4 RP002-1.0.5
"""
_REVISIONS: Final = frozenset(_REVISIONS_TEXT.split())


class Finding(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One thing about one file. `rule` is its short name."""

    file: str
    rule: str
    level: Level
    message: str


_Small = Annotated[int, msgspec.Meta(ge=0, le=15)]
_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class _Vendor(msgspec.Struct):
    name: str
    id: str = ""
    vendor_id: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    ouis: list[str] = []
    devices: list[str] = []


class _VendorFile(msgspec.Struct):
    vendor: _Vendor


class _Firmware(msgspec.Struct):
    version: str
    profiles: list[str] = []
    codec: str | None = None


class _Device(msgspec.Struct):
    name: str
    id: str = ""
    description: str = ""
    firmware: list[_Firmware] = []


class _DeviceFile(msgspec.Struct):
    device: _Device


class _Abp(msgspec.Struct):
    rx1_delay: _Small = 0
    rx1_dr_offset: Annotated[int, msgspec.Meta(ge=0, le=7)] = 0
    rx2_dr: _Small = 0
    rx2_freq: _Whole = 0


class _ClassB(msgspec.Struct):
    timeout_secs: _Whole = 0
    ping_slot_nb_k: Annotated[int, msgspec.Meta(ge=0, le=7)] = 0
    ping_slot_dr: _Small = 0
    ping_slot_freq: _Whole = 0


class _ClassC(msgspec.Struct):
    timeout_secs: _Whole = 0


class _Profile(msgspec.Struct):
    region: str
    mac_version: str
    reg_params_revision: str
    id: str = ""
    vendor_profile_id: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    supports_otaa: bool = False
    supports_class_b: bool = False
    supports_class_c: bool = False
    max_eirp: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    abp: _Abp = msgspec.field(default_factory=_Abp)
    class_b: _ClassB = msgspec.field(default_factory=_ClassB)
    class_c: _ClassC = msgspec.field(default_factory=_ClassC)


class _ProfileFile(msgspec.Struct):
    profile: _Profile


def lint_tree(root: Path) -> list[Finding]:
    """Look over a tree; returns what was found, by file."""
    return sorted(_Linter(root).run())


class _Linter:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._vendors = root / "vendors" if (root / "vendors").is_dir() else root
        self._ours = (root / "quantities").is_dir()
        self._ids: dict[str, Path] = {}

    def run(self) -> Iterator[Finding]:
        folders = [path.parent for path in sorted(self._vendors.glob("*/vendor.toml"))]
        if not folders:
            yield self._error(self._root, "no_vendor", "there is no <vendor>/vendor.toml in this tree")
        for folder in folders:
            if folder.name != _SKIPPED:
                yield from self._vendor(folder)
        for stray in sorted(self._vendors.iterdir()):
            if stray.is_dir() and stray not in folders and (stray / "devices").is_dir():
                yield self._error(stray, "no_vendor_file", "a vendor's folder without vendor.toml is not imported")
        yield from self._tests()
        if self._ours:
            yield from self._quantities()

    # ---- the vendor's tree

    def _vendor(self, folder: Path) -> Iterator[Finding]:
        path = folder / "vendor.toml"
        vendor, problems = self._read(path, _VendorFile)
        yield from problems
        if vendor is not None:
            yield from self._id(path, "vendor", vendor.vendor.id)
            yield from self._lists(folder, path, vendor.vendor)
        devices = [(file, *self._read(file, _DeviceFile)) for file in sorted(folder.glob("devices/*.toml"))]
        profiles = {file.name: self._read(file, _ProfileFile) for file in sorted(folder.glob("profiles/*.toml"))}
        for name, (profile, problems) in profiles.items():
            yield from problems
            if profile is not None:
                yield from self._profile(folder / "profiles" / name, profile.profile)
        regions = {name: profile.profile.region for name, (profile, _) in profiles.items() if profile is not None}
        for file, device, problems in devices:
            yield from problems
            if device is not None:
                yield from self._device(folder, file, device.device, regions)
        yield from self._codecs(folder, [device.device for _, device, _ in devices if device is not None])

    def _lists(self, folder: Path, path: Path, vendor: _Vendor) -> Iterator[Finding]:
        there, listed = {file.name for file in folder.glob("devices/*.toml")}, set(vendor.devices)
        for name in sorted(listed - there):
            yield self._error(path, "device_missing", f"devices lists {name}, which is not in devices/")
        for name in sorted(there - listed):
            message = f"devices/{name} is not listed in devices: ChirpStack imports it all the same, others do not"
            yield self._warning(path, "device_unlisted", message)
        for oui in vendor.ouis:
            if len(oui) != _OUI_DIGITS or not all(digit in "0123456789abcdefABCDEF" for digit in oui):
                yield self._error(path, "oui", f"{oui!r} is no OUI: six hex digits")

    def _device(self, folder: Path, path: Path, device: _Device, regions: dict[str, str]) -> Iterator[Finding]:
        yield from self._id(path, "device", device.id)
        if not device.firmware:
            yield self._error(path, "no_firmware", "no firmware: nothing of this device is imported")
        for firmware in device.firmware:
            where = f"firmware {firmware.version}"
            if firmware.codec is None:
                yield self._warning(path, "no_codec", f"{where} has no codec: its frames stay undecoded")
            elif not (folder / "codecs" / firmware.codec).is_file():
                yield self._error(
                    path, "codec_missing", f"{where} names codec {firmware.codec}, which is not in codecs/"
                )
            yield from self._regions(path, where, firmware, regions)

    def _regions(self, path: Path, where: str, firmware: _Firmware, regions: dict[str, str]) -> Iterator[Finding]:
        if not firmware.profiles:
            yield self._error(path, "no_profile", f"{where} names no profile: it is not imported")
        seen: dict[str, str] = {}
        for name in firmware.profiles:
            region = regions.get(name)
            if region is None:
                yield self._error(path, "profile_missing", f"{where} names profile {name}, which is not in profiles/")
                continue
            region = region.replace("_", "-")
            if region in seen:
                message = f"{where} has two profiles for {region}, {seen[region]} and {name}: one overwrites the other"
                yield self._error(path, "region_twice", f"{message} on import")
            seen[region] = name
        if self._ours and firmware.profiles and _VIET_NAM not in seen:
            yield self._warning(path, "no_as923_2", f"{where} has no profile for {_VIET_NAM}, the plan of Viet Nam")

    def _profile(self, path: Path, profile: _Profile) -> Iterator[Finding]:
        yield from self._id(path, "profile", profile.id)
        for rule, value, known in (
            ("region", profile.region, _REGIONS),
            ("mac_version", profile.mac_version, _MAC_VERSIONS),
            ("reg_params_revision", profile.reg_params_revision, _REVISIONS),
        ):
            if value not in known:
                yield self._error(path, rule, f"{rule} {value!r} is not one that ChirpStack knows")
        if profile.supports_class_b:
            periodicity = 7 - profile.class_b.ping_slot_nb_k
            message = (
                "Class B: the importer reads ping_slot_periodicity, and not"
                f" ping_slot_nb_k = {profile.class_b.ping_slot_nb_k}: set periodicity {periodicity} through the API"
            )
            yield self._warning(path, "ping_slot", message)
        if self._ours and profile.region.replace("_", "-") == _VIET_NAM and profile.max_eirp > _LICENCE_FREE_DBM:
            message = f"max_eirp {profile.max_eirp} dBm: above {_LICENCE_FREE_DBM} dBm a licence is needed in Viet Nam"
            yield self._warning(path, "max_eirp", message)

    def _codecs(self, folder: Path, devices: list[_Device]) -> Iterator[Finding]:
        used = {firmware.codec for device in devices for firmware in device.firmware}
        for path in sorted(folder.glob("codecs/*.js")):
            if path.name not in used:
                yield self._warning(path, "codec_unused", "no device names this codec")
            script = path.read_text(encoding="utf-8", errors="replace")
            if not path.with_name(f"test_decode_{path.stem}.json").is_file():
                yield self._warning(path, "no_vectors", f"there is no test_decode_{path.stem}.json")
            if "function encodeDownlink" in script and not path.with_name(f"test_encode_{path.stem}.json").is_file():
                message = f"it encodes downlinks, and there is no test_encode_{path.stem}.json"
                yield self._warning(path, "no_encode_vectors", message)

    def _tests(self) -> Iterator[Finding]:
        for file in read_tree(self._vendors):
            if file.problem:
                yield self._error(file.path, "vectors", file.problem)
            elif not file.vectors:
                yield self._warning(file.path, "no_vectors", "holds no vector")
            for vector in file.vectors:
                if vector.problem:
                    yield self._error(file.path, "vectors", f"{vector.name}: {vector.problem}")
            notes = {note.trap: note.message for note in (*file.notes, *(n for v in file.vectors for n in v.notes))}
            for trap, message in notes.items():
                yield self._warning(file.path, trap, message)

    def _id(self, path: Path, what: str, text: str) -> Iterator[Finding]:
        if not text:
            message = f"the {what} has no id: ChirpStack imports it under the nil uuid, where all such {what}s collide"
            yield self._error(path, "no_id", message)
            return
        try:
            known = str(uuid.UUID(text))
        except ValueError:
            yield self._error(path, "bad_id", f"the {what}'s id {text!r} is no uuid")
            return
        if known == str(uuid.UUID(int=0)):
            yield self._error(path, "no_id", f"the {what}'s id is the nil uuid, where all without an id collide")
        elif known in self._ids:
            other = self._ids[known].relative_to(self._root)
            yield self._error(path, "id_twice", f"the {what}'s id is that of {other}, too: one overwrites the other")
        else:
            self._ids[known] = path

    # ---- our quantities

    def _quantities(self) -> Iterator[Finding]:
        library = ProfileLibrary(self._root)
        for path in sorted(self._vendors.glob("*/devices/*.toml")):
            try:
                yield from self._device_quantities(library, path)
            except ProfileError as error:
                yield self._error(path, "quantities", str(error))
        for path in sorted(self._root.glob("quantities/*/*.toml")):
            if not (self._vendors / path.parts[-2] / "devices" / path.name).is_file():
                yield self._warning(path, "no_device", "there is no device of this name")

    def _device_quantities(self, library: ProfileLibrary, path: Path) -> Iterator[Finding]:
        base = f"{path.parts[-3]}/{path.stem}"
        where = self._root / "quantities" / path.parts[-3] / path.name
        device, _ = self._read(path, _DeviceFile)
        firmwares = device.device.firmware if device is not None else []
        units: set[str] = set()
        for firmware in firmwares:
            profile = library.profile(f"{base}@{firmware.version}")
            units |= {rule.unit for rule in profile.overlay.quantities}
            known = {rule.field.partition(".")[0] for rule in profile.overlay.quantities}
            left_out = functools.partial(library.is_metadata, base)
            yield from self._fields(where, path, firmware.codec, known, left_out)
            if profile.interval_s != _IMPORTED_INTERVAL_S and firmware is firmwares[-1]:
                message = (
                    f"every {profile.interval_s} s; the importer writes {_IMPORTED_INTERVAL_S} s: set it by the API"
                )
                yield self._warning(where, "uplink_interval", message)
        for unit in sorted(units):
            problem = problem_of(unit)
            if problem:
                yield self._error(where, "unit", f"no UCUM code: {problem}")

    def _fields(
        self, where: Path, device: Path, codec: str | None, known: set[str], left_out: Callable[[str], bool]
    ) -> Iterator[Finding]:
        if codec is None:
            return
        vectors = device.parent.parent / "codecs" / f"test_decode_{codec.removesuffix('.js')}.json"
        fields: set[str] = set()
        for vector in _expected(vectors):
            fields |= {*vector}
        for name in sorted(fields - known):
            if not left_out(name):
                message = f"{codec} gives {name!r}, which is neither a quantity nor in metadata"
                yield self._warning(where, "field_without_quantity", message)

    # ---- files

    def _read(self, path: Path, form: type[_T]) -> tuple[_T | None, list[Finding]]:
        try:
            table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
            return msgspec.convert(table, form), []
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            return None, [self._error(path, "unreadable", f"ChirpStack cannot read it: {error}")]

    def _error(self, path: Path, rule: str, message: str) -> Finding:
        return Finding(file=self._within(path), rule=rule, level="error", message=message)

    def _warning(self, path: Path, rule: str, message: str) -> Finding:
        return Finding(file=self._within(path), rule=rule, level="warning", message=message)

    def _within(self, path: Path) -> str:
        return str(path.relative_to(self._root))


def _expected(path: Path) -> Iterator[dict[str, Any]]:
    """The data that a test file expects; nothing where it cannot be read, which is told elsewhere."""
    try:
        vectors = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return
    for vector in vectors if isinstance(vectors, list) else ():
        expected = vector.get("expected") if isinstance(vector, dict) else None
        data = expected.get("data") if isinstance(expected, dict) else None
        if isinstance(data, dict):
            yield data
