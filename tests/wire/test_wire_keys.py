"""Signature keys."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from hypothesis import given
from hypothesis import strategies as st

from wire.keys import SIGNATURE_BYTES, Algorithm, KeyProblem, PublicKey, SigningKey

BOTH = pytest.mark.parametrize("algorithm", list(Algorithm))
_KEYS = {algorithm: SigningKey.generate(algorithm) for algorithm in Algorithm}


@BOTH
def test_a_signature_verifies_with_its_key_and_its_message_only(algorithm: Algorithm) -> None:
    key = SigningKey.generate(algorithm)
    signature = key.sign(b"6.2 mg/L")
    assert len(signature) == SIGNATURE_BYTES
    assert key.public.verifier().verify(signature, b"6.2 mg/L")
    assert not key.public.verifier().verify(signature, b"6.3 mg/L")
    assert not SigningKey.generate(algorithm).public.verifier().verify(signature, b"6.2 mg/L")


@BOTH
def test_a_key_file_is_for_its_owner_only_and_reads_back(algorithm: Algorithm, tmp_path: Path) -> None:
    path = tmp_path / "state" / "signing-key.pem"
    made = SigningKey.read_or_make(path, algorithm)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert SigningKey.read_or_make(path).public == made.public == SigningKey.read(path).public
    assert made.public.algorithm is algorithm


def test_a_wide_umask_does_not_widen_the_key_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        SigningKey.generate().write(tmp_path / "key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_an_existing_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    first = SigningKey.read_or_make(path)
    with pytest.raises(FileExistsError):
        SigningKey.generate().write(path)
    assert SigningKey.read(path).public == first.public


def test_a_power_cut_while_the_key_was_written_does_not_stop_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.with_name("key.pem.new").write_bytes(b"-----BEGIN PRIV")
    path.with_name("key.pem.new").chmod(0o644)
    made = SigningKey.read_or_make(path)
    assert SigningKey.read(path).public == made.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_missing_key_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match=r"no signing key at .*key\.pem.*backup"):
        SigningKey.read(tmp_path / "key.pem")


def _pem(private: PrivateKeyTypes, password: bytes | None = None) -> bytes:
    sealing = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 100,
        b"not a key",
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        _pem(ec.generate_private_key(ec.SECP256R1()))[:-60],
        _pem(ec.generate_private_key(ec.SECP256R1()), b"secret"),
    ],
    ids=["empty", "zeros", "text", "hollow", "cut", "encrypted"],
)
def test_an_unreadable_key_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(KeyProblem, match=r"key\.pem is not readable PKCS#8 PEM"):
        SigningKey.read(path)


@pytest.mark.parametrize(
    "private",
    [
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed448.Ed448PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["secp256k1", "p384", "ed448", "rsa"],
)
def test_a_key_of_another_kind_or_curve_is_refused(tmp_path: Path, private: PrivateKeyTypes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(_pem(private))
    with pytest.raises(KeyProblem, match=r"key\.pem is neither Ed25519 nor ECDSA P-256"):
        SigningKey.read(path)


def test_a_directory_in_the_keys_place_is_a_key_problem(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="not readable"):
        SigningKey.read(tmp_path)


@BOTH
@pytest.mark.parametrize(
    "encoded", [b"", b"\x02", b"\x00" * 31, b"\x05" + b"\x01" * 32, b"\x02" + b"\xff" * 32, b"\x04" * 65]
)
def test_a_public_key_of_the_wrong_form_is_a_key_problem(algorithm: Algorithm, encoded: bytes) -> None:
    with pytest.raises(KeyProblem, match=f"a public key of {algorithm}"):
        PublicKey(algorithm, encoded).verifier()


def test_a_point_of_another_curve_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    point = other.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    with pytest.raises(KeyProblem):
        PublicKey(Algorithm.ECDSA_P256, point).verifier()


def test_a_key_enrolled_under_the_other_algorithm_has_another_keyid() -> None:
    assert PublicKey(Algorithm.ED25519, b"x" * 32).keyid != PublicKey(Algorithm.ECDSA_P256, b"x" * 32).keyid


@given(st.sampled_from(Algorithm), st.binary(max_size=80) | st.binary(min_size=64, max_size=64), st.binary())
def test_no_bytes_offered_as_a_signature_raise(algorithm: Algorithm, signature: bytes, message: bytes) -> None:
    assert not _KEYS[algorithm].public.verifier().verify(signature, message)


@BOTH
@pytest.mark.parametrize("signature", [b"\x00" * 64, b"\xff" * 64, b"\x00" * 63 + b"\x01"])
def test_degenerate_signatures_do_not_verify(algorithm: Algorithm, signature: bytes) -> None:
    assert not _KEYS[algorithm].public.verifier().verify(signature, b"anything")
