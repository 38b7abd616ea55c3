"""The hub's half of the line, on one screen.

    broker ──▶ admit ──▶ one transaction ──▶ COMMIT ──▶ PUBACK to the broker
               │         │  batch log                └─▶ Ack to the gateway: signed, retained, bound to content
               │         │  observations
               │         │  accounts of what is lost
               ▼         ▼
             incident: kept as evidence, the queue moves on ──▶ Refusal to the gateway: why it was not stored

Nothing is acknowledged before its COMMIT. The batch log is what counts; everything else here can be derived from it
again.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog

from hub.incarnation import Announced, renew
from hub.ingest.acknowledge import Acknowledger
from hub.ingest.consumer import Consumer, Enrolled
from hub.ingest.refuse import Refuser
from hub.store.batches import BatchStore
from hub.store.database import Database, StoreUnavailable
from hub.store.deliveries import list_deliveries
from wire.mqtt import Link

log = structlog.get_logger(__name__)

_REFRESH_S = 30.0
_REDATE_S = 5.0


async def ingest(consumer: Consumer) -> None:
    """Store every batch once; hold everything back while the database is away."""
    await consumer.run()


async def acknowledge(acknowledger: Acknowledger) -> None:
    """Tell gateways what is stored, and that alone."""
    await acknowledger.run()


async def refuse(refuser: Refuser) -> None:
    """Tell gateways what is not stored, and why; it frees nothing."""
    await refuser.run()


async def redate(store: BatchStore) -> None:
    """Give what was observed before a clock was set its time, as soon as somebody knows it."""
    while True:
        try:
            while await store.redate():
                pass
        except StoreUnavailable as error:
            log.warning("times not corrected yet", problem=str(error))
        await asyncio.sleep(_REDATE_S)


async def repeat_acknowledgements(link: Link, database: Database, acknowledger: Acknowledger) -> None:
    """At every new connection, tell every gateway where it stands: a broker may have lost what it retained."""
    last = 0
    while True:
        number = await link.wait_connected()
        if number != last:
            try:
                acknowledger.tell(await list_deliveries(database))
                last = number
            except StoreUnavailable as error:
                log.warning("watermarks not repeated yet", problem=str(error))
        await asyncio.sleep(1.0)


async def follow_registry(enrolled: Enrolled) -> None:
    """Take new and revoked keys from the registry every half minute."""
    while True:
        await asyncio.sleep(_REFRESH_S)
        try:
            await enrolled.refresh(at_once=True)
        except StoreUnavailable as error:
            log.warning("registry not read", problem=str(error))


async def follow_incarnation(database: Database, announced: Announced, acknowledger: Acknowledger) -> None:
    """Every half minute, see whether the database was replaced under us or an operator began a new incarnation."""
    while True:
        await asyncio.sleep(_REFRESH_S)
        try:
            incarnation = await renew(database, announced, datetime.now(UTC))
            if incarnation != acknowledger.incarnation:
                acknowledger.incarnation = incarnation
                acknowledger.tell(await list_deliveries(database))
        except StoreUnavailable as error:
            log.warning("incarnation not read", problem=str(error))
