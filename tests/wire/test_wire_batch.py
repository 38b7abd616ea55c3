"""Batches: what a gateway seals is what the hub opens, and nothing else opens."""

from __future__ import annotations

import copy
import hashlib
import tracemalloc
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.strategies import (
    EPOCH,
    GATEWAY,
    KEYS,
    batches_of_readings,
    draft,
    drafts,
    typical_readings,
    without_key,
)
from wire import batch as batch_module
from wire import columns, dsse
from wire.batch import (
    BATCH_TYPE,
    MAX_BODY_BYTES,
    MAX_ENVELOPE_BYTES,
    MAX_READINGS,
    Batch,
    BatchError,
    Draft,
    Due,
    Event,
    compress,
    decompress,
    genesis,
    open_batch,
    parse_payload,
    seal,
)
from wire.dictionary import BATCH_DICTIONARY
from wire.identity import Epoch, GatewayId, SourceId
from wire.keys import Algorithm, SigningKey
from wire.reading import Quantity, Reading

KEY = KEYS[Algorithm.ED25519]
VERIFIER = KEY.public.verifier()
BOTH = pytest.mark.parametrize("algorithm", list(Algorithm))


# ---- round trip


@given(drafts(), st.sampled_from(Algorithm))
@settings(max_examples=200)
def test_what_is_sealed_is_what_is_opened_but_for_the_frames_keys(drawn: Draft, algorithm: Algorithm) -> None:
    sealed = seal(drawn, KEYS[algorithm])
    opened = open_batch(sealed.envelope, KEYS[algorithm].public.verifier())
    assert opened.readings() == [without_key(reading) for reading in drawn.readings]
    assert opened.due() == list(drawn.due)
    assert opened.body.ev == list(drawn.events)
    assert (opened.gateway, opened.epoch, opened.seq) == (drawn.gateway, drawn.epoch, drawn.seq)
    assert (opened.body.from_ms, opened.body.to_ms) == (drawn.from_ms, drawn.to_ms)
    assert (opened.body.prev, opened.body.boot, opened.body.clock) == (drawn.prev, drawn.boot, drawn.clock)
    assert (opened.body.sw, opened.body.seen) == (drawn.software, drawn.seen)
    assert sealed.payload_sha256 == opened.payload_sha256 == hashlib.sha256(opened.payload).digest()


@given(batches_of_readings())
def test_the_fast_way_to_the_values_gives_the_same_values(readings: list[Reading]) -> None:
    folded = columns.from_readings(readings)
    columns.check(folded)
    assert columns.floats(folded) == [[quantity.value for quantity in reading.quantities] for reading in readings]
    assert columns.observed_at_ms(folded) == [reading.frame.observed_at_ms for reading in readings]


def test_an_empty_batch_is_sealed_and_opened_and_small() -> None:
    sealed = seal(draft([]), KEY)
    opened = open_batch(sealed.envelope, VERIFIER)
    assert opened.readings() == []
    assert opened.due() == []
    assert len(sealed.envelope) < 400


def test_a_value_that_needs_many_decimals_comes_back_to_the_last_bit() -> None:
    awkward = (0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -2.5e-13, 123456789.123456789, 1e22, -0.000001)
    frame = typical_readings()[0].frame
    readings = [Reading(frame, "a/b@0011223344556677", (Quantity("ph", "[pH]", value),)) for value in awkward]
    opened = open_batch(seal(draft(readings), KEY).envelope, VERIFIER)
    assert [reading.quantities[0].value for reading in opened.readings()] == list(awkward)


def test_the_same_draft_gives_the_same_payload() -> None:
    readings = typical_readings()
    assert seal(draft(readings), KEY).payload_sha256 == seal(draft(readings), KEY).payload_sha256


# ---- the chain


@BOTH
def test_batches_of_one_epoch_form_a_chain_from_the_enrolment(algorithm: Algorithm) -> None:
    key = KEYS[algorithm]
    prev = genesis(GATEWAY, EPOCH, key.public)
    for seq in (1, 2, 3):
        sealed = seal(draft(typical_readings(), seq=seq, prev=prev), key)
        opened = open_batch(sealed.envelope, key.public.verifier())
        assert opened.body.prev == prev
        prev = opened.payload_sha256


