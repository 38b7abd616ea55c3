"""The layout of the simulated commune."""

from collections import Counter

import pytest

from simulators.commune import build_commune
from wire.identity import DevEui, GatewayId

COMMUNE = build_commune(7)


def test_same_seed_same_commune() -> None:
    assert build_commune(7) == COMMUNE != build_commune(8)


def test_two_gateways_share_six_hamlets_and_36_devices() -> None:
    assert [gateway.gateway_id for gateway in COMMUNE.gateways] == ["gw-sim-1", "gw-sim-2"]
    assert [len(gateway.hamlets) for gateway in COMMUNE.gateways] == [3, 3]
    assert len(list(COMMUNE.devices())) == 36
    assert len({gateway.application_id for gateway in COMMUNE.gateways}) == 2


def test_all_models_and_firmwares_are_there() -> None:
    models = Counter(device.model for _, device in COMMUNE.devices())
    assert models.keys() == {
        "milesight/em500-udl",
        "dragino/ldds75",
        "decentlab/dl-mbx",
        "decentlab/dl-ctd10",
        "dragino/wqs-lb@1.0",
        "dragino/wqs-lb@1.2",
        "dragino/wqs-lb@1.3.1",
    }


def test_units_are_a_tree_of_simulated_names() -> None:
    codes = {unit.code for unit in COMMUNE.units}
    assert Counter(unit.kind for unit in COMMUNE.units) == {"tỉnh": 1, "xã": 1, "ấp": 6}
    assert all(unit.code.startswith("sim-") and "Mô Phỏng" in unit.name for unit in COMMUNE.units)
    assert all(unit.parent in codes for unit in COMMUNE.units[1:])
    assert {device.hamlet for _, device in COMMUNE.devices()} == {unit.code for unit in COMMUNE.hamlets}


def test_identities_are_well_formed_and_unique() -> None:
    euis = [device.dev_eui for _, device in COMMUNE.devices()]
    assert len(set(euis)) == len(euis)
    assert all(DevEui.parse(eui) == eui and eui.startswith("02") for eui in euis)
    assert all(GatewayId.parse(gateway.gateway_id) for gateway in COMMUNE.gateways)


def test_places_lie_near_cu_lao_dung_and_sensors_above_the_water() -> None:
    for _, device in COMMUNE.devices():
        assert abs(device.position.latitude - 9.6) < 0.12
        assert abs(device.position.longitude - 106.2) < 0.12
        assert device.mount_m < -3.0 if device.submerged else device.mount_m > 3.0


@pytest.mark.parametrize(("gateways", "per_hamlet"), [(0, 6), (7, 6), (2, 0), (2, 1000)])
def test_impossible_layouts_are_refused(gateways: int, per_hamlet: int) -> None:
    with pytest.raises(ValueError, match="gateways"):
        build_commune(1, gateways, per_hamlet)


def test_a_larger_commune_grows_by_hamlets() -> None:
    large = build_commune(1, 20, 10, hamlets=40)
    assert len(large.gateways) == 20
    assert len(list(large.devices())) == 400
