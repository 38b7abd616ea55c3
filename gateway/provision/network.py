"""What ChirpStack shall hold, worked out before a word is sent: profiles, devices with their tags and keys. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from codec.errors import ProfileError
from codec.profiles import DeviceProfile, ProfileLibrary
from codec.radio import RadioProfile, radio_profile
from gateway.provision.devices_file import RootKey, WantedDevice
from wire.identity import DevEui

TAG_PROFILE: Final = "xom_profile"  # the gateway's source reads it from every event
TAG_SOURCE: Final = "xom_source"
TAG_PLACE: Final = "xom_place"
TAG_CODEC: Final = "xom_codec"


class PlanError(ValueError):
    """Theirs to mend: a device of the list cannot be provisioned as it stands there. One line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedProfile:
    """One ChirpStack device profile: our codec and interval, the device's radio in one region."""

    name: str
    source: DeviceProfile
    radio: RadioProfile

    @property
    def tags(self) -> dict[str, str]:
        """Who made it, and with which codec: what a later run compares."""
        return {TAG_PROFILE: self.source.name, TAG_CODEC: self.source.codec}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Root keys by ChirpStack's names. LoRaWAN 1.0 has one key, the AppKey, and it belongs into `nwk_key` there."""

    nwk_key: RootKey
    app_key: RootKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDevice:
    """One device with the profile it gets."""

    wanted: WantedDevice
    profile: WantedProfile
    keys: Keys | None

    @property
    def dev_eui(self) -> DevEui:
        """Its DevEUI."""
        return self.wanted.dev_eui

    @property
    def tags(self) -> dict[str, str]:
        """What travels with every event of this device."""
        tags = {TAG_PROFILE: self.wanted.model, TAG_SOURCE: str(self.dev_eui.source)}
        return tags | ({TAG_PLACE: self.wanted.place} if self.wanted.place else {})


def plan(devices: Sequence[WantedDevice], library: ProfileLibrary, region: str) -> list[PlannedDevice]:
    """Return what to provision, in the list's order; raises PlanError naming every device that cannot be."""
    profiles: dict[str, WantedProfile] = {}
    planned, problems = [], []
    for device in devices:
        try:
            if device.model not in profiles:
                profiles[device.model] = wanted_profile(library, device.model, region)
            profile = profiles[device.model]
            planned.append(PlannedDevice(wanted=device, profile=profile, keys=root_keys(device, profile.radio)))
        except (ProfileError, PlanError) as error:
            problems.append(f"{device.dev_eui}: {error}")
    if problems:
        raise PlanError("\n".join(problems))
    return planned


def wanted_profile(library: ProfileLibrary, model: str, region: str) -> WantedProfile:
    """Return the ChirpStack profile of a model in a region; raises ProfileError."""
    source, radio = library.profile(model), radio_profile(library, model, region)
    if not radio.supports_otaa:
        raise ProfileError(f"{model} does not join over the air in {radio.region}, and ABP is not provisioned")
    return WantedProfile(name=f"xom {source.name} {radio.region} {radio.mac_version}", source=source, radio=radio)


def root_keys(device: WantedDevice, radio: RadioProfile) -> Keys | None:
    """Return a device's keys under ChirpStack's names (lorawan.md section 2, step 6); raises PlanError."""
    if device.app_key is None:
        if device.nwk_key is not None:
            raise PlanError("it has an nwk_key and no app_key")
        return None
    if radio.has_two_root_keys:
        if device.nwk_key is None:
            raise PlanError(f"LoRaWAN {radio.mac_version} needs both app_key and nwk_key")
        return Keys(nwk_key=device.nwk_key, app_key=device.app_key)
    if device.nwk_key is not None and device.nwk_key != device.app_key:
        raise PlanError(f"LoRaWAN {radio.mac_version} has one root key, the app_key: leave nwk_key empty")
    return Keys(nwk_key=device.app_key)