def test_the_chain_starts_at_gateway_epoch_and_key_and_at_nothing_else() -> None:
    other_key = SigningKey.generate().public
    starts = {
        genesis(GATEWAY, EPOCH, KEY.public),
        genesis(GatewayId("thon-tay-1"), EPOCH, KEY.public),
        genesis(GATEWAY, Epoch("0" * 16), KEY.public),
        genesis(GATEWAY, EPOCH, other_key),
        genesis(GATEWAY, EPOCH, KEYS[Algorithm.ECDSA_P256].public),
    }
    assert len(starts) == 5
    assert genesis(GATEWAY, EPOCH, KEY.public) in starts


def test_the_enrolment_record_is_the_documented_text() -> None:
    record = f"xom enrolment v1\n{GATEWAY}\n{EPOCH}\ned25519\n{KEY.public.encoded.hex()}\n"
    assert genesis(GATEWAY, EPOCH, KEY.public) == hashlib.sha256(record.encode()).digest()


# ---- damage and forgery


@BOTH
def test_every_cut_batch_is_refused(algorithm: Algorithm) -> None:
    data = seal(draft(typical_readings(1)), KEYS[algorithm]).envelope
    verifier = KEYS[algorithm].public.verifier()
    for end in range(len(data)):
        with pytest.raises(BatchError):
            open_batch(data[:end], verifier)


@BOTH
def test_every_single_flipped_bit_is_noticed(algorithm: Algorithm) -> None:
    data = seal(draft(typical_readings(1)), KEYS[algorithm]).envelope
    verifier = KEYS[algorithm].public.verifier()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BatchError) as caught:
            open_batch(bytes(changed), verifier)
        assert caught.value.reason == "bad_signature"


def test_a_batch_of_another_key_is_a_bad_signature() -> None:
    with pytest.raises(BatchError) as caught:
        open_batch(seal(draft(typical_readings()), SigningKey.generate()).envelope, VERIFIER)
    assert caught.value.reason == "bad_signature"


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_batch_error(data: bytes) -> None:
    with pytest.raises(BatchError):
        open_batch(data, VERIFIER)


@given(st.binary(max_size=300))
def test_no_verified_payload_raises_anything_but_a_batch_error(data: bytes) -> None:
    for payload in (data, compress(data)):
        with pytest.raises(BatchError) as caught:
            parse_payload(payload)
        assert caught.value.reason == "malformed"


# ---- sizes


def _signed(payload: bytes) -> bytes:
    return dsse.sign(BATCH_TYPE, payload, KEY).encode()


def test_a_deflate_bomb_with_a_good_signature_is_refused_within_the_memory_cap() -> None:
    bomb = _signed(zlib.compress(bytes(200 * 1024 * 1024), 9))
    assert len(bomb) < MAX_ENVELOPE_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(BatchError) as caught:
            open_batch(bomb, VERIFIER)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "too_large"
    assert peak < 3 * MAX_BODY_BYTES


def test_a_body_of_exactly_the_limit_inflates_and_one_byte_more_does_not() -> None:
    assert decompress(compress(b"\x07" * 1000), limit=1000) == b"\x07" * 1000
    with pytest.raises(BatchError, match="inflates past 1000 bytes"):
        decompress(compress(b"\x07" * 1001), limit=1000)


def test_bytes_after_the_end_of_the_compressed_body_are_refused() -> None:
    payload = compress(b"\x80")
    for longer in (payload + b"\x00", payload + payload):
        with pytest.raises(BatchError, match="bytes follow"):
            decompress(longer)


def test_bytes_after_the_end_of_the_body_are_refused() -> None:
    body = decompress(open_batch(seal(draft([]), KEY).envelope, VERIFIER).payload)
    with pytest.raises(BatchError) as caught:
        open_batch(_signed(compress(body + b"\x00")), VERIFIER)
    assert caught.value.reason == "malformed"


def test_every_cut_compressed_body_is_refused() -> None:
    payload = open_batch(seal(draft(typical_readings()), KEY).envelope, VERIFIER).payload
    for end in range(len(payload)):
        with pytest.raises(BatchError) as caught:
            parse_payload(payload[:end])
        assert caught.value.reason == "malformed"


def test_an_oversize_message_is_refused_before_anything_is_verified() -> None:
    with pytest.raises(BatchError, match="at most") as caught:
        open_batch(bytes(MAX_ENVELOPE_BYTES + 1), VERIFIER)
    assert caught.value.reason == "too_large"


def _with_raw(readings: list[Reading], raw: bytes) -> list[Reading]:
    return [msgspec.structs.replace(r, frame=msgspec.structs.replace(r.frame, raw=raw)) for r in readings]


