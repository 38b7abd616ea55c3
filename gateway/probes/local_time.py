"""The time of day where the hamlets are."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Final

VIET_NAM: Final = timezone(timedelta(hours=7))  # no summer time since 1975: needs no zone database
