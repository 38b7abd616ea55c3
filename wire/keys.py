"""Signature keys: Ed25519 and ECDSA P-256 with SHA-256.

The algorithm is a property of the key as the registry holds it; no message ever chooses it.
Signatures are 64 bytes in both cases: RFC 8032 for Ed25519, r‖s (IEEE P1363) for P-256.
"""

from __future__ import annotations

import enum
import hashlib
import os
from pathlib import Path
from typing import assert_never

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

_P256_COORDINATE_BYTES = 32
SIGNATURE_BYTES = 64


class KeyProblem(ValueError):
    """A key that cannot be used: unreadable file, unknown algorithm, wrong length."""


class Algorithm(enum.StrEnum):
    """What a registry entry may say of its key."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256"


class PublicKey(msgspec.Struct, frozen=True):
    """A public key as the registry keeps it: `encoded` is 32 raw bytes (Ed25519) or a 33-byte compressed point."""

    algorithm: Algorithm
    encoded: bytes

    @property
    def keyid(self) -> str:
        """First 8 bytes of SHA-256(algorithm, newline, key) in hex: short enough to print and compare by eye."""
        return hashlib.sha256(self.algorithm.encode() + b"\n" + self.encoded).hexdigest()[:16]

    def verifier(self) -> Verifier:
        """Parse the key once; raises KeyProblem. Verifying thousands of batches reuses the result."""
        return Verifier(self)


class Verifier:
    """A parsed public key."""

    def __init__(self, key: PublicKey) -> None:
        self.key = key
        self.keyid = key.keyid
        try:
            self._loaded = _load_public(key)
        except ValueError as error:
            raise KeyProblem(f"a public key of {key.algorithm} is not usable: {error}") from error

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether this key signed exactly this message. Never raises on a bad signature."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            match self._loaded:
                case ed25519.Ed25519PublicKey():
                    self._loaded.verify(signature, message)
                case ec.EllipticCurvePublicKey():
                    self._loaded.verify(_der(signature), message, ec.ECDSA(hashes.SHA256()))
                case _:
                    assert_never(self._loaded)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key in memory. `public` is what the other side must have enrolled."""

    def __init__(self, private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.public = _public_of(private)

    @classmethod
    def generate(cls, algorithm: Algorithm = Algorithm.ED25519) -> SigningKey:
        """Make a fresh key."""
        match algorithm:
            case Algorithm.ED25519:
                return cls(ed25519.Ed25519PrivateKey.generate())
            case Algorithm.ECDSA_P256:
                return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def read(cls, path: Path) -> SigningKey:
        """Load a PKCS#8 PEM file; raises KeyProblem naming the file and what to do."""
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except FileNotFoundError:
            raise KeyProblem(
                f"no signing key at {path}: the first start makes one, or restore it from backup"
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise KeyProblem(f"the signing key at {path} is not readable PKCS#8 PEM: {error}") from error
        if isinstance(private, ed25519.Ed25519PrivateKey):
            return cls(private)
        if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1):
            return cls(private)
        raise KeyProblem(f"the signing key at {path} is neither Ed25519 nor ECDSA P-256")

    @classmethod
    def read_or_make(cls, path: Path, algorithm: Algorithm = Algorithm.ED25519) -> SigningKey:
        """Load the key at `path`, or make it there with mode 0600 when there is none."""
        if path.exists():
            return cls.read(path)
        made = cls.generate(algorithm)
        made.write(path)
        return made

    def write(self, path: Path) -> None:
        """Store as PKCS#8 PEM, mode 0600 from the first byte on; refuses to overwrite.

        The file appears whole or not at all: half a key after a power cut would stop every later start.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.new")
        fresh.unlink(missing_ok=True)
        pem = self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(fresh)  # unlike a rename, a link never replaces a key that is there
        finally:
            fresh.unlink()
        _sync_directory(path.parent)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        match self._private:
            case ed25519.Ed25519PrivateKey():
                return self._private.sign(message)
            case ec.EllipticCurvePrivateKey():
                r, s = decode_dss_signature(self._private.sign(message, ec.ECDSA(hashes.SHA256())))
                return r.to_bytes(_P256_COORDINATE_BYTES) + s.to_bytes(_P256_COORDINATE_BYTES)
            case _:
                assert_never(self._private)


def _public_of(private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> PublicKey:
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return PublicKey(Algorithm.ED25519, private.public_key().public_bytes_raw())
    point = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    return PublicKey(Algorithm.ECDSA_P256, point)


def _load_public(key: PublicKey) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
    match key.algorithm:
        case Algorithm.ED25519:
            return ed25519.Ed25519PublicKey.from_public_bytes(key.encoded)
        case Algorithm.ECDSA_P256:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.encoded)


def _sync_directory(path: Path) -> None:
    """Put a directory's entries on the card: a file whose name is lost is lost."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _der(signature: bytes) -> bytes:
    half = _P256_COORDINATE_BYTES
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
