"""DSSE v1: signs exact bytes together with their type, so that no canonical form is ever needed.

On the wire an envelope is a MessagePack array of four, a third smaller than DSSE's JSON form; `to_json` gives that form
for bundles and for checking with other tools. What is signed (the PAE) is the same for both.
"""

from __future__ import annotations

import base64

import msgspec

from wire.keys import SigningKey, Verifier


class EnvelopeError(ValueError):
    """Bytes that are not an envelope, or an envelope that its key did not sign."""


class Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One signed payload. `keyid` is a hint for people and logs: which key counts is the registry's to say."""

    payload_type: str
    payload: bytes
    keyid: str
    signature: bytes

    def encode(self) -> bytes:
        """Return the wire form."""
        return _encoder.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Envelope:
        """Parse the wire form; raises EnvelopeError. Says nothing about the signature yet."""
        try:
            envelope = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EnvelopeError(f"not a DSSE envelope: {error}") from error
        # MessagePack can write one value in several ways; only the shortest is ours, so that one payload has one
        # envelope.
        if _encoder.encode(envelope) != data:
            raise EnvelopeError("not a DSSE envelope in its shortest form")
        return envelope

    def to_json(self) -> bytes:
        """Return the envelope in DSSE's JSON form (base64, one signature)."""
        return msgspec.json.encode(
            {
                "payloadType": self.payload_type,
                "payload": base64.b64encode(self.payload).decode(),
                "signatures": [{"keyid": self.keyid, "sig": base64.b64encode(self.signature).decode()}],
            }
        )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return PAE: the bytes that DSSE signs (DSSE v1, protocol.md, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, key: SigningKey) -> Envelope:
    """Seal a payload with one signature."""
    signature = key.sign(pre_authentication_encoding(payload_type, payload))
    return Envelope(payload_type, payload, key.public.keyid, signature)


def open_envelope(data: bytes, payload_type: str, verifier: Verifier) -> bytes:
    """Return the payload if `verifier` signed it as `payload_type`; raises EnvelopeError saying which check failed."""
    envelope = Envelope.decode(data)
    if envelope.payload_type != payload_type:
        raise EnvelopeError(f"payload type is {envelope.payload_type!r:.80}, expected {payload_type!r}")
    if envelope.keyid != verifier.keyid:
        raise EnvelopeError(f"signed by key {envelope.keyid!r:.40}, enrolled is {verifier.keyid!r}")
    if not verifier.verify(envelope.signature, pre_authentication_encoding(payload_type, envelope.payload)):
        raise EnvelopeError(f"signature does not verify with key {verifier.keyid}")
    return envelope.payload
