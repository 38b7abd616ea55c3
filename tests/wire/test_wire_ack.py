"""Acknowledgements: the one thing that frees readings on a gateway."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.strategies import EPOCH, GATEWAY, KEYS
from wire import dsse
from wire.ack import ACK_TYPE, MAX_ACK_BYTES, MAX_RANGES, Ack, AckError, Anchor, Checkpoint, holes, open_ack, seal_ack
from wire.batch import BATCH_TYPE
from wire.identity import GatewayId
from wire.keys import Algorithm, SigningKey

HUB = KEYS[Algorithm.ED25519]
VERIFIER = HUB.public.verifier()
BOTH = pytest.mark.parametrize("algorithm", list(Algorithm))


def an_ack(**changes: Any) -> Ack:
    plain = Ack(
        gateway=GATEWAY,
        incarnation=1_755_000_000_000,
        epoch=EPOCH,
        through=7,
        highest=12,
        missing=((8, 9), (11, 11)),
        anchor=Anchor(6, "ab" * 32),
        checkpoint=Checkpoint("hub.xa-dong", 41, "aGFzaA=="),
    )
    return msgspec.structs.replace(plain, **changes)


@st.composite
def acks(draw: st.DrawFn) -> Ack:
    through = draw(st.integers(0, 2**40))
    at, missing = through, []
    for gap in draw(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=MAX_RANGES)):
        skipped, stored = gap
        first = at + 1
        missing.append((first, first + skipped - 1))
        at = first + skipped - 1 + stored
    incarnation = draw(st.integers(0, 2**62))
    hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
    anchor = draw(st.none() | st.builds(Anchor, st.integers(1, through), hashes)) if through else None
    stored_next = at > through and not (missing and missing[0][0] == through + 1)
    broken = draw(st.sampled_from([0, through + 1])) if stored_next else 0
    return an_ack(
        through=through, highest=at, missing=tuple(missing), incarnation=incarnation, anchor=anchor, broken=broken
    )


@given(acks(), st.sampled_from(Algorithm))
def test_what_the_hub_seals_is_what_its_gateway_opens(ack: Ack, algorithm: Algorithm) -> None:
    key = KEYS[algorithm]
    assert open_ack(seal_ack(ack, key), GATEWAY, key.public.verifier()) == ack


@BOTH
def test_every_cut_acknowledgement_is_refused(algorithm: Algorithm) -> None:
    data, verifier = seal_ack(an_ack(), KEYS[algorithm]), KEYS[algorithm].public.verifier()
    for end in range(len(data)):
        with pytest.raises(AckError):
            open_ack(data[:end], GATEWAY, verifier)


@BOTH
def test_every_single_flipped_bit_is_noticed(algorithm: Algorithm) -> None:
    data, verifier = seal_ack(an_ack(), KEYS[algorithm]), KEYS[algorithm].public.verifier()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AckError):
            open_ack(bytes(changed), GATEWAY, verifier)


def test_another_gateways_acknowledgement_is_refused_by_name() -> None:
    with pytest.raises(AckError, match="meant for thon-dong-1, not for thon-tay-1"):
        open_ack(seal_ack(an_ack(), HUB), GatewayId("thon-tay-1"), VERIFIER)


def test_an_acknowledgement_of_another_key_is_refused() -> None:
    with pytest.raises(AckError, match="enrolled is"):
        open_ack(seal_ack(an_ack(), SigningKey.generate()), GATEWAY, VERIFIER)


def test_a_batch_that_the_hubs_key_signed_is_no_acknowledgement() -> None:
    with pytest.raises(AckError, match="payload type"):
        open_ack(dsse.sign(BATCH_TYPE, b"{}", HUB).encode(), GATEWAY, VERIFIER)


def test_an_oversize_message_is_refused_before_anything_is_verified() -> None:
    with pytest.raises(AckError, match="at most"):
        open_ack(bytes(MAX_ACK_BYTES + 1), GATEWAY, VERIFIER)


def test_the_largest_acknowledgement_that_a_hub_makes_fits() -> None:
    huge = 2**61
    missing = tuple((huge + 4 * at + 1, huge + 4 * at + 2) for at in range(MAX_RANGES))
    anchor = Anchor(huge, "ff" * 32)
    ack = an_ack(through=huge, highest=huge + 4 * MAX_RANGES, missing=missing, anchor=anchor, broken=huge + 3)
    assert open_ack(seal_ack(ack, HUB), GATEWAY, VERIFIER) == ack


@pytest.mark.parametrize(
    ("through", "missing", "highest"),
    [
        (7, [], 6),
        (7, [[7, 8]], 9),
        (7, [[9, 8]], 12),
        (7, [[8, 9], [9, 10]], 12),
        (7, [[10, 10], [8, 8]], 12),
        (7, [[8, 13]], 12),
        (7, [[0, 3]], 12),
    ],
)
def test_ranges_that_do_not_rise_between_through_and_highest_are_refused(
    through: int, missing: list[list[int]], highest: int
) -> None:
    ack = an_ack(through=through, highest=highest, missing=tuple((first, last) for first, last in missing))
    with pytest.raises(AckError, match="do not rise"):
        open_ack(seal_ack(ack, HUB), GATEWAY, VERIFIER)


def test_an_anchor_above_the_watermark_proves_nothing_and_is_refused() -> None:
    assert open_ack(seal_ack(an_ack(anchor=Anchor(7, "ab" * 32)), HUB), GATEWAY, VERIFIER).anchor == Anchor(
        7, "ab" * 32
    )
    with pytest.raises(AckError, match="anchor 8 lies above its watermark 7"):
        open_ack(seal_ack(an_ack(anchor=Anchor(8, "ab" * 32)), HUB), GATEWAY, VERIFIER)


@pytest.mark.parametrize("broken", [7, 13])
def test_a_broken_link_that_does_not_lie_above_the_watermark_is_refused(broken: int) -> None:
    with pytest.raises(AckError, match=f"broken link {broken} does not lie between 7 and 12"):
        open_ack(seal_ack(an_ack(broken=broken), HUB), GATEWAY, VERIFIER)


def test_an_acknowledgement_of_an_older_hub_binds_to_no_content() -> None:
    told = msgspec.json.decode(msgspec.json.encode(an_ack(), enc_hook=str))
    del told["anchor"], told["broken"]
    ack = open_ack(dsse.sign(ACK_TYPE, msgspec.json.encode(told), HUB).encode(), GATEWAY, VERIFIER)
    assert (ack.anchor, ack.broken) == (None, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"through": -1},
        {"through": 2**63},
        {"through": 1.5},
        {"through": "7"},
        {"through": None},
        {"incarnation": -1},
        {"epoch": "short"},
        {"gateway": "Thôn"},
        {"gateway": 7},
        {"epoch": None},
        {"missing": [[8]]},
        {"missing": [8]},
        {"missing": [[8, 9, 10]]},
        {"checkpoint": {"origin": "x"}},
        {"anchor": {"seq": 0, "sha256": "ab" * 32}},
        {"anchor": {"seq": 6, "sha256": "AB" * 32}},
        {"anchor": {"seq": 6, "sha256": "ab" * 31}},
        {"anchor": {"seq": 6, "sha256": "ab" * 32 + "\n"}},
        {"anchor": {"seq": 6}},
        {"broken": -1},
        {"broken": None},
        {"unheard_of": 1},
    ],
    ids=str,
)
def test_a_wrong_body_signed_by_the_hub_is_an_ack_error(changes: dict[str, object]) -> None:
    told = msgspec.json.decode(msgspec.json.encode(an_ack(), enc_hook=str)) | changes
    with pytest.raises(AckError, match="not an acknowledgement"):
        open_ack(dsse.sign(ACK_TYPE, msgspec.json.encode(told), HUB).encode(), GATEWAY, VERIFIER)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_no_bytes_raise_anything_but_an_ack_error(data: bytes) -> None:
    for message in (data, dsse.sign(ACK_TYPE, data, HUB).encode()):
        with pytest.raises(AckError):
            open_ack(message, GATEWAY, VERIFIER)


def test_deeply_nested_json_signed_by_the_hub_is_an_ack_error() -> None:
    with pytest.raises(AckError):
        open_ack(dsse.sign(ACK_TYPE, b'{"missing":' + b"[" * 9_000, HUB).encode(), GATEWAY, VERIFIER)
    with pytest.raises(AckError):
        open_ack(dsse.sign(ACK_TYPE, b'{"other":' + b"[" * 9_000, HUB).encode(), GATEWAY, VERIFIER)


# ---- holes


@given(st.integers(0, 50), st.sets(st.integers(1, 120)))
def test_holes_agree_with_counting_them_one_by_one(through: int, offsets: set[int]) -> None:
    stored = {
        through + offset for offset in offsets if offset > 1
    }  # `through` is a watermark: the next one is not stored
    ranges, highest = holes(through, sorted(stored))
    assert highest == max(stored, default=through)
    named = [seq for first, last in ranges for seq in range(first, last + 1)]
    assert named == [seq for seq in range(through + 1, highest + 1) if seq not in stored]


@given(st.integers(0, 5), st.integers(1, 2 * MAX_RANGES + 20), st.integers(1, 3))
def test_of_too_many_holes_the_lowest_are_named_and_nothing_beyond_them_is_claimed(
    through: int, count: int, width: int
) -> None:
    stored = [through + 1 + width + at * (width + 1) for at in range(count)]
    ranges, highest = holes(through, stored)
    assert len(ranges) == min(count, MAX_RANGES)
    missing = {seq for first, last in ranges for seq in range(first, last + 1)}
    claimed = set(range(through + 1, highest + 1)) - missing
    assert claimed == {seq for seq in stored if seq <= highest}
    assert highest == stored[min(count, MAX_RANGES) - 1]


@given(st.integers(0, 50), st.sets(st.integers(2, 900), max_size=300), st.integers(0, 2**62))
def test_whatever_holes_says_is_an_acknowledgement_that_opens(
    through: int, offsets: set[int], incarnation: int
) -> None:
    ranges, highest = holes(through, sorted(through + offset for offset in offsets))
    ack = an_ack(through=through, highest=highest, missing=ranges, incarnation=incarnation, anchor=None)
    assert open_ack(seal_ack(ack, HUB), GATEWAY, VERIFIER) == ack


ranges = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 25)), max_size=6)


@given(st.integers(0, 50), st.sets(st.integers(1, 120)), ranges)
def test_what_is_accounted_for_is_not_named_missing(
    through: int, offsets: set[int], drawn: list[tuple[int, int]]
) -> None:
    accounted = sorted((first, first + more) for first, more in drawn)
    known = {through + offset for offset in offsets}
    covered = {seq for first, last in accounted for seq in range(first, last + 1)} | known
    named, highest = holes(through, sorted(known), accounted)
    missing = [seq for first, last in named for seq in range(first, last + 1)]
    assert highest == max({through, *covered})
    assert missing == [seq for seq in range(through + 1, highest + 1) if seq not in covered]


def test_a_range_of_any_length_costs_nothing_to_account_for() -> None:
    assert holes(3, [5, 2**61 + 1], [(6, 2**61)]) == (((4, 4),), 2**61 + 1)
