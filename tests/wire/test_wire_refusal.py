"""Refusals: the hub says which bytes it did not store, and why. They free nothing, and still nobody else may say so."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.strategies import EPOCH, GATEWAY, KEYS
from wire import dsse
from wire.ack import Ack, seal_ack
from wire.identity import GatewayId
from wire.keys import Algorithm, SigningKey
from wire.refusal import (
    MAX_REFUSAL_BYTES,
    MOST_REFUSED,
    REFUSAL_TYPE,
    Reason,
    Refusal,
    RefusalError,
    Refused,
    open_refusal,
    refused,
    seal_refusal,
)

HUB = KEYS[Algorithm.ED25519]
VERIFIER = HUB.public.verifier()
BOTH = pytest.mark.parametrize("algorithm", list(Algorithm))
PLAIN = Refusal(gateway=GATEWAY, refused=(refused(b"a batch", Reason.CONFLICT), refused(b"another", Reason.MALFORMED)))

told = st.lists(st.builds(refused, st.binary(max_size=50), st.sampled_from(Reason)), max_size=MOST_REFUSED)


@given(told, st.sampled_from(Algorithm))
def test_what_the_hub_seals_is_what_its_gateway_opens(drawn: list[Refused], algorithm: Algorithm) -> None:
    key = KEYS[algorithm]
    refusal = Refusal(gateway=GATEWAY, refused=tuple(drawn))
    assert open_refusal(seal_refusal(refusal, key), GATEWAY, key.public.verifier()) == refusal


def test_an_envelope_is_named_by_the_hash_of_the_bytes_that_arrived() -> None:
    assert refused(b"bytes", Reason.TOO_LARGE) == Refused(hashlib.sha256(b"bytes").hexdigest(), Reason.TOO_LARGE)


def test_as_many_as_one_message_may_name_fit_into_it() -> None:
    longest = max(Reason, key=len)
    most = tuple(refused(b"%d" % number, longest) for number in range(MOST_REFUSED))
    refusal = Refusal(gateway=GatewayId("g" * 40), refused=most)
    for key in KEYS.values():
        assert open_refusal(seal_refusal(refusal, key), refusal.gateway, key.public.verifier()) == refusal


@BOTH
def test_every_cut_refusal_is_refused(algorithm: Algorithm) -> None:
    data, verifier = seal_refusal(PLAIN, KEYS[algorithm]), KEYS[algorithm].public.verifier()
    for end in range(len(data)):
        with pytest.raises(RefusalError):
            open_refusal(data[:end], GATEWAY, verifier)


@BOTH
def test_every_single_flipped_bit_is_noticed(algorithm: Algorithm) -> None:
    data, verifier = seal_refusal(PLAIN, KEYS[algorithm]), KEYS[algorithm].public.verifier()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RefusalError):
            open_refusal(bytes(changed), GATEWAY, verifier)


def test_a_refusal_of_another_key_is_refused() -> None:
    with pytest.raises(RefusalError, match="enrolled is"):
        open_refusal(seal_refusal(PLAIN, SigningKey.generate()), GATEWAY, VERIFIER)


def test_another_gateways_refusal_is_refused_by_name() -> None:
    with pytest.raises(RefusalError, match="meant for thon-dong-1, not for thon-tay-1"):
        open_refusal(seal_refusal(PLAIN, HUB), GatewayId("thon-tay-1"), VERIFIER)


def test_an_acknowledgement_is_no_refusal() -> None:
    ack = Ack(gateway=GATEWAY, incarnation=1, epoch=EPOCH, through=1, highest=1)
    with pytest.raises(RefusalError, match="payload type"):
        open_refusal(seal_ack(ack, HUB), GATEWAY, VERIFIER)


def test_an_oversize_message_is_refused_before_anything_is_verified() -> None:
    with pytest.raises(RefusalError, match="at most"):
        open_refusal(bytes(MAX_REFUSAL_BYTES + 1), GATEWAY, VERIFIER)


@pytest.mark.parametrize(
    "changes",
    [
        {"gateway": None},
        {"gateway": "Thôn"},
        {"refused": None},
        {"refused": [{"sha256": "ab" * 32}]},
        {"refused": [{"sha256": "ab" * 31, "reason": "conflict"}]},
        {"refused": [{"sha256": "AB" * 32, "reason": "conflict"}]},
        {"refused": [{"sha256": "ab" * 32 + "\n", "reason": "conflict"}]},
        {"refused": [{"sha256": "ab" * 32, "reason": "dislike"}]},
        {"refused": [{"sha256": "ab" * 32, "reason": "conflict", "more": 1}]},
        {"unheard_of": 1},
    ],
    ids=str,
)
def test_a_wrong_body_signed_by_the_hub_is_a_refusal_error(changes: dict[str, Any]) -> None:
    body = msgspec.json.decode(msgspec.json.encode(PLAIN, enc_hook=str)) | changes
    with pytest.raises(RefusalError, match="not a refusal"):
        open_refusal(dsse.sign(REFUSAL_TYPE, msgspec.json.encode(body), HUB).encode(), GATEWAY, VERIFIER)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_no_bytes_raise_anything_but_a_refusal_error(data: bytes) -> None:
    for message in (data, dsse.sign(REFUSAL_TYPE, data, HUB).encode()):
        with pytest.raises(RefusalError):
            open_refusal(message, GATEWAY, VERIFIER)


def test_deeply_nested_json_signed_by_the_hub_is_a_refusal_error() -> None:
    with pytest.raises(RefusalError):
        open_refusal(dsse.sign(REFUSAL_TYPE, b'{"refused":' + b"[" * 9_000, HUB).encode(), GATEWAY, VERIFIER)
