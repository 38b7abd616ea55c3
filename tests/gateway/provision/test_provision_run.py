"""`xom gateway provision` against a server made of ChirpStack's own servicers: twice, halfway, wrongly, secretly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from chirpstack_api.api import device_profile_pb2
from chirpstack_api.common import common_pb2
from typer.testing import CliRunner, Result

from codec.errors import ProfileError
from codec.profiles import ProfileLibrary
from codec.radio import ClassB, radio_profile
from gateway.cli import gateway_app
from gateway.config import read
from gateway.provision.devices_file import RootKey, WantedDevice
from gateway.provision.network import PlanError, plan, root_keys
from simulators.chirpstack_api import Network, serving
from tests.real_mosquitto import free_port
from wire.identity import DevEui
from wire.keys import SigningKey

KEYS = [f"{n:032x}" for n in range(0xABCDEF01, 0xABCDEF04)]
EUIS = [f"a84041ffff00000{n}" for n in (1, 2, 3)]
MODELS = ["dragino/ldds75", "dragino/wqs-lb@1.2", "dragino/ldds75"]
TOKEN = "secret-api-key"


@pytest.fixture
def network() -> Network:
    return Network(token=TOKEN)


@pytest.fixture
def chirpstack(network: Network) -> Iterator[int]:
    with serving(network) as port:
        yield port


def devices_csv(tmp_path: Path, keys: list[str] = KEYS, models: list[str] = MODELS) -> Path:
    lines = ["dev_eui,app_key,model,name,place,interval_s"]
    lines += [
        f"{eui},{key},{model},Cảm biến {n},Thôn Đông,600"
        for n, (eui, key, model) in enumerate(zip(EUIS, keys, models, strict=True), 1)
    ]
    path = tmp_path / "devices.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    path.chmod(0o600)
    return path


def config(tmp_path: Path, port: int, *, token: str = TOKEN, mode: int = 0o600) -> Path:
    token_file = tmp_path / "api-key"
    token_file.write_text(token + "\n")
    token_file.chmod(mode)
    path = tmp_path / "gateway.toml"
    hub = SigningKey.generate().public.encoded.hex()
    path.write_text(
        f'[gateway]\nid = "thon-1"\ndata = "{tmp_path / "data"}"\n[hub]\npublic_key = "{hub}"\n'
        f'[provisioning]\nserver = "127.0.0.1:{port}"\ntoken_file = "{token_file}"\n'
        'tenant = "Xã Đông"\napplication = "Thôn Đông"\n'
    )
    return path


def run(tmp_path: Path, port: int, *more: str, devices: Path | None = None) -> Result:
    arguments = ["provision", str(devices or devices_csv(tmp_path)), "-c", str(config(tmp_path, port)), *more]
    return CliRunner().invoke(gateway_app, arguments)


def outcomes(result: Result) -> dict[str, dict[str, Any]]:
    return {outcome["name"]: outcome for outcome in json.loads(result.stdout)["outcomes"]}


def test_everything_is_made_with_its_tags_and_keys(tmp_path: Path, network: Network, chirpstack: int) -> None:
    result = run(tmp_path, chirpstack, "--json")
    assert result.exit_code == 0, result.output
    assert [one.name for one in network.tenants.values()] == ["Xã Đông"]
    assert [one.name for one in network.applications.values()] == ["Thôn Đông"]
    assert sorted(one.name for one in network.profiles.values()) == [
        f"xom {ProfileLibrary().profile('dragino/ldds75').name} AS923-2 1.0.3",
        "xom dragino/wqs-lb@1.2 AS923-2 1.0.3",
    ]
    device = network.devices[EUIS[1]]
    assert dict(device.tags) == {
        "xom_profile": "dragino/wqs-lb@1.2",
        "xom_source": f"lorawan:{EUIS[1]}",
        "xom_place": "Thôn Đông",
    }
    assert device.name == "Cảm biến 2"
    assert not device.skip_fcnt_check


def test_a_profile_carries_our_codec_interval_and_region(tmp_path: Path, network: Network, chirpstack: int) -> None:
    run(tmp_path, chirpstack)
    profile = next(one for one in network.profiles.values() if "ldds75" in one.name)
    ours = ProfileLibrary().profile("dragino/ldds75")
    assert profile.payload_codec_script == ours.script
    assert profile.payload_codec_runtime == device_profile_pb2.JS
    assert profile.uplink_interval == ours.interval_s
    assert (profile.region, profile.mac_version) == (common_pb2.AS923_2, common_pb2.LORAWAN_1_0_3)
    assert profile.reg_params_revision == common_pb2.RP002_1_0_0
    assert profile.supports_otaa


def test_a_lorawan_1_0_device_can_join_for_its_app_key_is_where_chirpstack_looks(
    tmp_path: Path, network: Network, chirpstack: int
) -> None:
    run(tmp_path, chirpstack)
    assert [network.join_key(eui) for eui in EUIS] == KEYS
    assert {network.keys[eui].app_key for eui in EUIS} == {"0" * 32}


def test_a_second_run_changes_nothing(tmp_path: Path, network: Network, chirpstack: int) -> None:
    run(tmp_path, chirpstack)
    before = len(network.writes)
    result = run(tmp_path, chirpstack, "--json")
    assert len(network.writes) == before
    assert {one["done"] for one in outcomes(result).values()} == {"unchanged"}


def test_a_run_that_was_cut_short_is_completed_by_the_next(tmp_path: Path, network: Network, chirpstack: int) -> None:
    run(tmp_path, chirpstack)
    del network.keys[EUIS[0]]
    del network.devices[EUIS[2]]
    del network.keys[EUIS[2]]
    found = outcomes(run(tmp_path, chirpstack, "--json"))
    assert (found[EUIS[0]]["done"], found[EUIS[0]]["keys"]) == ("unchanged", "created")
    assert (found[EUIS[1]]["done"], found[EUIS[1]]["keys"]) == ("unchanged", "unchanged")
    assert (found[EUIS[2]]["done"], found[EUIS[2]]["keys"]) == ("created", "created")
    assert network.join_key(EUIS[0]) == KEYS[0]


def test_what_others_set_stays(tmp_path: Path, network: Network, chirpstack: int) -> None:
    run(tmp_path, chirpstack)
    network.devices[EUIS[0]].tags["owner"] = "hợp tác xã"
    network.devices[EUIS[0]].variables["calibration"] = "7"
    network.devices[EUIS[0]].name = "renamed"
    profile = next(one for one in network.profiles.values() if "ldds75" in one.name)
    profile.region_config_id = "as923_2"
    profile.payload_codec_script = "// somebody's older codec"
    found = outcomes(run(tmp_path, chirpstack, "--json"))
    assert found[EUIS[0]]["done"] == "changed"
    assert found[profile.name]["done"] == "changed"
    device, profile = network.devices[EUIS[0]], network.profiles[profile.id]
    assert (device.tags["owner"], device.variables["calibration"]) == ("hợp tác xã", "7")
    assert device.name == "Cảm biến 1"
    assert profile.region_config_id == "as923_2"
    assert profile.payload_codec_script == ProfileLibrary().profile("dragino/ldds75").script


def test_changed_keys_are_said_loudly(tmp_path: Path, network: Network, chirpstack: int) -> None:
    run(tmp_path, chirpstack)
    fresh = ["f0" * 16, *KEYS[1:]]
    result = run(tmp_path, chirpstack, devices=devices_csv(tmp_path, fresh))
    assert "KEYS CHANGED" in result.stdout
    assert network.join_key(EUIS[0]) == "f0" * 16


def test_a_device_of_another_application_is_left_there_and_the_others_go_on(
    tmp_path: Path, network: Network, chirpstack: int
) -> None:
    run(tmp_path, chirpstack)
    network.devices[EUIS[0]].application_id = "another"
    result = run(tmp_path, chirpstack, "--json")
    found = outcomes(result)
    assert result.exit_code == 1
    assert "another application" in found[EUIS[0]]["problem"]
    assert found[EUIS[1]]["problem"] == found[EUIS[2]]["problem"] == ""
    assert network.devices[EUIS[0]].application_id == "another"


def test_names_that_contain_ours_are_not_ours(tmp_path: Path, network: Network, chirpstack: int) -> None:
    run(tmp_path, chirpstack)
    for tenant in network.tenants.values():
        tenant.name = "Xã Đông Hải"
    run(tmp_path, chirpstack)
    assert sorted(one.name for one in network.tenants.values()) == ["Xã Đông", "Xã Đông Hải"]


def test_more_things_than_a_page_are_found(tmp_path: Path, network: Network, chirpstack: int) -> None:
    run(tmp_path, chirpstack)
    ours = next(iter(network.tenants))
    others = {f"t{n}": type(network.tenants[ours])(id=f"t{n}", name=f"Xã Đông {n}") for n in range(150)}
    network.tenants = others | network.tenants
    assert outcomes(run(tmp_path, chirpstack, "--json"))["Xã Đông"]["id"] == ours


def test_a_dry_run_looks_and_writes_nothing(tmp_path: Path, network: Network, chirpstack: int) -> None:
    result = run(tmp_path, chirpstack, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert network.writes == []
    assert json.loads(result.stdout)["created"] == 7  # tenant, application, two profiles, three devices
    assert not (tmp_path / "data" / "devices.toml").exists()


def test_keys_and_api_key_are_printed_nowhere(tmp_path: Path, network: Network, chirpstack: int) -> None:
    shown = ""
    for more in ((), ("--json",), ("--dry-run",)):
        shown += run(tmp_path, chirpstack, *more).output
    network.token = "another"
    shown += run(tmp_path, chirpstack).output
    shown += (tmp_path / "data" / "devices.toml").read_text()
    assert shown
    for secret in (*KEYS, TOKEN):
        assert secret not in shown


def test_the_gateway_knows_the_devices_from_its_next_start_on(
    tmp_path: Path, network: Network, chirpstack: int
) -> None:
    run(tmp_path, chirpstack)
    known = {device.dev_eui: device for device in read(config(tmp_path, chirpstack)).device}
    assert sorted(known) == EUIS
    assert known[DevEui(EUIS[1])].profile == "dragino/wqs-lb@1.2"
    assert known[DevEui(EUIS[1])].interval_s == 600


def test_a_device_in_the_configuration_itself_comes_before_a_provisioned_one(
    tmp_path: Path, network: Network, chirpstack: int
) -> None:
    run(tmp_path, chirpstack)
    path = config(tmp_path, chirpstack)
    path.write_text(path.read_text() + f'[[device]]\ndev_eui = "{EUIS[0]}"\nprofile = "decentlab/dl-mbx"\n')
    known = [(device.dev_eui, device.profile) for device in read(path).device]
    assert known[0] == (EUIS[0], "decentlab/dl-mbx")
    assert len(known) == 3


def test_a_wrong_api_key_stops_at_once_with_the_remedy(tmp_path: Path, network: Network, chirpstack: int) -> None:
    network.token = "another"
    result = run(tmp_path, chirpstack)
    assert result.exit_code == 1
    assert "create-api-key" in result.stderr
    assert len(network.calls) == 1


def test_no_server_is_said_with_its_address(tmp_path: Path) -> None:
    port = free_port()
    result = run(tmp_path, port)
    assert result.exit_code == 1
    assert f"no ChirpStack API at 127.0.0.1:{port}" in result.stderr


def test_an_api_key_that_others_may_read_is_refused(tmp_path: Path, chirpstack: int) -> None:
    path = config(tmp_path, chirpstack, mode=0o644)
    result = CliRunner().invoke(gateway_app, ["provision", str(devices_csv(tmp_path)), "-c", str(path)])
    assert result.exit_code == 2
    assert "chmod 600" in result.stderr


def test_a_model_that_is_not_there_stops_before_anything_is_sent(
    tmp_path: Path, network: Network, chirpstack: int
) -> None:
    devices = devices_csv(tmp_path, models=["dragino/none", "no/such@9", "dragino/ldds75"])
    result = run(tmp_path, chirpstack, devices=devices)
    assert result.exit_code == 2
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == EUIS[:2]
    assert network.calls == []


def test_a_list_that_others_may_read_gets_a_warning(tmp_path: Path, chirpstack: int) -> None:
    devices = devices_csv(tmp_path)
    devices.chmod(0o644)
    assert "chmod 600" in run(tmp_path, chirpstack, devices=devices).stderr


def wanted(app_key: str | None = None, nwk_key: str | None = None) -> WantedDevice:
    return WantedDevice(
        dev_eui=DevEui(EUIS[0]),
        model="dragino/ldds75",
        app_key=RootKey(app_key) if app_key else None,
        nwk_key=RootKey(nwk_key) if nwk_key else None,
    )


def test_lorawan_1_1_keeps_its_two_keys_apart() -> None:
    radio = msgspec.structs.replace(radio_profile(ProfileLibrary(), "dragino/ldds75"), mac_version="1.1.0")
    keys = root_keys(wanted(KEYS[0], KEYS[1]), radio)
    assert keys is not None
    assert keys.app_key is not None
    assert (keys.app_key.hex, keys.nwk_key.hex) == (KEYS[0], KEYS[1])
    with pytest.raises(PlanError, match="needs both"):
        root_keys(wanted(KEYS[0]), radio)


def test_lorawan_1_0_refuses_a_second_key() -> None:
    radio = radio_profile(ProfileLibrary(), "dragino/ldds75")
    with pytest.raises(PlanError, match="one root key"):
        root_keys(wanted(KEYS[0], KEYS[1]), radio)
    assert root_keys(wanted(), radio) is None


def test_a_region_that_a_device_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(PlanError, match=r"no profile for region EU868.*AS923-2"):
        plan([wanted(KEYS[0])], ProfileLibrary(), "EU868")
    with pytest.raises(ProfileError):
        radio_profile(ProfileLibrary(), "dragino/../../etc")


def test_class_b_slots_are_written_the_way_the_api_counts_them() -> None:
    """The tree says k, 2^k slots; the API's periodicity p gives 2^(7 - p)."""
    for k in range(8):
        assert 2**k == 2 ** (7 - ClassB(ping_slot_nb_k=k).ping_slot_periodicity)
