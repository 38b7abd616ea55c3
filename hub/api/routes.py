"""The routes of `/api/v1`: parameters in, one question to the store, a model out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from hub.api import models, parameters
from hub.api.problems import documented, not_found
from hub.store import inventory
from hub.store.database import Database
from hub.store.deliveries import list_deliveries
from hub.store.derivations import list_derivations, list_superseded
from hub.store.gaps import Gaps, list_gaps
from hub.store.incidents import IncidentKind, list_incidents
from hub.store.observations import aggregate, read_page
from wire.identity import GatewayId
from wire.reading import Quality

_INVALID, _NONE, _AWAY = HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE
_LISTING: Final[dict[str, Any]] = {"responses": documented(_INVALID, _AWAY)}
_SINGLE: Final[dict[str, Any]] = {"responses": documented(_NONE, _INVALID, _AWAY)}


def api_routes(database: Database) -> APIRouter:
    """Return every route of the API, answering from this database."""
    router = APIRouter(prefix="/api/v1")
    for add in (_gateways, _sources, _datastreams, _observations, _derivations, _incidents):
        add(router, database)
    return router


def _gateways(router: APIRouter, database: Database) -> None:
    @router.get("/gateways", summary="Enrolled gateways", tags=["gateways"], **_LISTING)
    async def gateways(after: parameters.AfterGateway = None, limit: parameters.ListLimit = 100) -> models.GatewayPage:
        """List the enrolled gateways by id, with when each was last heard."""
        rows = await inventory.list_gateways(database, after=after, limit=limit)
        items = [models.GatewayModel.model_validate(row) for row in rows]
        return models.GatewayPage(items=items, next=items[-1].gateway_id if len(items) == limit else None)

    @router.get("/gateways/{gateway_id}", summary="One gateway", tags=["gateways"], **_SINGLE)
    async def gateway(gateway_id: parameters.GatewayPath) -> models.GatewayDetail:
        """Show a gateway with the state of its deliveries: how far its log has arrived, and what is missing."""
        rows = await inventory.list_gateways(database, gateway=gateway_id, limit=1)
        if not rows:
            raise not_found(f"gateway {gateway_id!r}", "/api/v1/gateways")
        deliveries = await list_deliveries(database, GatewayId(gateway_id))
        own = models.GatewayModel.model_validate(rows[0]).model_dump()
        return models.GatewayDetail(**own, deliveries=[models.DeliveryModel.of(one) for one in deliveries])

    @router.get("/gateways/{gateway_id}/gaps", summary="What is missing, and why", tags=["gateways"], **_SINGLE)
    async def gaps(
        gateway_id: parameters.GatewayPath, start: parameters.From = None, end: parameters.To = None
    ) -> models.GapsModel:
        """Show a gateway's loss ledger: batches not here, times unaccounted for, samples owed, what it declared lost.

        The period selects by the batches' windows. Missing batches have no time of their own and are always listed.
        """
        parameters.check_span(start, end)
        if not await inventory.list_gateways(database, gateway=gateway_id, limit=1):
            raise not_found(f"gateway {gateway_id!r}", "/api/v1/gateways")
        ledgers = await list_gaps(database, gateway=gateway_id, start=start, end=end)
        return models.GapsModel.model_validate(ledgers[0] if ledgers else Gaps(gateway_id=gateway_id))


def _sources(router: APIRouter, database: Database) -> None:
    @router.get("/sources", summary="Sources of readings", tags=["sources"], **_LISTING)
    async def sources(
        gateway: parameters.GatewayFilter = None,
        unit_code: parameters.UnitFilter = None,
        placed: Annotated[
            bool | None, Query(description="Only those in the registry (true) or only the others.", examples=[True])
        ] = None,
        after: parameters.AfterNumber = 0,
        limit: parameters.ListLimit = 100,
    ) -> models.SourcePage:
        """List sources by number, with how many readings each has brought and how many could not be decoded."""
        rows = await inventory.list_sources(
            database, gateway=gateway, unit=unit_code, placed=placed, after=after, limit=limit
        )
        items = [models.SourceModel.model_validate(row) for row in rows]
        return models.SourcePage(items=items, next=items[-1].source_no if len(items) == limit else None)


def _datastreams(router: APIRouter, database: Database) -> None:
    @router.get("/datastreams", summary="Datastreams", tags=["datastreams"], **_LISTING)
    async def datastreams(
        gateway: parameters.GatewayFilter = None,
        source: parameters.SourceFilter = None,
        observed_property: parameters.PropertyFilter = None,
        unit_code: parameters.UnitFilter = None,
        after: parameters.AfterNumber = 0,
        limit: parameters.ListLimit = 100,
    ) -> models.DatastreamPage:
        """List datastreams by number."""
        rows = await inventory.list_datastreams(
            database,
            gateway=gateway,
            source=source,
            observed_property=observed_property,
            unit=unit_code,
            after=after,
            limit=limit,
        )
        items = [models.DatastreamModel.model_validate(row) for row in rows]
        return models.DatastreamPage(items=items, next=items[-1].datastream_no if len(items) == limit else None)

    @router.get("/datastreams/{datastream_no}", summary="One datastream", tags=["datastreams"], **_SINGLE)
    async def datastream(datastream_no: parameters.DatastreamPath) -> models.DatastreamModel:
        """Show a datastream."""
        return models.DatastreamModel.model_validate(await _existing(database, datastream_no))


def _observations(router: APIRouter, database: Database) -> None:
    path = "/datastreams/{datastream_no}"

    @router.get(f"{path}/observations", summary="Observations of a datastream", tags=["observations"], **_SINGLE)
    async def observations(
        datastream_no: parameters.DatastreamPath,
        start: parameters.From = None,
        end: parameters.To = None,
        quality: Annotated[
            list[models.QualityName], Query(description="Only of these qualities; repeatable.", examples=[["good"]])
        ] = [],  # noqa: B006 - FastAPI copies it
        after: parameters.After = None,
        order: Annotated[
            models.Order, Query(description="Oldest or latest first.", examples=["asc"])
        ] = models.Order.ASC,
        limit: parameters.ObservationLimit = 1000,
    ) -> models.ObservationPage:
        """Page through observations in the order of time. What arrives meanwhile neither repeats nor hides any.

        Only an observation whose time is corrected meanwhile may appear at both its times, or at neither.
        """
        parameters.check_span(start, end)
        position = parameters.read_cursor(after) if after is not None else None
        await _existing(database, datastream_no)
        rows = await read_page(
            database,
            datastream_no,
            start=start,
            end=end,
            qualities=[Quality[name.name] for name in quality],
            after=position,
            descending=order is models.Order.DESC,
            limit=limit,
        )
        last = parameters.write_cursor(rows[-1].position) if len(rows) == limit else None
        return models.ObservationPage(items=[models.ObservationModel.of(row) for row in rows], next=last)

    @router.get(f"{path}/aggregates", summary="Aggregates of a datastream", tags=["observations"], **_SINGLE)
    async def aggregates(
        datastream_no: parameters.DatastreamPath,
        start: parameters.FromRequired,
        end: parameters.ToRequired,
        bucket: parameters.BucketName = "1h",
    ) -> models.AggregatePage:
        """Summarise observations over equal buckets of time. Implausible ones and ones without a value do not count."""
        length = parameters.read_bucket(bucket, start, end)
        await _existing(database, datastream_no)
        rows = await aggregate(database, datastream_no, start=start, end=end, bucket=length)
        items = [models.BucketModel.model_validate(row) for row in rows]
        return models.AggregatePage(bucket_s=int(length.total_seconds()), items=items)


def _derivations(router: APIRouter, database: Database) -> None:
    path = "/datastreams/{datastream_no}/superseded"

    @router.get(path, summary="What a derivation replaced", tags=["observations"], **_SINGLE)
    async def superseded(
        datastream_no: parameters.DatastreamPath,
        start: parameters.From = None,
        end: parameters.To = None,
        after: parameters.AfterNumber = 0,
        limit: parameters.ListLimit = 100,
    ) -> models.SupersededPage:
        """List the observations of a datastream that a derivation has replaced, in the order of replacing."""
        parameters.check_span(start, end)
        await _existing(database, datastream_no)
        rows = await list_superseded(database, datastream_no, start=start, end=end, after=after, limit=limit)
        items = [models.SupersededModel.of(row) for row in rows]
        return models.SupersededPage(items=items, next=items[-1].superseded_no if len(items) == limit else None)

    @router.get("/derivations", summary="What was derived anew", tags=["observations"], **_LISTING)
    async def derivations(
        before: parameters.BeforeNumber = None, limit: parameters.ListLimit = 100
    ) -> models.DerivationPage:
        """List the runs that derived observations anew, latest first: who, when, with what, and what changed."""
        rows = await list_derivations(database, before=before, limit=limit)
        items = [models.DerivationModel.model_validate(row) for row in rows]
        return models.DerivationPage(items=items, next=items[-1].derivation_no if len(items) == limit else None)


def _incidents(router: APIRouter, database: Database) -> None:
    @router.get("/incidents", summary="Incidents on the line", tags=["incidents"], **_LISTING)
    async def incidents(
        gateway: parameters.GatewayFilter = None,
        kind: Annotated[IncidentKind | None, Query(description="Only of this kind.", examples=["conflict"])] = None,
        before: parameters.BeforeNumber = None,
        limit: parameters.ListLimit = 100,
    ) -> models.IncidentPage:
        """List incidents, latest first: conflicts, chain breaks, refused messages, damaged spools."""
        rows = await list_incidents(
            database, gateway=GatewayId(gateway) if gateway is not None else None, kind=kind, before=before, limit=limit
        )
        items = [models.IncidentModel.of(row) for row in rows]
        return models.IncidentPage(items=items, next=items[-1].number if len(items) == limit else None)


async def _existing(database: Database, datastream_no: int) -> inventory.DatastreamRow:
    rows = await inventory.list_datastreams(database, datastream=datastream_no, limit=1)
    if not rows:
        raise not_found(f"datastream {datastream_no}", "/api/v1/datastreams")
    return rows[0]
