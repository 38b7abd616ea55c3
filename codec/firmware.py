"""Which layout a device speaks: from the firmware that its info frame told to a profile of its model. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def layout_for(firmware: str, layouts: Sequence[str]) -> str | None:
    """Return the newest of the layouts that is not newer than this firmware; None where all of them are.

    Layouts are profile names, `<vendor>/<device>@<version>`: a firmware speaks the layout that the last change before
    it brought. A firmware that is not numbers and dots says nothing.
    """
    told = _numbers(firmware)
    if told is None:
        return None
    versions = {layout: _numbers(version_of(layout)) for layout in layouts}
    not_newer = [(version, layout) for layout, version in versions.items() if version is not None and version <= told]
    return max(not_newer)[1] if not_newer else None


def version_of(layout: str) -> str:
    """The firmware version in a profile's name, "" where it names none."""
    return layout.partition("@")[2].partition("+")[0]


def _numbers(version: str) -> tuple[int, ...] | None:
    parts = version.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        return None
    numbers = [int(part) for part in parts]
    while numbers and numbers[-1] == 0:  # 1.2 and 1.2.0 are the same
        numbers.pop()
    return tuple(numbers)
