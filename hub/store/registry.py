"""The registry in the database: a checked file loaded into it, and the keys that ingest verifies with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from hub.registry.files import EnrolledGateway, PlacedSource, Registry
from hub.store.database import Connection, Database
from hub.store.locks import REGISTRY_LOCK
from hub.store.statements import statements
from wire.identity import GatewayId
from wire.keys import Algorithm, PublicKey, Verifier

_SQL: Final = statements("registry")


async def load_registry(database: Database, registry: Registry) -> dict[str, int]:
    """Bring the database up to the file, all or nothing; return how many entries of each table were made or altered.

    Loading the same file again changes nothing. What the file does not mention stays: a gateway leaves by `revoked_at`,
    since its batches remain evidence. Raises StoreUnavailable.
    """
    async with database.transaction() as connection:
        await connection.execute(_SQL["lock"], {"registry": REGISTRY_LOCK})
        return {
            "administrative_unit": await _write(connection, "unit", map(msgspec.structs.asdict, registry.units)),
            "gateway": await _write(connection, "gateway", map(_gateway_row, registry.gateways)),
            "source": await _write(connection, "source", map(_source_row, registry.sources)),
        }


async def verifiers(database: Database) -> dict[GatewayId, Verifier]:
    """Return the parsed keys of all gateways that are not revoked; raises StoreUnavailable, KeyProblem."""
    async with database.connection() as connection:
        rows = await (await connection.execute(_SQL["verifiers"])).fetchall()
    return {GatewayId(g): PublicKey(Algorithm(algorithm), key).verifier() for g, algorithm, key in rows}


async def _write(connection: Connection, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
    async with connection.cursor() as cursor:
        await cursor.executemany(_SQL[name], list(rows))
        return max(cursor.rowcount, 0)  # -1: there were no rows


def _gateway_row(gateway: EnrolledGateway) -> dict[str, object]:
    return {
        "gateway_id": str(gateway.gateway_id),
        "name": gateway.name,
        "unit": gateway.unit,
        "algorithm": str(gateway.key.algorithm),
        "public_key": gateway.key.encoded,
        "enrolled_at": gateway.enrolled_at,
        "revoked_at": gateway.revoked_at,
    }


def _source_row(source: PlacedSource) -> dict[str, object]:
    return msgspec.structs.asdict(source) | {"gateway": str(source.gateway), "source_id": str(source.source_id)}
