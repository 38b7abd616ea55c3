"""The LoRaWAN side of a device profile: the vendor tree's `profiles/<profile>.toml`, one for a region and version."""

from __future__ import annotations

from typing import Literal

import msgspec

from codec.errors import ProfileError
from codec.profiles import ProfileLibrary, read_toml

DEFAULT_REGION = "AS923-2"  # Viet Nam: 920 to 923 MHz (lorawan.md section 5)


MacVersion = Literal["1.0.0", "1.0.1", "1.0.2", "1.0.3", "1.0.4", "1.1.0"]
Revision = Literal["A", "B", "RP002-1.0.0", "RP002-1.0.1", "RP002-1.0.2", "RP002-1.0.3", "RP002-1.0.4"]


class Abp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[profile.abp]: receive windows of a device that does not join."""

    rx1_delay: int = 0
    rx1_dr_offset: int = 0
    rx2_dr: int = 0
    rx2_freq: int = 0


class ClassB(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[profile.class_b]. `ping_slot_nb_k`: 2^k ping slots a beacon period, as the tree writes it."""

    timeout_secs: int = 0
    ping_slot_nb_k: int = 0
    ping_slot_dr: int = 0
    ping_slot_freq: int = 0

    @property
    def ping_slot_periodicity(self) -> int:
        """What ChirpStack's API takes: 2^(7 - periodicity) slots. Its importer reads another name and loses it."""
        return 7 - self.ping_slot_nb_k


class ClassC(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[profile.class_c]."""

    timeout_secs: int = 0


class RadioProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[profile]: what a network server must know of a device's radio in one region."""

    region: str
    mac_version: MacVersion
    reg_params_revision: Revision
    supports_otaa: bool
    id: str = ""
    vendor_profile_id: int = 0
    supports_class_b: bool = False
    supports_class_c: bool = False
    max_eirp: int = 0
    abp: Abp = Abp()
    class_b: ClassB = ClassB()
    class_c: ClassC = ClassC()

    @property
    def has_two_root_keys(self) -> bool:
        """LoRaWAN 1.1 has an AppKey and an NwkKey, 1.0 has the AppKey alone."""
        return self.mac_version.startswith("1.1")


class _RadioFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    profile: RadioProfile


def radio_profile(library: ProfileLibrary, name: str, region: str = DEFAULT_REGION) -> RadioProfile:
    """Return how this device's firmware speaks in a region; raises ProfileError, which names what there is."""
    found = [read_toml(path, _RadioFile).profile for path in library.radio_files(name)]
    for profile in found:
        if canonical_region(profile.region) == canonical_region(region):
            return profile
    known = ", ".join(sorted({profile.region for profile in found})) or "none"
    raise ProfileError(f"{name}: no profile for region {region}; this firmware's regions: {known}")


def canonical_region(region: str) -> str:
    """One spelling of two: the tree writes AS923-2, ChirpStack's own enum AS923_2."""
    return region.upper().replace("-", "_")
