"""What `xom hub redecode` is told, and what it tells: options to an order, progress, summary, JSON."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from codec.errors import ProfileError
from codec.profiles import ProfileLibrary
from codec.quantities import shown
from hub.redecode.devices import Given, read_devices, read_options
from hub.redecode.run import Example, Order, Report
from hub.store.derived import Counts
from hub.store.series import moment
from wire.identity import SourceId
from wire.reading import Quantity, Reading

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_WORDS: Final = (
    ("unchanged", "unchanged"),
    ("changed", "changed"),
    ("newly_decoded", "newly decoded"),
    ("now_undecodable", "now undecodable"),
    ("undecided", "left, the codec met its limits"),
)


def library_of(root: Path | None) -> ProfileLibrary:
    """Open the library; raises ProfileError where there is none."""
    library = ProfileLibrary(root)
    if not (library.root / "vendors").is_dir():
        raise ProfileError(f"--library: there is no device library at {library.root} (a folder with vendors/ in it)")
    return library


def given_of(options: Sequence[str], file: Path | None, library: ProfileLibrary) -> dict[SourceId, Given]:
    """Return what is said of devices, the options before the file; raises DevicesError."""
    given = read_devices(file, library) if file is not None else {}
    return given | read_options(options, library)


def account() -> str:
    """The account that runs this, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such account in this container
        return "unknown"


def progress_to(stream: TextIO) -> Callable[[Report], None]:
    """Return what shows progress: one line that is written over, on a terminal alone."""

    def tell(report: Report) -> None:
        if stream.isatty():
            end = "\n" if report.batches >= report.of_batches else ""
            frames = report.counts.frames
            stream.write(f"\r{report.batches} of {report.of_batches} batches, {frames} frames decoded{end}")
            stream.flush()

    return tell


def summary(report: Report, order: Order) -> Iterator[str]:
    """Yield the lines for people; the last one says what this command does not do."""
    counts = report.counts
    what = "dry run" if order.dry_run else f"derivation {report.derivation}"
    yield f"{what}: {counts.frames} frames of {report.batches} batches, library {order.library.library_hash[:16]}"
    yield from (f"  {getattr(counts, name):>9}  {word}" for name, word in _WORDS)
    yield f"  {counts.superseded:>9}  observations {'would be ' if order.dry_run else ''}superseded"
    yield from (_example_line(one) for one in report.examples)
    yield from (f"left as it stands: {gw} {source}: {why}" for (gw, source), why in sorted(report.left.items()))
    if report.left:
        yield "name their profiles with --device DEVEUI=PROFILE or --devices FILE, and run it again"
    if report.behind:
        yield f"{len(report.behind)} gateways still name the old codec in their last batch: {', '.join(report.behind)}"
        yield "what they send from now on is as wrong as before: update them, then run it again"
    else:
        yield "0 gateways still name the old codec in their last batch"


def as_json(report: Report, order: Order) -> str:
    """Return the report for programs."""
    document = {
        "derivation": report.derivation,
        "dry_run": order.dry_run,
        "library_sha256": order.library.library_hash,
        "batches": report.batches,
        **{name: getattr(report.counts, name) for name in Counts.__slots__},
        "gateways": sorted(report.gateways),
        "left": [{"gateway": g, "source": s, "reason": why} for (g, s), why in sorted(report.left.items())],
        "behind": report.behind,
        "examples": [_example(one) for one in report.examples],
    }
    return msgspec.json.encode(document).decode()


def _example(one: Example) -> dict[str, Any]:
    known = one.change.new or one.change.old
    return {
        "gateway": one.gateway,
        "batch_no": one.batch_no,
        "reading_index": one.change.index,
        "source": str(known.frame.source) if known else "",
        "observed_at": moment(known.frame.observed_at_ms) if known else None,
        "old": _said(one.change.old),
        "new": _said(one.change.new),
    }


def _said(reading: Reading | None) -> dict[str, Any] | None:
    if reading is None:
        return None
    quantities = [
        {"name": q.name, "unit": q.unit, "value": q.value, "quality": q.quality.name.lower()}
        for q in reading.quantities
    ]
    return {"codec": reading.codec, "undecoded": reading.undecoded, "quantities": quantities}


def _example_line(one: Example) -> str:
    known = one.change.new or one.change.old
    if known is None:
        return ""
    old, new = _differing(one.change.old, one.change.new)
    at = moment(known.frame.observed_at_ms)
    return f"  {one.gateway} {known.frame.source} {at:%Y-%m-%d %H:%M:%SZ}: {old} -> {new}"


def _differing(old: Reading | None, new: Reading | None) -> tuple[str, str]:
    """Write what two readings do not have in common."""
    return _words(old, new.quantities if new else ()), _words(new, old.quantities if old else ())


def _words(reading: Reading | None, common: Sequence[Quantity]) -> str:
    if reading is None:
        return "nothing"
    if reading.undecoded is not None:
        return f"undecoded ({reading.undecoded})"
    own = [quantity for quantity in reading.quantities if quantity not in common]
    return ", ".join(f"{quantity.name} {shown(quantity)}" for quantity in own) or "nothing"