def test_more_readings_than_a_batch_holds_are_not_sealed() -> None:
    with pytest.raises(BatchError) as caught:
        seal(draft(typical_readings(MAX_READINGS)), KEY)
    assert caught.value.reason == "too_large"


def test_more_bytes_than_the_broker_carries_are_not_sealed() -> None:
    noise = b"".join(hashlib.sha256(bytes([at, part])).digest() for at in range(64) for part in range(8))
    readings = [
        reading
        for at in range(30)
        for reading in _with_raw(
            typical_readings(1)[:1], bytes([at]) + hashlib.sha512(bytes([at])).digest() + noise[at:]
        )
    ]
    huge = _with_raw(typical_readings(1)[:1], b"".join(hashlib.sha256(at.to_bytes(4)).digest() for at in range(9000)))
    assert len(seal(draft(readings), KEY).envelope) < MAX_ENVELOPE_BYTES
    with pytest.raises(BatchError) as caught:
        seal(draft(huge), KEY)
    assert caught.value.reason == "too_large"


def test_what_the_hub_would_refuse_as_a_bomb_is_not_sealed() -> None:
    readings = _with_raw(typical_readings(98), bytes(65_536))
    with pytest.raises(BatchError, match="a body of") as caught:
        seal(draft(readings), KEY)
    assert caught.value.reason == "too_large"


# ---- bodies that a real key signed and that are wrong all the same


def _body(readings: list[Reading] | None = None) -> dict[str, Any]:
    dues = [Due(SourceId("lorawan:a840410000000001"), 4, 3, 1, "radio"), Due(SourceId("camera:dinh"), 1, 0, 0)]
    full = msgspec.structs.replace(
        draft(typical_readings() if readings is None else readings), due=dues, events=[Event(1, "start")]
    )
    decoded: dict[str, Any] = msgspec.msgpack.decode(decompress(_payload(full)))
    return decoded


def _payload(full: Draft) -> bytes:
    return open_batch(seal(full, KEY).envelope, VERIFIER).payload


def _sign_body(body: object) -> bytes:
    return _signed(compress(msgspec.msgpack.encode(body)))


def _changed(**changes: object) -> bytes:
    body = _body()
    for path, value in changes.items():
        *rooms, last = path.split("__")
        place: Any = body
        for room in rooms:
            place = place[int(room)] if isinstance(place, list) else place[room]
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    return _sign_body(body)


def test_the_unchanged_body_opens() -> None:
    assert len(open_batch(_changed(), VERIFIER).readings()) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"r__n": 6},
        {"r__n": 4},
        {"r__n": -1},
        {"r__stream": 99},
        {"r__stream": -1},
        {"r__stream": [0, 0, 0, 1, 99]},
        {"r__stream": [0, 0]},
        {"r__at": [1]},
        {"r__lag": []},
        {"r__drift": [0, 0]},
        {"r__raw_len": [-8, 8, 8, 8, 8]},
        {"r__raw_len": 7},
        {"r__raw": b""},
        {"r__values": []},
        {"r__values": [1] * 99},
        {"r__values__0": None},
        {"r__values__0": float("nan")},
        {"r__values__0": float("inf")},
        {"r__values__0": "1"},
        {"r__values__2": 7},
        {"r__quality": []},
        {"r__quality": [(0, 16), (2, 16), (5, 16), (8, 16)]},
        {"r__quality": [(99, 1)]},
        {"r__quality": [(0, 5)]},
        {"r__undecoded": [(5, "empty")]},
        {"r__undecoded": [(0, "because")]},
        {"r__warnings": [(-1, "x")]},
        {"r__urgent": [5]},
        {"r__f_cnt": [1]},
        {"r__rssi": [1]},
        {"r__lora_gw": 9},
        {"r__freq": -1},
        {"r__snr_decimals": 3},
        {"r__snr_decimals": -1},
        {"r__streams": []},
        {"r__streams__0": [b"short", "", 1, 0, 0, b"addr", 2]},
        {"r__streams__0": [b"", "not a source", 1, 0, 0, b"addr", 2]},
        {"r__streams__0": [b"\xa8" * 8, "", 99, 0, 0, b"addr", 2]},
        {"r__streams__0__3": 7},
        {"r__streams__0__4": 7},
        {"r__streams__0__4": -2},
        {"r__shapes": [[99]]},
        {"r__quantities__0": ["x", "mm", 13]},
        {"r__quantities__0": ["x", "mm", -1]},
        {"r__quantities__0": ["x\x00", "mm", 0]},
        {"r__quantities__0": ["x", "m" * 101, 0]},
        {"r__base": 2**63},
        {"r__base": -(10**13)},
        {"r__lag": 2**62},
        {"r__lag": -(2**62)},
        {"r__more": 1},
        {"due__0": [99, "camera:dinh"]},
        {"due__0": [0, "no source"]},
        {"due__1": [1]},
        {"due__1": -1},
        {"due__4": [(7, "radio")]},
        {"gw": "Thon Dong"},
        {"epoch": b"short"},
        {"seq": 0},
        {"prev": b"short"},
        {"from": 1_755_000_060_001},
        {"from": -1},
        {"to": 2**62},
        {"clock__state": "sundial"},
        {"unheard_of": 1},
    ],
    ids=str,
)
def test_a_wrong_body_signed_by_a_real_key_is_malformed(changes: dict[str, object]) -> None:
    with pytest.raises(BatchError) as caught:
        open_batch(_changed(**changes), VERIFIER)
    assert caught.value.reason == "malformed"


