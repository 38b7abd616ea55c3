"""Errors as RFC 9457 problems: what happened, and what to do about it. Never a stack trace."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from hub.store.database import StoreUnavailable

MEDIA_TYPE: Final = "application/problem+json"
_RETRY_AFTER_S: Final = "5"

_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """A problem detail (RFC 9457), with the remedy as an extension member."""

    type: str = Field(default="about:blank", description="Kind of problem; about:blank where the status says it all.")
    title: str = Field(description="The status in words.", examples=["Not Found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What is the matter here.", examples=["there is no datastream 17"])
    remedy: str = Field(
        description="What to do about it.", examples=["GET /api/v1/datastreams lists the ones there are."]
    )


class ProblemError(Exception):
    """A request that cannot be answered as asked."""

    def __init__(self, status: HTTPStatus, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.remedy = remedy


def not_found(what: str, listing: str) -> ProblemError:
    """Return the problem of asking for something that is not there; `listing` is where those are that are."""
    return ProblemError(HTTPStatus.NOT_FOUND, f"there is no {what}", f"GET {listing} lists the ones there are.")


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's description of the problems that a route may answer with."""
    return {
        int(status): {
            "description": _MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Let every error leave the application as a problem."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(StoreUnavailable, _on_unavailable)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)


_MEANINGS: Final = {
    HTTPStatus.NOT_FOUND: "There is no such thing.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A parameter is not of the form described here; the detail names it.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The database is not there, or took too long. Nothing is lost; try again.",
}


def _answer(status: HTTPStatus, detail: str, remedy: str, headers: dict[str, str] | None = None) -> JSONResponse:
    problem = Problem(title=status.phrase, status=status, detail=detail, remedy=remedy)
    return JSONResponse(problem.model_dump(), status, headers, MEDIA_TYPE)


async def _on_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)  # noqa: S101 - Starlette dispatches by type; its signature does not say so
    return _answer(error.status, error.detail, error.remedy)


async def _on_unavailable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StoreUnavailable)  # noqa: S101 - as above
    detail = f"the database is not available: {error.cause}"
    return _answer(HTTPStatus.SERVICE_UNAVAILABLE, detail, error.remedy, {"Retry-After": _RETRY_AFTER_S})


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return _answer(
        HTTPStatus.UNPROCESSABLE_ENTITY, faults, "The OpenAPI document at /api/v1/openapi.json says what fits."
    )


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    status = HTTPStatus(error.status_code)
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return _answer(status, detail, "See /api/v1/openapi.json for what can be asked.", dict(error.headers or {}))


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the hub failed to answer; this is its fault",
        "Tell the operator the time of this request: the hub's log has the cause.",
    )
