"""The oracle itself, on trial: a store that loses, repeats, invents or alters a frame must be found out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from simulators.devices import Encoded
from simulators.oracle import UplinkTruth
from wire.batch import Batch, Clock, Draft, Software, genesis, open_batch, seal
from wire.identity import DevEui, Epoch, GatewayId
from wire.keys import SigningKey
from wire.reading import ClockState, Frame, Kind, Link, Reading
from xom.audit import audit

GATEWAY, EPOCH, KEY = GatewayId("gw-a"), Epoch.new(), SigningKey.generate()
START_MS = 1_791_072_000_000
DEVICES = [DevEui("0273696d00070001"), DevEui("0273696d00070002")]


def truth(number: int) -> UplinkTruth:
    return UplinkTruth(
        gateway=GATEWAY,
        dev_eui=DEVICES[number % 2],
        dev_addr="26011bda",
        f_cnt=number,
        observed_at_ms=START_MS + number * 1000,
        encoded=Encoded(f_port=2, data=bytes([number, 255 - number]), quantities={}),
    )


TRUTHS = [truth(number) for number in range(10)]


def reading(of: UplinkTruth, kind: Kind = Kind.UPLINK) -> Reading:
    link = Link(dev_addr=of.dev_addr, f_cnt=of.f_cnt, f_port=2) if kind is Kind.UPLINK else None
    at, raw = of.observed_at_ms, of.encoded.data
    return Reading(Frame(of.dev_eui.source, kind, b"", at, at, 0, "boot", ClockState.NTP, raw, link))


READINGS = [reading(one) for one in TRUTHS]


def batch(readings: Sequence[Reading], gateway: GatewayId = GATEWAY) -> Batch:
    draft = Draft(
        gateway=gateway,
        epoch=EPOCH,
        seq=1,
        prev=genesis(gateway, EPOCH, KEY.public),
        from_ms=START_MS,
        to_ms=START_MS + 60_000,
        boot="boot",
        clock=Clock(ClockState.NTP),
        software=Software("1"),
        readings=readings,
    )
    return open_batch(seal(draft, KEY).envelope, KEY.public.verifier())


def counts(*batches: Batch) -> tuple[int, int, int, int]:
    verdict = audit(TRUTHS, batches)
    assert verdict.produced == 10
    assert verdict.is_clean == (verdict.lost == verdict.duplicate == verdict.invented == 0)
    return (verdict.stored, verdict.lost, verdict.duplicate, verdict.invented)


def test_an_honest_store_is_clean_however_it_was_cut_into_batches() -> None:
    assert counts(batch(READINGS)) == (10, 0, 0, 0)
    assert counts(batch(READINGS[6:]), batch([]), batch(READINGS[:6])) == (10, 0, 0, 0)


def test_a_repetition_on_air_is_one_frame() -> None:
    assert audit([*TRUTHS, TRUTHS[0]], [batch(READINGS)]).is_clean


def test_what_is_no_uplink_is_not_counted() -> None:
    assert counts(batch([*READINGS, reading(TRUTHS[0], Kind.STATUS)])) == (10, 0, 0, 0)


@pytest.mark.parametrize("number", range(10))
def test_a_lost_frame_is_found(number: int) -> None:
    assert counts(batch(READINGS[:number] + READINGS[number + 1 :])) == (9, 1, 0, 0)


def test_an_empty_store_has_lost_everything() -> None:
    assert counts() == (0, 10, 0, 0)


def test_a_frame_stored_twice_is_found_within_a_batch_and_across_two() -> None:
    assert counts(batch([*READINGS, READINGS[3]])) == (11, 0, 1, 0)
    assert counts(batch(READINGS), batch([READINGS[3], READINGS[3]])) == (12, 0, 2, 0)


def test_a_frame_that_nobody_sent_is_found() -> None:
    assert counts(batch([*READINGS, reading(truth(10))])) == (11, 0, 0, 1)


def test_a_loss_hidden_behind_a_repetition_is_found_though_the_totals_agree() -> None:
    assert counts(batch([*READINGS[1:], READINGS[1]])) == (10, 1, 1, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"raw": b"\x03\xfd"},
        {"observed_at_ms": START_MS + 3001},
        {"source": DEVICES[0].source},
        {"link": Link(dev_addr="26011bda", f_cnt=4, f_port=2)},
        {"link": Link(dev_addr="26011bdb", f_cnt=3, f_port=2)},
    ],
    ids=["bytes", "time", "device", "counter", "session"],
)
def test_an_altered_frame_is_one_lost_and_one_invented(changes: dict[str, object]) -> None:
    frame = msgspec.structs.replace(READINGS[3].frame, **changes)
    assert counts(batch([*READINGS[:3], Reading(frame), *READINGS[4:]])) == (10, 1, 0, 1)


def test_a_frame_under_another_gateways_name_is_lost_and_invented() -> None:
    assert counts(batch(READINGS[:3]), batch(READINGS[3:], GatewayId("gw-b"))) == (10, 7, 0, 7)
