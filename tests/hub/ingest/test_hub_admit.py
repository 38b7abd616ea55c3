"""Which messages may be stored as a batch: every reason to refuse, by name, with the bytes kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.ingest.admit import Refused, admit
from hub.store.admission import Admitted
from hub.store.incidents import Incident, IncidentKind
from tests.hub.written import Log, series
from wire import dsse
from wire.batch import BATCH_TYPE, MAX_BODY_BYTES, MAX_ENVELOPE_BYTES, compress, decompress
from wire.dsse import Envelope
from wire.identity import GatewayId
from wire.keys import SigningKey
from wire.topics import Subject, Topic

LOG = Log(GatewayId("gw-a"))
TOPIC = str(Topic(LOG.gateway, Subject.BATCH))
KEYS = {LOG.gateway: LOG.key.public.verifier()}
GOOD = LOG.seal(series(3)).envelope


def refused(topic: str, payload: bytes) -> Incident:
    verdict = admit(topic, payload, KEYS)
    assert isinstance(verdict, Refused)
    assert verdict.incident.evidence == payload, "what is refused is evidence"
    return verdict.incident


def signed(payload: bytes, key: SigningKey = LOG.key, kind: str = BATCH_TYPE) -> bytes:
    return dsse.sign(kind, payload, key).encode()


def altered(**changes: Any) -> bytes:
    """The good batch with other words in its body, signed anew by its own gateway."""
    body = msgspec.msgpack.decode(decompress(Envelope.decode(GOOD).payload))
    return signed(compress(msgspec.msgpack.encode(body | changes)))


def test_a_batch_that_its_gateway_signed_is_admitted_as_it_came() -> None:
    verdict = admit(TOPIC, GOOD, KEYS)
    assert isinstance(verdict, Admitted)
    assert (verdict.gateway, verdict.batch.seq, verdict.envelope) == (LOG.gateway, 1, GOOD)
    assert [one.quantities[0].value for one in verdict.batch.readings()] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "xom/v1/gw/gw-a/up",
        "xom/v2/gw/gw-a/up/batch",
        "xom/v1/gw/Gw-A/up/batch",
        "xom/v1/gw/gw-a/up/batch/more",
        "application/1/device/0/event/up",
        "xom/v1/gw/gw-a\0/up/batch",
    ],
)
def test_a_topic_that_is_not_ours_is_refused_and_quoted(topic: str) -> None:
    incident = refused(topic, GOOD)
    assert (incident.kind, incident.gateway) == (IncidentKind.WRONG_TOPIC, None)
    assert repr(topic) in incident.detail


@pytest.mark.parametrize("subject", [one for one in Subject if one is not Subject.BATCH])
def test_a_good_batch_on_another_subjects_topic_is_refused(subject: Subject) -> None:
    incident = refused(str(Topic(LOG.gateway, subject)), GOOD)
    assert (incident.kind, incident.gateway) == (IncidentKind.WRONG_TOPIC, None)
    assert "carries no batches" in incident.detail


def test_an_unknown_gateway_is_named_in_words_but_owns_no_incident() -> None:
    stranger = Log(GatewayId("gw-stranger"))
    incident = refused(str(Topic(stranger.gateway, Subject.BATCH)), stranger.seal().envelope)
    assert (incident.kind, incident.gateway) == (IncidentKind.UNKNOWN_GATEWAY, None)
    assert "gw-stranger" in incident.detail


def test_a_batch_signed_with_another_key_is_refused() -> None:
    impostor = Log(LOG.gateway)
    incident = refused(TOPIC, impostor.seal(series(3)).envelope)
    assert (incident.kind, incident.gateway) == (IncidentKind.BAD_SIGNATURE, LOG.gateway)


@pytest.mark.parametrize("place", [0, 40, len(GOOD) // 2, len(GOOD) - 1], ids=["first", "early", "middle", "last"])
def test_one_changed_byte_is_a_bad_signature(place: int) -> None:
    changed = bytearray(GOOD)
    changed[place] ^= 1
    assert refused(TOPIC, bytes(changed)).kind is IncidentKind.BAD_SIGNATURE


def test_a_signature_over_another_kind_of_message_signs_no_batch() -> None:
    payload = Envelope.decode(GOOD).payload
    incident = refused(TOPIC, signed(payload, kind="application/vnd.xom.ack.v1+json"))
    assert incident.kind is IncidentKind.BAD_SIGNATURE


def test_an_oversize_message_is_refused_before_its_signature_is_looked_at() -> None:
    incident = refused(TOPIC, bytes(MAX_ENVELOPE_BYTES + 1))
    assert (incident.kind, incident.gateway) == (IncidentKind.TOO_LARGE, LOG.gateway)
    assert refused(TOPIC, bytes(MAX_ENVELOPE_BYTES)).kind is IncidentKind.BAD_SIGNATURE


def test_a_signed_bomb_is_too_large() -> None:
    assert refused(TOPIC, signed(compress(bytes(MAX_BODY_BYTES + 1)))).kind is IncidentKind.TOO_LARGE


@pytest.mark.parametrize(
    "envelope",
    [
        signed(b""),
        signed(b"not deflated"),
        signed(Envelope.decode(GOOD).payload[:-4]),
        signed(Envelope.decode(GOOD).payload + b"\0"),
        signed(compress(b"\x80")),
        altered(seq=0),
        altered(prev=b"short"),
        altered(gw="No Such Form"),
        altered(surprise=1),
    ],
    ids=["empty", "not deflated", "cut", "longer", "no keys", "seq 0", "short hash", "bad id", "unknown key"],
)
def test_a_signed_body_that_is_no_batch_is_malformed(envelope: bytes) -> None:
    incident = refused(TOPIC, envelope)
    assert (incident.kind, incident.gateway) == (IncidentKind.MALFORMED, LOG.gateway)


def test_a_body_of_a_later_version_is_told_from_a_broken_one() -> None:
    incident = refused(TOPIC, altered(v=2))
    assert incident.kind is IncidentKind.UNKNOWN_VERSION
    assert "version 2" in incident.detail


def test_the_body_of_another_gateway_is_refused_even_when_the_topics_owner_signed_it() -> None:
    other = Log(GatewayId("gw-b"), key=LOG.key)
    incident = refused(TOPIC, other.seal(series(3)).envelope)
    assert (incident.kind, incident.gateway) == (IncidentKind.WRONG_TOPIC, LOG.gateway)
    assert "gw-b" in incident.detail
    assert "gw-a" in incident.detail


def test_another_gateways_batch_replayed_on_ones_own_topic_is_refused() -> None:
    other = Log(GatewayId("gw-b"))
    keys = KEYS | {other.gateway: other.key.public.verifier()}
    verdict = admit(TOPIC, other.seal().envelope, keys)
    assert isinstance(verdict, Refused)
    assert (verdict.incident.kind, verdict.incident.gateway) == (IncidentKind.BAD_SIGNATURE, LOG.gateway)


@given(topic=st.one_of(st.just(TOPIC), st.text(max_size=60)), payload=st.binary(max_size=200))
def test_no_message_raises(topic: str, payload: bytes) -> None:
    refused(topic, payload)


@given(payload=st.binary(max_size=200))
def test_no_signed_message_raises(payload: bytes) -> None:
    refused(TOPIC, signed(compress(payload)))
