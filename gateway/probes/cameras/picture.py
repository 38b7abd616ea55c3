"""What is measured of a key frame, and what a run of them says: black, frozen, blurred, moved. Pure.

reference/criteria.md OD-5. The limits marked PROP there are settings here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.probes.outcome import Reason, State

ACROSS: Final = 32
DOWN: Final = 18
_BLOCK_PIXELS: Final = 400
_CHANGED: Final = 3.0  # a block changed when its mean did by as many levels of 255, or its pixels by as much (RMS)
_GRAY: Final = 2.0  # below this distance from gray, of 128, a picture has no colour: infrared, at night
_STILLS_NEEDED: Final = 2
_MOVES_NEEDED: Final = 2
_Area = tuple[int, int, int, int]  # left, top, width, height in percent, as a mask is written
_FLAT: Final = 25.0  # a variance below this shows nothing that could be found again: no reference, no view to compare


class Picture(msgspec.Struct, frozen=True, gc=False):
    """The numbers of one frame. Luminance is 0 to 255 over the whole picture without masks; `blocks` are 32 by 18."""

    width: int
    height: int
    mean: float
    variance: float
    sharpness: float  # variance of the Laplacian at 640 by 360
    colour: float  # mean distance from gray, 0 to 128
    hash: str
    blocks: list[float]
    texture: list[int]

    @property
    def has_colour(self) -> bool:
        """Whether it was taken by daylight or lamps, not in infrared."""
        return self.colour >= _GRAY


class Reference(msgspec.Struct, frozen=True):
    """A good view: what later ones are held against."""

    sharpness: float
    blocks: list[float]
    taken_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """See `Camera`. `masked` are block numbers."""

    black_below: float
    dark_below: float
    still_below: float
    frozen_after_s: float
    frozen_dark_s: float
    blurred_below: float
    moved_below: float
    masked: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered from one run to the next; a gateway that starts anew begins anew."""

    picture: Picture | None = None
    stills: int = 0  # comparisons in a row in which nothing changed
    still_since_ms: int = 0  # on the boot clock: when the first of those pictures was taken
    moves: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a picture shows. `change` is RMS in levels of 255, `likeness` -1 to 1; None: nothing to compare."""

    state: State
    reason: Reason
    past: Past
    change: float | None = None
    changed_area: _Area | None = None
    likeness: float | None = None
    is_reference: bool = False  # fit to become one
    note: str = ""


def mask_blocks(masks: Sequence[Sequence[float]]) -> frozenset[int]:
    """Return the blocks that masks touch; each is left, top, width, height in percent. Raises ValueError."""
    found: set[int] = set()
    for mask in masks:
        if len(mask) != 4 or not all(0 <= edge <= 100 for edge in mask) or 0 in mask[2:]:
            raise ValueError(f"a mask is [left, top, width, height] in percent, not {list(mask)}")
        left, top, width, height = mask
        across = range(int(left * ACROSS / 100), min(ACROSS, math.ceil((left + width) * ACROSS / 100)))
        down = range(int(top * DOWN / 100), min(DOWN, math.ceil((top + height) * DOWN / 100)))
        found |= {y * ACROSS + x for y in down for x in across}
    if len(found) > ACROSS * DOWN // 2:
        raise ValueError("masks cover more than half of the picture")
    return frozenset(found)


def judge(
    picture: Picture, past: Past, reference: Reference | None, limits: Limits, now_ms: int, *, night: bool
) -> Verdict:
    """Say what a picture shows. `now_ms` is on the boot clock; `night`: black is no fault now.

    The order is that of certainty: a black picture is also still and blurred, a frozen one may be sharp.
    """
    seen = [block for block in range(ACROSS * DOWN) if block not in limits.masked]
    change, area = _change(past.picture, picture, seen)
    still = change is not None and change < limits.still_below
    stills = past.stills + 1 if still else 0
    since_ms = past.still_since_ms if still else now_ms
    dark = picture.mean < limits.dark_below
    # Sensor noise alone moves a live picture by more than `still_below`, but by night noise reduction can take all of
    # it away. A dark picture is therefore frozen only when it has stood for longer than a night lasts.
    frozen_s = limits.frozen_dark_s if dark else limits.frozen_after_s
    frozen = stills >= _STILLS_NEEDED and now_ms - since_ms >= frozen_s * 1000
    flat = picture.variance < _FLAT
    likeness = None if reference is None or flat else _likeness(reference.blocks, picture.blocks, seen)
    away = likeness is not None and likeness < limits.moved_below
    moves = past.moves + 1 if away else 0
    now = Past(picture, stills, since_ms, moves)

    def verdict(state: State, reason: Reason, note: str = "", *, fit: bool = False) -> Verdict:
        return Verdict(state, reason, now, change, area, likeness, fit, note)

    if picture.mean < limits.black_below:
        if night:
            return verdict(State.UNKNOWN, Reason.NONE, "black, in the hours in which it may be: not judged")
        return verdict(State.FAIL, Reason.BLACK)
    if frozen:
        return verdict(State.FAIL, Reason.FROZEN, f"{stills + 1} pictures without a change")
    if reference is not None and not dark and picture.sharpness < limits.blurred_below * reference.sharpness:
        return verdict(State.FAIL, Reason.BLURRED)
    if reference is not None and flat and not dark:
        return verdict(State.FAIL, Reason.BLURRED, "one even area")
    if moves >= _MOVES_NEEDED:
        return verdict(State.DEGRADED, Reason.MOVED, "a person should look")
    return verdict(State.OK, Reason.NONE, fit=not dark and not flat and not still)


def _change(before: Picture | None, now: Picture, seen: Sequence[int]) -> tuple[float | None, _Area | None]:
    """Return the RMS change in levels, as the blocks' means and textures give it, and where it was."""
    if before is None or not seen:
        return None, None
    squares = 0.0
    changed = []
    for block in seen:
        mean = now.blocks[block] - before.blocks[block]
        texture = (now.texture[block] - before.texture[block]) ** 2 / _BLOCK_PIXELS
        squares += mean * mean + texture
        if abs(mean) > _CHANGED or texture > _CHANGED**2:
            changed.append(block)
    return math.sqrt(squares / len(seen)), _area(changed)


def _area(blocks: Sequence[int]) -> _Area | None:
    if not blocks:
        return None
    across, down = [block % ACROSS for block in blocks], [block // ACROSS for block in blocks]
    left, top = int(min(across) * 100 / ACROSS), int(min(down) * 100 / DOWN)
    return left, top, math.ceil((max(across) + 1) * 100 / ACROSS) - left, math.ceil((max(down) + 1) * 100 / DOWN) - top


def _likeness(reference: Sequence[float], blocks: Sequence[float], seen: Sequence[int]) -> float:
    """Return the correlation of two views, -1 to 1: neither brightness nor contrast matters."""
    pairs = [(reference[block], blocks[block]) for block in seen]
    first = sum(one for one, _ in pairs) / len(pairs)
    second = sum(other for _, other in pairs) / len(pairs)
    products = sum((one - first) * (other - second) for one, other in pairs)
    size = math.sqrt(sum((one - first) ** 2 for one, _ in pairs) * sum((other - second) ** 2 for _, other in pairs))
    return products / size if size else 0.0
