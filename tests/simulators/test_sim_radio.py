"""The air: loudness by distance, data rates that carry the payload."""

import random

from simulators.radio import DWELL_PAYLOAD, SNR_LIMIT_DB, Concentrator, Link, Position, data_rate, hear, links

HERE = Position(latitude=9.6, longitude=106.2)


def concentrator(km: float) -> Concentrator:
    return Concentrator(
        lora_gateway_id=f"{round(km * 10):016x}", position=HERE.moved(north_km=km, east_km=0.0), altitude_m=10.0
    )


def test_moving_and_measuring_agree() -> None:
    moved = HERE.moved(north_km=3.0, east_km=-4.0)
    assert abs(HERE.km_to(moved) - 5.0) < 0.01


def test_the_nearest_concentrator_is_loudest() -> None:
    found = links(HERE, (concentrator(6.0), concentrator(0.5), concentrator(2.0)), shade_db=5.0)
    levels = [link.rssi_dbm for link in found]
    assert levels == sorted(levels, reverse=True)
    assert HERE.km_to(found[0].concentrator.position) < 1.0


def test_a_frame_is_always_heard_by_the_best_and_by_three_at_most() -> None:
    found = links(HERE, tuple(concentrator(km) for km in (0.2, 0.3, 0.4, 0.5)), shade_db=0.0)
    assert len(hear(found, 7, random.Random(1))) == 3
    far = links(HERE, (concentrator(60.0), concentrator(90.0)), shade_db=20.0)
    assert len(hear(far, 7, random.Random(1))) == 1


def test_data_rate_never_drops_below_what_the_payload_needs() -> None:
    deaf = Link(concentrator=concentrator(1.0), rssi_dbm=-140.0)
    loud = Link(concentrator=concentrator(1.0), rssi_dbm=-80.0)
    assert data_rate(loud, 8) == 5
    for size in (8, 11, 12, 53, 54, 125, 126):
        assert DWELL_PAYLOAD[data_rate(deaf, size)] >= size
    assert data_rate(deaf, 8) == 2


def test_slower_spreading_hears_further() -> None:
    limits = [SNR_LIMIT_DB[spreading] for spreading in range(7, 13)]
    assert limits == sorted(limits, reverse=True)
