"""What a run of pictures says, from numbers alone."""

from __future__ import annotations

import random

import pytest

from gateway.probes.cameras.picture import Limits, Past, Picture, Reference, judge, mask_blocks
from gateway.probes.outcome import Reason, State

LIMITS = Limits(
    black_below=16, dark_below=50, still_below=0.5, frozen_after_s=600, frozen_dark_s=50_400, blurred_below=0.2,
    moved_below=0.5,
)  # fmt: skip


def picture(view: int = 1, mean: float = 120, sharpness: float = 400, variance: float = 900) -> Picture:
    chance = random.Random(view)
    blocks = [chance.uniform(0, 255) for _ in range(576)]
    return Picture(640, 360, mean, variance, sharpness, 20.0, "0" * 16, blocks, [0] * 576)


REFERENCE = Reference(400, picture().blocks, 0)


def test_a_covered_lens_is_blurred_and_by_night_not_judged() -> None:
    assert judge(picture(sharpness=50), Past(), REFERENCE, LIMITS, 0, night=False).reason is Reason.BLURRED
    assert judge(picture(variance=5), Past(), REFERENCE, LIMITS, 0, night=False).reason is Reason.BLURRED
    assert judge(picture(sharpness=50, mean=40), Past(), REFERENCE, LIMITS, 0, night=False).state is State.OK


def test_a_view_is_moved_when_two_pictures_in_a_row_say_so() -> None:
    first = judge(picture(2), Past(), REFERENCE, LIMITS, 0, night=False)
    assert (first.state, first.past.moves) == (State.OK, 1)
    second = judge(picture(3), first.past, REFERENCE, LIMITS, 300_000, night=False)
    assert (second.state, second.reason) == (State.DEGRADED, Reason.MOVED)
    assert judge(picture(1), first.past, REFERENCE, LIMITS, 300_000, night=False).past.moves == 0


@pytest.mark.parametrize(("mean", "needed"), [(120.0, 2), (30.0, 168)])
def test_a_still_scene_is_frozen_after_its_time_and_in_the_dark_after_a_night(mean: float, needed: int) -> None:
    past, reasons = Past(), []
    for turn in range(needed + 1):
        verdict = judge(picture(mean=mean), past, None, LIMITS, turn * 300_000, night=False)
        past = verdict.past
        reasons.append(verdict.reason)
    assert reasons[-2:] == [Reason.NONE, Reason.FROZEN]


def test_a_mask_covers_the_blocks_it_touches_and_leaves_half() -> None:
    assert mask_blocks([[0, 0, 6.25, 5.0]]) == {0, 1}
    for wrong in ([0, 0, 100, 60], [0, 0, 0, 5], [0, 0, 101, 5], [1, 2, 3]):
        with pytest.raises(ValueError, match="mask"):
            mask_blocks([wrong])
