"""What the API may be asked with: each parameter's form, described once. Anything else is refused before the store."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import AwareDatetime

from hub.api.problems import ProblemError
from hub.store.observations import Position

MAX_OBSERVATIONS: Final = 10_000
MAX_BUCKETS: Final = 10_000
_MAX_NUMBER: Final = 2**31 - 1  # PostgreSQL's integer
_TEXT: Final = r"^[^\x00-\x1f]*$"  # PostgreSQL's text has no NUL

_CURSOR: Final = struct.Struct(">qqh")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMED_BUCKETS: Final = {
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
}
_ISO_SECONDS: Final = re.compile(r"PT([0-9]{1,6})S")
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=7)

GatewayPath = Annotated[
    str, Path(description="A gateway's id.", examples=["gw-binh-mau"], max_length=100, pattern=_TEXT)
]
DatastreamPath = Annotated[int, Path(description="A datastream's number.", examples=[7], ge=1, le=_MAX_NUMBER)]
GatewayFilter = Annotated[
    str | None, Query(description="Only of this gateway.", examples=["gw-binh-mau"], max_length=100, pattern=_TEXT)
]
SourceFilter = Annotated[
    str | None,
    Query(description="Only of this source id.", examples=["lorawan:a840410000000001"], max_length=100, pattern=_TEXT),
]
PropertyFilter = Annotated[
    str | None,
    Query(description="Only of this observed property.", examples=["water_distance"], max_length=200, pattern=_TEXT),
]
UnitFilter = Annotated[
    str | None,
    Query(
        description="Only in the administrative unit of this code, without the units below it.",
        examples=["sim-92001-01"],
        max_length=100,
        pattern=_TEXT,
    ),
]
ListLimit = Annotated[int, Query(description="At most so many.", examples=[100], ge=1, le=1000)]
AfterNumber = Annotated[
    int, Query(description="`next` of the page before; 0 for the first page.", examples=[0], ge=0, le=2**62)
]
AfterGateway = Annotated[
    str | None, Query(description="`next` of the page before.", examples=["gw-a"], max_length=100, pattern=_TEXT)
]
BeforeNumber = Annotated[int | None, Query(description="`next` of the page before.", examples=[5], ge=1, le=2**62)]
ObservationLimit = Annotated[int, Query(description="At most so many.", examples=[1000], ge=1, le=MAX_OBSERVATIONS)]
From = Annotated[
    AwareDatetime | None,
    Query(alias="from", description="Observed at or after (RFC 3339 with offset).", examples=["2026-02-01T00:00:00Z"]),
]
To = Annotated[
    AwareDatetime | None,
    Query(alias="to", description="Observed before (RFC 3339 with offset).", examples=["2026-02-02T00:00:00Z"]),
]
FromRequired = Annotated[
    AwareDatetime,
    Query(alias="from", description="Observed at or after (RFC 3339 with offset).", examples=["2026-02-01T00:00:00Z"]),
]
ToRequired = Annotated[
    AwareDatetime,
    Query(alias="to", description="Observed before (RFC 3339 with offset).", examples=["2026-02-02T00:00:00Z"]),
]
After = Annotated[
    str | None,
    Query(
        description="`next` of the page before, as it came, with the same order.", examples=["AAYtq3QAAAAAAAAAAAMvAAA"]
    ),
]
BucketName = Annotated[
    str,
    Query(
        description="Length of a bucket: 5m, 15m, 1h, 1d, or seconds in ISO 8601 (PT600S), one minute to seven days. "
        "Buckets are counted from midnight in Viet Nam, so a 1d bucket is a local day. At most 10,000 in one answer.",
        examples=["1h"],
        max_length=16,
    ),
]


def write_cursor(position: Position) -> str:
    """Return a position as an opaque word for addresses."""
    at_us = (position.observed_at - _EPOCH) // timedelta(microseconds=1)
    packed = _CURSOR.pack(at_us, position.batch_no, position.reading_index)
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def read_cursor(text: str) -> Position:
    """Return the position that `write_cursor` wrote; raises ProblemError."""
    try:
        packed = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        at_us, batch_no, reading_index = _CURSOR.unpack(packed)
        at = _EPOCH + timedelta(microseconds=at_us)
    except (binascii.Error, struct.error, UnicodeEncodeError, OverflowError, ValueError) as error:
        raise _refused(
            f"after: {text!r:.80} is not a cursor of this API", "Give `next` of a page as it came."
        ) from error
    return Position(observed_at=at, batch_no=batch_no, reading_index=reading_index)


def read_bucket(name: str, start: datetime, end: datetime) -> timedelta:
    """Return the bucket's length; raises ProblemError when it has another form or there would be too many."""
    named = _NAMED_BUCKETS.get(name)
    seconds = _ISO_SECONDS.fullmatch(name)
    bucket = named or (timedelta(seconds=int(seconds[1])) if seconds else timedelta(0))
    if not _SHORTEST <= bucket <= _LONGEST:
        raise _refused(f"bucket: {name!r} is not one", "Use 5m, 15m, 1h, 1d, or PT60S to PT604800S.")
    check_span(start, end)
    if (end - start) / bucket > MAX_BUCKETS:
        raise _refused(
            f"from..to holds more than {MAX_BUCKETS} buckets of {name}", "Take a longer bucket or a shorter time."
        )
    return bucket


def check_span(start: datetime | None, end: datetime | None) -> None:
    """Refuse a span that ends before it starts."""
    if start is not None and end is not None and end < start:
        raise _refused("to: it lies before from", "Swap them.")


def _refused(detail: str, remedy: str) -> ProblemError:
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, remedy)
