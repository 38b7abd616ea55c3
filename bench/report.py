"""What a bench says: one figure, the limit measured in the same run, their ratio, and the rows behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

Cell = str | int | float | None
_FIXED = ("bench", "figure", "value", "unit", "limit_name", "limit", "ratio")


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows for people; programs read the same rows as objects."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def objects(self) -> list[dict[str, Cell]]:
        """Return each row with its column names."""
        return [dict(zip(self.head, row, strict=True)) for row in self.rows]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One bench's outcome. `named` holds what other programs rely on by name (DESIGN section 8)."""

    bench: str
    figure: str
    value: float
    unit: str
    limit_name: str
    limit: float
    ratio: float
    named: Mapping[str, Cell]
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()

    def to_object(self) -> dict[str, Any]:
        """Return the one JSON object."""
        fixed = {name: getattr(self, name) for name in _FIXED}
        tables = {table.title: table.objects() for table in self.tables}
        return {**fixed, **self.named, "tables": tables, "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """Return it as text, the headline first."""
        headline = f"{self.bench}: {self.figure} {number(self.value)} {self.unit}"
        limit = f"    limit, {self.limit_name}: {number(self.limit)} {self.unit}; ratio {self.ratio:.2f}"
        named = [f"    {name:<28} {number(value)}" for name, value in self.named.items() if name != self.figure]
        tables = [line for table in self.tables for line in ("", *_drawn(table))]
        return [headline, limit, *named, *tables, *(f"    note: {note}" for note in self.notes)]


def number(value: Cell) -> str:
    """Write a figure so that it can be read: no more digits than it deserves."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else "-" if value is None else value


def _drawn(table: Table) -> Iterable[str]:
    cells = [list(table.head), *([number(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.head))]
    yield f"  {table.title}"
    for row in cells:
        first, *others = zip(row, widths, strict=True)
        yield "    " + "  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)])
