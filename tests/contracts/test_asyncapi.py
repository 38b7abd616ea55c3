"""docs/asyncapi.yaml says what travels: real messages are held against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given, settings

from gateway.delivery.client import State
from tests.wire.strategies import EPOCH, GATEWAY, KEYS, draft, drafts, typical_readings
from wire import ack as acks
from wire import batch as batches
from wire import refusal as refusals
from wire.ack import Ack, Anchor, Checkpoint, seal_ack
from wire.batch import Draft, decompress, seal
from wire.columns import Columns
from wire.identity import GatewayId
from wire.keys import Algorithm
from wire.refusal import MOST_REFUSED, Reason, Refusal, Refused, refused, seal_refusal
from wire.topics import Subject, Topic, every_gateway

DOCUMENT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "docs" / "asyncapi.yaml").read_text())
MESSAGES = DOCUMENT["components"]["messages"]
SUBJECTS = {"batch": Subject.BATCH, "state": Subject.STATE, "ack": Subject.ACK}
HUB = KEYS[Algorithm.ED25519]


def validator(name: str) -> jsonschema.protocols.Validator:
    """AsyncAPI 3's schema object is a superset of JSON Schema draft 07."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema.Draft7Validator(schema)


def with_hex(value: Any) -> Any:
    """The document's rule for bytes: a MessagePack bin is shown as its lower-case hexadecimal digits."""
    match value:
        case bytes():
            return value.hex()
        case list():
            return [with_hex(inner) for inner in value]
        case dict():
            return {key: with_hex(inner) for key, inner in value.items()}
        case _:
            return value


def body_of(envelope: bytes) -> Any:
    _, payload, _, _ = msgspec.msgpack.decode(envelope)
    return with_hex(msgspec.msgpack.decode(decompress(payload)))


def an_ack(**changes: Any) -> Ack:
    checkpoint = Checkpoint("hub.xa-dong", 41, "aGFzaA==")
    plain = Ack(
        gateway=GATEWAY, incarnation=2, epoch=EPOCH, through=7, highest=12, missing=((8, 9),),
        anchor=Anchor(7, "ab" * 32), checkpoint=checkpoint,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def test_every_schema_of_the_document_is_a_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [one for inner in value.values() for one in references(inner)]
    return [one for inner in value for one in references(inner)] if isinstance(value, list) else []


def test_every_reference_of_the_document_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        place: Any = DOCUMENT
        for room in reference.removeprefix("#/").split("/"):
            place = place[room]
        assert place


@pytest.mark.parametrize("name", list(SUBJECTS))
def test_the_addresses_are_those_that_we_build(name: str) -> None:
    address = DOCUMENT["channels"][name]["address"]
    assert address.format(gateway="thon-1") == str(Topic(GatewayId("thon-1"), SUBJECTS[name]))
    assert address.format(gateway="+") == every_gateway(SUBJECTS[name])


def test_the_document_has_the_channels_that_exist_and_no_others() -> None:
    assert set(DOCUMENT["channels"]) == set(SUBJECTS)
    told = {operation["channel"]["$ref"].rsplit("/", 1)[1] for operation in DOCUMENT["operations"].values()}
    assert told == set(SUBJECTS)


def test_every_operation_is_quality_of_service_1_with_the_same_binding_version() -> None:
    for operation in DOCUMENT["operations"].values():
        assert operation["bindings"]["mqtt"]["qos"] == 1
        assert operation["bindings"]["mqtt"]["bindingVersion"] == "0.2.0"


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_real_batch_is_as_described(algorithm: Algorithm) -> None:
    envelope = seal(draft(typical_readings()), KEYS[algorithm]).envelope
    validator("Envelope").validate(with_hex(msgspec.msgpack.decode(envelope)))
    validator("BatchBody").validate(body_of(envelope))


@given(drafts())
@settings(max_examples=60)
def test_whatever_a_gateway_seals_is_as_described(drawn: Draft) -> None:
    validator("BatchBody").validate(body_of(seal(drawn, HUB).envelope))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"missing": ()},
        {"checkpoint": None},
        {"through": 0, "highest": 0, "missing": (), "anchor": None},
        {"missing": (), "broken": 8},
    ],
    ids=str,
)
def test_a_real_ack_is_as_described(changes: dict[str, Any]) -> None:
    _, payload, _, _ = envelope = msgspec.msgpack.decode(seal_ack(an_ack(**changes), HUB))
    validator("Envelope").validate(with_hex(envelope))
    validator("Ack").validate(msgspec.json.decode(payload))


