"""A batch with what several steps of storing need of it: its readings' times, and its streams with their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hub.store.admission import Admitted
from hub.store.database import Connection
from hub.store.dating import Boot, Dating, Setting, date, told
from hub.store.derived import Indexed
from hub.store.rows import HEADER, TRAILER, encode_rows
from hub.store.series import Numbers, StreamKey, stream_keys
from hub.store.statements import statements
from wire.columns import Columns, Stream, from_readings, observed_at_ms
from wire.reading import ClockState

_CHUNK_BYTES: Final = 64 * 1024  # one write to the server: it works on one chunk while we make the next

_SQL: Final = statements("batches")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfolded:
    """A batch and its readings: as it was sealed, or as they are derived now (decision 015).

    `indexes` are the readings' in the batch, None: all of them, in order. `dating` is what their times follow from
    where the clock had not been set.
    """

    admitted: Admitted
    columns: Columns
    indexes: Sequence[int] | None = None
    times_ms: list[int]
    streams: list[tuple[StreamKey, Stream]]
    dating: Dating | None = None

    @property
    def boot(self) -> Boot:
        """The boot in which the batch was sealed."""
        return (self.admitted.gateway, self.admitted.batch.body.boot)

    @property
    def certain(self) -> list[bool] | None:
        """Whether each reading's time is known; None: all of them."""
        return self.dating.certain if self.dating is not None else None

    def numbers(self, known: Mapping[StreamKey, Numbers]) -> list[Numbers]:
        """Return the numbers of each stream."""
        return [known[key] for key, _ in self.streams]

    def dated(self, known: Sequence[Setting]) -> Unfolded:
        """Date readings that were taken with an unset clock, by what is known and what the batch itself tells."""
        own = [setting for boot, setting in told(self.admitted.batch) if boot == self.boot]
        dating = date(self.boot, self.columns, [*known, *own], indexes=self.indexes)
        return replace(self, times_ms=dating.times_ms, dating=dating)


def unfold(one: Admitted, readings: Sequence[Indexed] | None = None) -> Unfolded:
    """Unfold a batch with these readings, None: those that it was sealed with."""
    columns = one.batch.columns if readings is None else from_readings([item.reading for item in readings])
    return Unfolded(
        admitted=one,
        columns=columns,
        indexes=None if readings is None else [item.index for item in readings],
        times_ms=observed_at_ms(columns),
        streams=list(zip(stream_keys(one.gateway, columns), columns.streams, strict=True)),
    )


async def copy_observations(
    connection: Connection, batches: Iterable[tuple[int, Unfolded]], known: Mapping[StreamKey, Numbers]
) -> int:
    """Stream the observations of batches, each with its number, and return how many there were."""
    written, buffer = 0, bytearray(HEADER)
    async with connection.cursor() as cursor, cursor.copy(_SQL["copy"]) as copy:
        for batch_no, one in batches:
            rows = encode_rows(
                one.columns,
                one.times_ms,
                batch_no,
                [numbers.datastreams for numbers in one.numbers(known)],
                uncertain=one.admitted.batch.body.clock.state is ClockState.NONE,
                indexes=one.indexes,
            )
            written += len(rows)
            buffer += b"".join(rows)
            if len(buffer) >= _CHUNK_BYTES:
                await copy.write(buffer)
                buffer = bytearray()
        await copy.write(buffer + TRAILER)
    return written
