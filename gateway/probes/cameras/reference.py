"""The view a camera should show, kept in a small file: 32 by 18 means and a sharpness, one by day and one in infrared.

`<data>/cameras/<name>.json`. The first good picture becomes the reference; whoever turns the camera on purpose deletes
the file, and the next good picture takes its place.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from gateway.durable import replace_file
from gateway.probes.cameras.picture import ACROSS, DOWN, Picture, Reference

log = structlog.get_logger(__name__)


class _File(msgspec.Struct, frozen=True):
    day: Reference | None = None
    infrared: Reference | None = None


@dataclass(frozen=True, slots=True)
class ReferenceFile:
    """One camera's. Read at each run, so that deleting it works at once."""

    path: Path

    def of(self, picture: Picture) -> Reference | None:
        """Return what a picture is to be held against: a switch to infrared is not a moved view."""
        known = self._read()
        found = known.day if picture.has_colour else known.infrared
        return found if found is not None and len(found.blocks) == ACROSS * DOWN else None

    def accept(self, picture: Picture, now_ms: int) -> None:
        """Make a picture the reference of its kind; a disk that takes nothing is logged, the probe goes on."""
        fresh = Reference(picture.sharpness, picture.blocks, now_ms)
        known = self._read()
        known = msgspec.structs.replace(known, **{"day" if picture.has_colour else "infrared": fresh})
        try:
            replace_file(self.path, msgspec.json.encode(known), mode=0o600)
        except OSError as error:
            log.warning("no reference view kept", path=str(self.path), why=str(error))
            with contextlib.suppress(OSError):
                self.path.with_suffix(".new").unlink(missing_ok=True)

    def _read(self) -> _File:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_File)
        except FileNotFoundError:
            return _File()
        except (OSError, msgspec.DecodeError) as error:
            log.warning("the reference view cannot be read", path=str(self.path), why=str(error))
            return _File()
