"""DSSE envelopes."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import KEYS
from wire import dsse
from wire.dsse import Envelope, EnvelopeError, open_envelope, pre_authentication_encoding, sign
from wire.keys import Algorithm, SigningKey

BOTH = pytest.mark.parametrize("algorithm", list(Algorithm))
TYPE = "application/vnd.xom.batch.v1"


def test_the_specifications_example_is_encoded_byte_for_byte() -> None:
    # DSSE v1, protocol.md, "Test vectors": PAE("http://example.com/HelloWorld", "hello world")
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_lengths_are_counted_in_bytes_not_characters() -> None:
    assert pre_authentication_encoding("thôn", "xã".encode()) == "DSSEv1 5 thôn 3 xã".encode()


@given(st.text(max_size=20), st.binary(max_size=20), st.text(max_size=20), st.binary(max_size=20))
def test_no_two_messages_share_an_encoding(kind: str, payload: bytes, other_kind: str, other_payload: bytes) -> None:
    same = pre_authentication_encoding(kind, payload) == pre_authentication_encoding(other_kind, other_payload)
    assert same == ((kind, payload) == (other_kind, other_payload))


@BOTH
@given(payload=st.binary(max_size=300))
def test_what_was_signed_is_what_comes_out(algorithm: Algorithm, payload: bytes) -> None:
    key = KEYS[algorithm]
    assert open_envelope(sign(TYPE, payload, key).encode(), TYPE, key.public.verifier()) == payload


@BOTH
def test_every_cut_envelope_is_refused(algorithm: Algorithm) -> None:
    key = KEYS[algorithm]
    data, verifier = sign(TYPE, b"hello world", key).encode(), key.public.verifier()
    for end in range(len(data)):
        with pytest.raises(EnvelopeError):
            open_envelope(data[:end], TYPE, verifier)


@BOTH
def test_every_single_flipped_bit_is_noticed(algorithm: Algorithm) -> None:
    key = KEYS[algorithm]
    data, verifier = sign(TYPE, b"hello world", key).encode(), key.public.verifier()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EnvelopeError):
            open_envelope(bytes(changed), TYPE, verifier)


def test_bytes_after_the_end_are_refused() -> None:
    key = KEYS[Algorithm.ED25519]
    with pytest.raises(EnvelopeError, match="not a DSSE envelope"):
        open_envelope(sign(TYPE, b"x", key).encode() + b"\x00", TYPE, key.public.verifier())


def test_an_envelope_in_a_longer_form_is_refused_though_it_says_the_same() -> None:
    key = KEYS[Algorithm.ED25519]
    data = sign(TYPE, b"x", key).encode()
    longer = b"\xdc\x00\x04" + data[1:]  # array16 instead of fixarray
    assert msgspec.msgpack.decode(longer) == msgspec.msgpack.decode(data)
    with pytest.raises(EnvelopeError, match="shortest form"):
        open_envelope(longer, TYPE, key.public.verifier())


def test_another_payload_type_is_refused_though_the_signature_is_good() -> None:
    key = KEYS[Algorithm.ED25519]
    with pytest.raises(EnvelopeError, match=r"payload type is 'application/vnd\.xom\.ack"):
        open_envelope(sign("application/vnd.xom.ack.v1+json", b"x", key).encode(), TYPE, key.public.verifier())


@BOTH
def test_another_key_is_refused_whatever_keyid_it_claims(algorithm: Algorithm) -> None:
    enrolled, other = KEYS[algorithm], SigningKey.generate(algorithm)
    envelope = sign(TYPE, b"x", other)
    with pytest.raises(EnvelopeError, match="enrolled is"):
        open_envelope(envelope.encode(), TYPE, enrolled.public.verifier())
    forged = msgspec.structs.replace(envelope, keyid=enrolled.public.keyid)
    with pytest.raises(EnvelopeError, match="does not verify"):
        open_envelope(forged.encode(), TYPE, enrolled.public.verifier())


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_an_envelope_error(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        open_envelope(data, TYPE, KEYS[Algorithm.ED25519].public.verifier())


def test_an_envelope_that_is_nested_ten_thousand_deep_is_refused() -> None:
    with pytest.raises(EnvelopeError):
        Envelope.decode(b"\x91" * 10_000)


def test_the_json_form_says_the_same_as_the_wire_form() -> None:
    key = KEYS[Algorithm.ECDSA_P256]
    envelope = sign(TYPE, b"\x00\xffpayload", key)
    told = msgspec.json.decode(envelope.to_json())
    assert set(told) == {"payload", "payloadType", "signatures"}
    assert told["payloadType"] == TYPE
    assert base64.b64decode(told["payload"]) == b"\x00\xffpayload"
    (signature,) = told["signatures"]
    assert signature["keyid"] == key.public.keyid
    assert base64.b64decode(signature["sig"]) == envelope.signature


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to check our signatures independently")
def test_openssl_verifies_what_the_json_form_holds(tmp_path: Path) -> None:
    key = SigningKey.generate(Algorithm.ED25519)
    told = msgspec.json.decode(sign(TYPE, b"hello world", key).to_json())
    public = ed25519.Ed25519PublicKey.from_public_bytes(key.public.encoded)
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "sig").write_bytes(base64.b64decode(told["signatures"][0]["sig"]))
    payload = base64.b64decode(told["payload"])
    kind = told["payloadType"].encode()
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-rawin",
        "-pubin",
        "-inkey",
        "key.pem",
        "-sigfile",
        "sig",
        "-in",
        "pae",
    ]
    for message, accepted in ((pae, True), (pae[:-1] + b"D", False)):
        (tmp_path / "pae").write_bytes(message)
        outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=30)
        assert (outcome.returncode == 0) == accepted, outcome.stdout + outcome.stderr


def test_signing_hides_nothing_and_adds_nothing_to_the_payload() -> None:
    envelope = dsse.sign(TYPE, b"plain", KEYS[Algorithm.ED25519])
    assert envelope.payload == b"plain"
    assert envelope.encode().count(b"plain") == 1
