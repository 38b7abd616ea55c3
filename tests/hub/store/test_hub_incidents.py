"""Evidence is kept once, counted always, capped in number."""

from __future__ import annotations

import asyncio

import pytest

from hub.store.database import Database
from hub.store.incidents import Incident, IncidentKind, list_incidents, record
from wire.batch import MAX_ENVELOPE_BYTES
from wire.identity import GatewayId

pytestmark = pytest.mark.postgres

_GATEWAY = GatewayId("gw-a")


def _malformed(evidence: bytes) -> Incident:
    return Incident(kind=IncidentKind.MALFORMED, gateway=_GATEWAY, detail="cut\0short", evidence=evidence)


async def test_the_same_evidence_is_kept_once(database: Database) -> None:
    await record(database, [_malformed(b"a"), _malformed(b"a"), _malformed(b"b")])
    found = await list_incidents(database)
    assert sorted(incident.count for incident in found) == [1, 2]
    assert {incident.detail for incident in found} == {"cut\ufffdshort"}


async def test_a_flood_raises_a_count_and_no_more(database: Database) -> None:
    flood = [_malformed(b"%d" % number) for number in range(25)]
    await asyncio.gather(*(record(database, flood[at::4], cap=5) for at in range(4)))
    found = await list_incidents(database, gateway=_GATEWAY, kind=IncidentKind.MALFORMED)
    assert (len(found), sum(incident.count for incident in found)) == (5, 25)


async def test_the_cap_counts_per_gateway_and_kind(database: Database) -> None:
    stranger = [
        Incident(kind=IncidentKind.UNKNOWN_GATEWAY, gateway=None, detail=f"gw-{number} is not enrolled")
        for number in range(4)
    ]
    await record(database, [*stranger, _malformed(b"a")], cap=3)
    found = await list_incidents(database)
    assert [(incident.kind, incident.gateway) for incident in found].count((IncidentKind.UNKNOWN_GATEWAY, None)) == 3
    assert [incident.number for incident in await list_incidents(database, before=found[0].number)] == [
        incident.number for incident in found[1:]
    ]


async def test_of_huge_evidence_the_beginning_is_kept(database: Database) -> None:
    await record(database, [_malformed(bytes(1024 * 1024))])
    [found] = await list_incidents(database)
    assert found.evidence_bytes == MAX_ENVELOPE_BYTES
