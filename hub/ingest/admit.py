"""Whether a message is a batch that may be stored. Pure: keys and bytes in, verdict out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hub.store.admission import Admitted
from hub.store.incidents import Incident, IncidentKind
from wire.batch import BatchError, open_batch
from wire.identity import GatewayId
from wire.keys import Verifier
from wire.topics import Subject, Topic, TopicError


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that is not stored as a batch: its bytes are kept as evidence, and the queue moves on."""

    incident: Incident


def admit(topic: str, payload: bytes, verifiers: Mapping[GatewayId, Verifier]) -> Admitted | Refused:
    """Judge one message as it came. The topic says whose key to use; the signed body must name the same gateway."""
    try:
        parsed = Topic.parse(topic)
    except TopicError as error:
        return _refused(IncidentKind.WRONG_TOPIC, None, str(error), payload)
    if parsed.subject is not Subject.BATCH:
        return _refused(IncidentKind.WRONG_TOPIC, None, f"{topic} carries no batches", payload)
    verifier = verifiers.get(parsed.gateway)
    if verifier is None:
        detail = f"gateway {parsed.gateway} is not in the registry, or its key is revoked"
        return _refused(IncidentKind.UNKNOWN_GATEWAY, None, detail, payload)
    try:
        batch = open_batch(payload, verifier)
    except BatchError as error:
        return _refused(IncidentKind(error.reason), parsed.gateway, str(error), payload)
    if batch.gateway != parsed.gateway:
        detail = f"the body of {batch.gateway} came on the topic of {parsed.gateway}"
        return _refused(IncidentKind.WRONG_TOPIC, parsed.gateway, detail, payload)
    return Admitted(gateway=parsed.gateway, envelope=payload, batch=batch)


def _refused(kind: IncidentKind, gateway: GatewayId | None, detail: str, payload: bytes) -> Refused:
    return Refused(Incident(kind=kind, gateway=gateway, detail=detail, evidence=payload))
