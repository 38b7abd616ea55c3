"""What gateways report of themselves that an operator must know of: incidents from the events of a batch. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hub.store.admission import Admitted
from hub.store.incidents import Incident, IncidentKind

MOST_REPORTED: Final = 10  # of one batch: what is beyond stands in its body
REPORTED: Final[Mapping[str, IncidentKind]] = MappingProxyType(
    {"new_epoch": IncidentKind.NEW_EPOCH, "salvaged": IncidentKind.SALVAGED}
)


def reported(one: Admitted) -> list[Incident]:
    """Return the incidents of a newly stored batch. An event that travels in two batches is one incident."""
    events = [event for event in one.batch.body.ev if event.name in REPORTED]
    return [
        Incident(kind=REPORTED[event.name], gateway=one.gateway, detail=event.detail, epoch=one.batch.epoch)
        for event in events[:MOST_REPORTED]
    ]