def test_a_real_refusal_is_as_described() -> None:
    every = tuple(refused(reason.encode(), reason) for reason in Reason)
    refusal = Refusal(gateway=GATEWAY, refused=every)
    _, payload, _, _ = envelope = msgspec.msgpack.decode(seal_refusal(refusal, HUB))
    validator("Envelope").validate(with_hex(envelope))
    validator("Refusal").validate(msgspec.json.decode(payload))


def test_the_reasons_in_the_document_are_those_that_travel() -> None:
    item = DOCUMENT["components"]["schemas"]["Refusal"]["properties"]["refused"]["items"]
    assert item["properties"]["reason"]["enum"] == [str(reason) for reason in Reason]
    assert set(item["properties"]) == names_of(Refused)


@pytest.mark.parametrize("online", [True, False])
def test_a_real_state_is_as_described(online: bool) -> None:
    state = State(online=online, at_ms=1_755_000_000_000, version="0.1.0")
    validator("State").validate(msgspec.json.decode(msgspec.json.encode(state)))


def test_the_examples_are_as_described() -> None:
    for message in DOCUMENT["components"]["messages"].values():
        name = message["payload"]["$ref"].rsplit("/", 1)[1]
        for example in message.get("examples", ()):
            validator(name).validate(example["payload"])
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            validator(name).validate(example)
    will = DOCUMENT["servers"]["hub"]["bindings"]["mqtt"]["lastWill"]
    validator("State").validate(msgspec.json.decode(will["message"]))
    assert Topic.parse(will["topic"]).subject is Subject.STATE


def test_a_body_with_a_key_more_or_less_is_not_as_described() -> None:
    body = body_of(seal(draft(typical_readings()), HUB).envelope)
    for changed in (body | {"more": 1}, {key: value for key, value in body.items() if key != "prev"}):
        with pytest.raises(jsonschema.ValidationError):
            validator("BatchBody").validate(changed)


def properties(name: str) -> set[str]:
    return set(DOCUMENT["components"]["schemas"][name]["properties"])


def names_of(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def test_the_schemas_name_exactly_the_fields_that_travel() -> None:
    assert properties("Ack") == names_of(Ack)
    assert properties("Anchor") == names_of(Anchor)
    assert properties("Refusal") == names_of(Refusal)
    assert properties("State") == names_of(State)
    assert properties("Checkpoint") == names_of(Checkpoint) == names_of(batches.Seen)
    assert properties("BatchBody") == names_of(batches.Body)
    assert properties("Columns") == names_of(Columns)


def test_the_limits_in_the_document_are_the_limits_in_the_code() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Columns"]["properties"]["n"]["maximum"] == batches.MAX_READINGS
    assert schemas["Ack"]["properties"]["missing"]["maxItems"] == acks.MAX_RANGES
    assert schemas["Envelope"]["items"][0]["enum"] == [batches.BATCH_TYPE, acks.ACK_TYPE, refusals.REFUSAL_TYPE]
    assert schemas["Refusal"]["properties"]["refused"]["maxItems"] == MOST_REFUSED
    packet = DOCUMENT["servers"]["hub"]["bindings"]["mqtt"]["maximumPacketSize"]
    assert packet > batches.MAX_ENVELOPE_BYTES  # topic and properties need room beside it
    assert f"At most {batches.MAX_ENVELOPE_BYTES // 1024} KiB as published" in MESSAGES["batch"]["description"].replace(
        "\n", " "
    )
    for name, limit in (("ack", acks.MAX_ACK_BYTES), ("refusal", refusals.MAX_REFUSAL_BYTES)):
        described = MESSAGES[name]["description"].replace("\n", " ")
        assert f"most {limit // 1024} KiB as published" in described, name


def test_an_acknowledgement_is_retained_and_a_refusal_is_not() -> None:
    retained = {name: DOCUMENT["operations"][name]["bindings"]["mqtt"]["retain"] for name in ("sendAck", "sendRefusal")}
    assert retained == {"sendAck": True, "sendRefusal": False}