def test_a_body_of_a_later_version_is_named_as_such() -> None:
    with pytest.raises(BatchError, match="body version 2") as caught:
        open_batch(_changed(v=2), VERIFIER)
    assert caught.value.reason == "unknown_version"


def test_a_column_that_repeats_one_value_for_a_billion_readings_is_refused_without_unfolding() -> None:
    with pytest.raises(BatchError, match="1000000000 readings") as caught:
        open_batch(_changed(r__n=1_000_000_000), VERIFIER)
    assert caught.value.reason == "too_large"


HOSTILE = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([0, -1, 1, 2**31, 2**53, 2**63]),
    st.floats(),
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.binary(max_size=9),
    st.builds(list),
    st.builds(dict),
    st.lists(st.integers(-2, 6), max_size=6),
    st.lists(st.lists(st.integers(-2, 6) | st.text(max_size=2), max_size=3), max_size=3),
)


def _places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        inside = [place for key, inner in value.items() for place in _places(inner, (*path, key))]
    elif isinstance(value, list):
        inside = [place for at, inner in enumerate(value) for place in _places(inner, (*path, at))]
    return [path, *inside] if path else inside


_BODY = _body()
_PLACES = _places(_BODY)


@st.composite
def mutated_bodies(draw: st.DrawFn) -> object:
    """A good body in which one to three places hold something else, are gone, or stand twice."""
    body = copy.deepcopy(_BODY)
    for _ in range(draw(st.integers(1, 3))):
        *rooms, last = draw(st.sampled_from(_PLACES))
        place: Any = body
        try:
            for room in rooms:
                place = place[room]
            match draw(st.sampled_from(["replace", "remove", "twice"])):
                case "remove":
                    del place[last]
                case "twice" if isinstance(place, list):
                    place.insert(last, place[last])
                case _:
                    place[last] = draw(HOSTILE)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has taken this place away
    return body


@given(mutated_bodies())
@settings(max_examples=600)
def test_no_signed_body_raises_anything_but_a_batch_error_now_or_later(body: object) -> None:
    try:
        opened = open_batch(_sign_body(body), VERIFIER)
    except BatchError as error:
        assert error.reason in {"malformed", "too_large", "unknown_version"}  # noqa: PT017 - either outcome is fine
        return
    _is_wholly_usable(opened)


def _is_wholly_usable(opened: Batch) -> None:
    """Whatever was let in can be unfolded, has finite values and times within reason, and fits the hub's columns."""
    readings = opened.readings()
    assert len(readings) == opened.columns.n <= MAX_READINGS
    assert sum(len(row) for row in columns.floats(opened.columns)) == len(opened.columns.values)
    for reading in readings:
        assert 0 <= reading.frame.observed_at_ms <= batch_module._LATEST_MS
        assert 0 <= reading.frame.received_at_ms <= batch_module._LATEST_MS
        for quantity in reading.quantities:
            assert (quantity.value is not None) == quantity.quality.has_value
            assert "\x00" not in quantity.name + quantity.unit
    for due in opened.due():
        assert min(due.expected, due.received, due.missed) >= 0


def test_the_preset_dictionary_has_not_changed_by_a_byte() -> None:
    # A changed dictionary makes every stored batch unreadable: this digest may never be updated, only a new type added.
    assert (
        hashlib.sha256(BATCH_DICTIONARY).hexdigest()
        == "36787509636b40f14891b3ba03bc789f309b827ecf6769ad84ac1360d851a5cf"
    )
