"""From a simulated commune to the configuration of real gateways and a real hub: keys, profiles, places."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.assembly import key_path
from gateway.config import ChirpStack, Config, Device, Hub, Identity, Retention, Sealing
from gateway.probes.machine.settings import Machine
from simulators.commune import AdminUnit, Commune, SimDevice, SimGateway
from wire.identity import GatewayId
from wire.keys import PublicKey, SigningKey
from xom.infrastructure import Infrastructure, sources_of

_VALID_FROM = "2025-07-01"  # since then communes stand directly under provinces
_ENROLLED_AT = "2026-01-01T00:00:00+07:00"


def gateway_config(
    village: SimGateway,
    infrastructure: Infrastructure,
    *,
    data: Path,
    broker: tuple[str, int],
    hub_key: PublicKey,
    sealing: Sealing,
) -> Config:
    """Return what an installer would have written for this gateway."""
    host, port = broker
    return Config(
        gateway=Identity(id=village.gateway_id, data=data / village.gateway_id),
        hub=Hub(host=host, port=port, public_key=hub_key.encoded.hex(), algorithm=hub_key.algorithm),
        chirpstack=ChirpStack(host=host, port=port, application=village.application_id),
        seal=sealing,
        retention=Retention(),
        machine=Machine(enabled=False),  # what runs here is no hamlet's Raspberry Pi
        device=[
            Device(dev_eui=one.dev_eui, profile=one.model, name=one.name, interval_s=float(one.interval_s))
            for one in village.devices
        ],
        loudspeaker=infrastructure.loudspeakers,
        camera=infrastructure.cameras,
    )


def registry_toml(commune: Commune, configs: list[Config], infrastructure: Mapping[GatewayId, Infrastructure]) -> str:
    """Return the hub's registry file: the administrative tree, the gateways with their keys, the sources in place."""
    lines = ["# Simulated: no such place exists.", ""]
    for unit in commune.units:
        lines += _unit(unit)
    for village, config in zip(commune.gateways, configs, strict=True):
        key = SigningKey.read_or_make(key_path(config), config.gateway.algorithm).public
        lines += _gateway(village, key)
        for one in village.devices:
            lines += _source(village, one)
        lines += sources_of(village, infrastructure[village.gateway_id])
    return "\n".join(lines)


def _unit(unit: AdminUnit) -> list[str]:
    parent = [f'parent = "{unit.parent}"'] if unit.parent else []
    return [
        "[[administrative_unit]]",
        f'code = "{unit.code}"',
        f'kind = "{unit.kind}"',
        f'name = "{unit.name}"',
        *parent,
        f"valid_from = {_VALID_FROM}",
        "",
    ]


def _gateway(village: SimGateway, key: PublicKey) -> list[str]:
    return [
        "[[gateway]]",
        f'id = "{village.gateway_id}"',
        f'name = "{village.application_name} {village.gateway_id}"',
        f'unit = "{village.hamlets[0]}"',
        f'algorithm = "{key.algorithm}"',
        f'public_key = "{key.encoded.hex()}"',
        f"enrolled_at = {_ENROLLED_AT}",
        "",
    ]


def _source(village: SimGateway, one: SimDevice) -> list[str]:
    return [
        "[[source]]",
        f'gateway = "{village.gateway_id}"',
        f'id = "{one.dev_eui.source}"',
        f'name = "{one.name}"',
        f'unit = "{one.hamlet}"',
        f'profile = "{one.model}"',
        f"latitude = {one.position.latitude:.6f}",
        f"longitude = {one.position.longitude:.6f}",
        "",
    ]
