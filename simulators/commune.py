"""A simulated commune in the style of Cù Lao Dung: who stands where, on which gateway. All names invented.

Nothing here moves; `simulation.py` makes it live. The same seed gives the same commune.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from simulators.chirpstack import DeviceInfo
from simulators.devices import Device, DlCtd10, DlMbx, Em500Udl, Firmware, Ldds75, Probe, WqsLb
from simulators.radio import Concentrator, Position
from wire.identity import DevEui, GatewayId

PROVINCE: Final = "sim-92"
COMMUNE: Final = "sim-92001"
_MOUTH: Final = Position(
    latitude=9.535, longitude=106.275
)  # near the mouth of the Hậu; the isle lies upriver, north-west
_KM_PER_HAMLET: Final = 4.0
_FIRST_KM: Final = 3.0
_NAMESPACE: Final = uuid.UUID("6f6d0f5e-9a8e-5a65-9d3b-73696d000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminUnit:
    """A node of the administrative tree: code (`sim-...`), Vietnamese kind (tỉnh, xã, ấp), name, parent."""

    code: str
    kind: str
    name: str
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimDevice:
    """One device at its place.

    `km` upriver from the mouth; `mount_m` height above local mean sea level of the ultrasonic sensor
    (positive) or of the submerged probe (negative), so that level = mount_m - distance or mount_m + depth;
    `age_days` of its battery.
    """

    dev_eui: DevEui
    name: str
    hamlet: str
    device: Device
    position: Position
    km: float
    mount_m: float
    age_days: float
    shade_db: float

    @property
    def submerged(self) -> bool:
        """True when the sensor hangs in the water."""
        return self.mount_m < 0.0

    @property
    def model(self) -> str:
        """The profile name, such as `dragino/ldds75`."""
        return self.device.model

    @property
    def interval_s(self) -> int:
        """Seconds between two uplinks."""
        return self.device.interval_s


@dataclass(frozen=True, slots=True, kw_only=True)
class SimGateway:
    """One of our gateways with the ChirpStack on it: its application, its concentrators, its devices."""

    gateway_id: GatewayId
    hamlets: tuple[str, ...]
    tenant_id: str
    application_id: str
    application_name: str
    concentrators: tuple[Concentrator, ...]
    devices: tuple[SimDevice, ...]

    def info_of(self, device: SimDevice) -> DeviceInfo:
        """The `deviceInfo` that this gateway's ChirpStack writes for the device."""
        return DeviceInfo(
            tenant_id=self.tenant_id,
            tenant_name="xom-sim",
            application_id=self.application_id,
            application_name=self.application_name,
            device_profile_id=str(uuid.uuid5(_NAMESPACE, device.model)),
            device_profile_name=device.model,
            device_name=device.name,
            dev_eui=str(device.dev_eui),
            tags={"hamlet": device.hamlet, "simulated": "true", "source": str(device.dev_eui.source)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Commune:
    """The whole: seed, administrative units (province, commune, hamlets, in that order), gateways."""

    seed: int
    units: tuple[AdminUnit, ...]
    gateways: tuple[SimGateway, ...]

    @property
    def hamlets(self) -> tuple[AdminUnit, ...]:
        """The hamlets, from the mouth upriver."""
        return tuple(unit for unit in self.units if unit.kind == "ấp")

    def devices(self) -> Iterator[tuple[SimGateway, SimDevice]]:
        """Every device with its gateway, in a fixed order."""
        for gateway in self.gateways:
            for device in gateway.devices:
                yield gateway, device

    def gateway(self, gateway_id: str) -> SimGateway:
        """The gateway of that name; KeyError if there is none."""
        for gateway in self.gateways:
            if gateway.gateway_id == gateway_id:
                return gateway
        raise KeyError(gateway_id)


def build_commune(seed: int, gateways: int = 2, devices_per_hamlet: int = 6, *, hamlets: int = 6) -> Commune:
    """Lay out a commune: hamlets along the river, shared out evenly among the gateways.

    Raises ValueError unless 1 <= gateways <= hamlets <= 99 and 1 <= devices_per_hamlet <= 999.
    """
    if not 1 <= gateways <= hamlets <= 99 or not 1 <= devices_per_hamlet <= 999:
        raise ValueError("need 1 <= gateways <= hamlets <= 99 and 1 <= devices_per_hamlet <= 999")
    units = _units(hamlets)
    shares = [[h for h in range(hamlets) if h * gateways // hamlets == g] for g in range(gateways)]
    return Commune(
        seed=seed,
        units=units,
        gateways=tuple(_gateway(seed, g, tuple(share), devices_per_hamlet) for g, share in enumerate(shares)),
    )


def hamlet_code(index: int) -> str:
    """The simulated code of a hamlet, counted from 0 at the mouth."""
    return f"{COMMUNE}-{index + 1:02d}"


def _units(hamlets: int) -> tuple[AdminUnit, ...]:
    return (
        AdminUnit(code=PROVINCE, kind="tỉnh", name="Tỉnh Mô Phỏng", parent=None),
        AdminUnit(code=COMMUNE, kind="xã", name="Xã Cù Lao Mô Phỏng", parent=PROVINCE),
        *(
            AdminUnit(code=hamlet_code(h), kind="ấp", name=f"Ấp Mô Phỏng {h + 1}", parent=COMMUNE)
            for h in range(hamlets)
        ),
    )


def _gateway(seed: int, index: int, hamlets: tuple[int, ...], devices_per_hamlet: int) -> SimGateway:
    gateway_id = GatewayId.parse(f"gw-sim-{index + 1}")
    devices = (
        _device(seed, hamlet, slot, hamlet * devices_per_hamlet + slot)
        for hamlet in hamlets
        for slot in range(devices_per_hamlet)
    )
    return SimGateway(
        gateway_id=gateway_id,
        hamlets=tuple(map(hamlet_code, hamlets)),
        tenant_id=str(uuid.uuid5(_NAMESPACE, f"{seed}:tenant")),
        application_id=str(uuid.uuid5(_NAMESPACE, f"{seed}:application:{gateway_id}")),
        application_name=f"xom {gateway_id} (mô phỏng)",
        concentrators=_concentrators(index, hamlets),
        devices=tuple(devices),
    )


def _concentrators(gateway: int, hamlets: tuple[int, ...]) -> tuple[Concentrator, ...]:
    """Up to three receivers: at the first, the middle and the last hamlet of the gateway."""
    places = sorted({hamlets[0], hamlets[len(hamlets) // 2], hamlets[-1]})
    return tuple(
        Concentrator(
            lora_gateway_id=f"02786f6d{gateway:04x}{number:04x}",
            position=_centre(hamlet).moved(north_km=0.2, east_km=0.1),
            altitude_m=12.0,
        )
        for number, hamlet in enumerate(places)
    )


def _km(hamlet: int) -> float:
    return _FIRST_KM + _KM_PER_HAMLET * hamlet


def _centre(hamlet: int) -> Position:
    return _MOUTH.moved(north_km=0.64 * _km(hamlet), east_km=-0.77 * _km(hamlet))


def _device(seed: int, hamlet: int, slot: int, index: int) -> SimDevice:
    """One device, at most 1.2 km from the centre of its hamlet."""
    rng = random.Random(f"{seed}:place:{index}")
    device, submerged = _model(hamlet, slot, index)
    north, east = rng.uniform(-0.85, 0.85), rng.uniform(-0.85, 0.85)
    return SimDevice(
        # 02: a locally administered address, which no vendor's device can have; then "sim" in ASCII.
        dev_eui=DevEui.parse(f"0273696d{seed & 0xFFFF:04x}{index:04x}"),
        name=f"{device.model.split('/')[1].split('@')[0]}-{hamlet + 1:02d}-{slot + 1:02d}",
        hamlet=hamlet_code(hamlet),
        device=device,
        position=_centre(hamlet).moved(north_km=north, east_km=east),
        km=round(_km(hamlet) + 0.64 * north - 0.77 * east, 3),
        mount_m=-round(rng.uniform(3.1, 3.5), 3) if submerged else round(rng.uniform(3.4, 3.9), 3),
        age_days=round(rng.uniform(0.0, 900.0), 1),
        shade_db=round(rng.uniform(0.0, 20.0), 1),
    )


_FIRMWARES: Final = (Firmware.V1_0, Firmware.V1_2, Firmware.V1_3_1)


def _model(hamlet: int, slot: int, index: int) -> tuple[Device, bool]:
    """The model for a place, and whether it hangs in the water; three hamlets show all of them."""
    firmware = _FIRMWARES[(hamlet + slot // 6) % 3]
    match slot % 6:
        case 0:
            return Em500Udl(), False
        case 1:
            return Ldds75(), False
        case 2:
            return DlMbx(device_id=1000 + index), False
        case 3:
            return DlCtd10(device_id=1000 + index), True
        case 4:
            return WqsLb(firmware=firmware), True
        case _:
            return _conductivity(hamlet), True


def _conductivity(hamlet: int) -> Device:
    """Salinity station: the 4-electrode probe in every third hamlet, K10 with pH on older firmware."""
    if hamlet % 3 == 0:
        return WqsLb(firmware=Firmware.V1_3_1, probes=Probe.FOUR_EC | Probe.TURBIDITY)
    firmware = Firmware.V1_0 if hamlet % 3 == 1 else Firmware.V1_2
    return WqsLb(firmware=firmware, probes=Probe.EC_K10 | Probe.PH)
