"""The registry: a file that says exactly what is wrong with it, and a load that can be repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.registry.files import RegistryError, parse_registry, read_registry
from hub.store.database import Database
from hub.store.inventory import list_sources
from hub.store.registry import load_registry, verifiers
from wire.keys import SigningKey

SAMPLE = Path(__file__).parents[3] / "samples/registry.toml"
KEY = SigningKey.generate().public.encoded.hex()
UNIT = '[[administrative_unit]]\ncode = "x-1"\nname = "Xã"\nkind = "xã"\nvalid_from = 2025-07-01\n'
GATEWAY = f'[[gateway]]\nid = "gw-a"\nalgorithm = "ed25519"\npublic_key = "{KEY}"\nenrolled_at = 2026-01-01T00:00:00Z\n'
SOURCE = '[[source]]\ngateway = "gw-a"\nid = "camera:gate"\n'


def test_the_sample_is_read() -> None:
    sample = read_registry(SAMPLE)
    assert [len(part) for part in (sample.units, sample.gateways, sample.sources)] == [4, 2, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[gatway]]\n", r"r\.toml: unknown key 'gatway'; did you mean 'gateway'"),
        ("[gateway]\n", r"'gateway' is a list of tables; write \[\[gateway\]\]"),
        ("gateway = [", r"r\.toml: .*at"),
        (GATEWAY + 'nam = "x"\n', "gateway 'gw-a': unknown key 'nam'; did you mean 'name'"),
        (GATEWAY.replace(KEY, "00"), r"gateway 'gw-a': public_key: .*hex or base64"),
        (GATEWAY.replace(KEY, "!!"), r"gateway 'gw-a': public_key: .*hex or base64"),
        (GATEWAY.replace("ed25519", "rsa"), r"gateway 'gw-a': .*algorithm"),
        (GATEWAY.replace("gw-a", "GW_A"), r"gateway 'GW_A': .*is not a gateway id"),
        (GATEWAY.replace("00:00Z", "00:00"), r"gateway 'gw-a': .*enrolled_at"),
        (GATEWAY + GATEWAY, "gateway 'gw-a': id: it stands here twice"),
        (GATEWAY + 'unit = "x-9"\n', "gateway 'gw-a': unit: there is no administrative_unit 'x-9'"),
        (SOURCE, "source 'camera:gate': gateway: there is no gateway 'gw-a'"),
        (GATEWAY + SOURCE + SOURCE, "source 'camera:gate': id: it stands here twice"),
        (GATEWAY + SOURCE + "latitude = 9.0\n", "latitude and longitude come together"),
        (GATEWAY + SOURCE + "latitude = 99.0\nlongitude = 1.0\n", "source 'camera:gate': .*latitude"),
        (UNIT + "valid_to = 2025-07-01\n", "administrative_unit 'x-1': valid_to: .*not after valid_from"),
        (UNIT + 'parent = "x-2"\n', "administrative_unit 'x-1': parent: there is no"),
        (UNIT + 'parent = "x-1"\n', "administrative_unit 'x-1': parent: it is among its own ancestors"),
        (UNIT + UNIT, "administrative_unit 'x-1': valid_from: .*give that one a valid_to"),
    ],
)
def test_a_mistake_is_named_with_its_table_and_key(text: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        parse_registry(text, "r.toml")


def test_a_missing_file_points_to_the_sample(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"samples/registry\.toml"):
        read_registry(tmp_path / "none.toml")


@pytest.mark.postgres
async def test_loading_again_changes_nothing(database: Database) -> None:
    sample = read_registry(SAMPLE)
    assert await load_registry(database, sample) == {"administrative_unit": 4, "gateway": 2, "source": 1}
    assert await load_registry(database, sample) == {"administrative_unit": 0, "gateway": 0, "source": 0}
    renamed = parse_registry(SAMPLE.read_text().replace("Ấp Bình Mẫu", "Ấp Mới"), "r.toml")
    assert await load_registry(database, renamed) == {"administrative_unit": 1, "gateway": 0, "source": 0}
    assert [source.placed for source in await list_sources(database, limit=10)] == [True]


@pytest.mark.postgres
async def test_a_revoked_gateway_has_no_verifier(database: Database) -> None:
    sample = read_registry(SAMPLE)
    await load_registry(database, sample)
    keys = await verifiers(database)
    assert {gateway: verifier.key for gateway, verifier in keys.items()} == {
        gateway.gateway_id: gateway.key for gateway in sample.gateways if gateway.revoked_at is None
    }
