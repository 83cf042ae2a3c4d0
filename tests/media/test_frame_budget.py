"""Frames and groups of a video: the published samplers' figures, the bounds, and which frames are taken."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.media.frame_budget import FrameBudget, PackingRules, frame_budget, middle_frames, plan_packed_frames

TOKENS_A_GROUP = 64

# seconds, frames a second: frames, packing, groups, tokens
CHAT = {
    (20, 1): (20, 1, 20, 1280),
    (20, 3): (60, 1, 60, 3840),
    (20, 5): (100, 1, 100, 6400),
    (20, 10): (200, 2, 100, 6400),
    (60, 1): (60, 1, 60, 3840),
    (60, 3): (180, 1, 180, 11520),
    (60, 5): (300, 2, 150, 9600),
    (60, 10): (540, 3, 180, 11520),
    (300, 1): (300, 2, 150, 9600),
    (300, 3): (540, 3, 180, 11520),
    (300, 5): (540, 3, 180, 11520),
    (300, 10): (540, 3, 180, 11520),
}
DOUBLED = CHAT | {
    (20, 1): (40, 2, 20, 1280),
    (20, 3): (120, 2, 60, 3840),
    (20, 5): (200, 2, 100, 6400),
}


@pytest.mark.parametrize(("case", "expected"), CHAT.items())
def test_budgets_are_those_of_the_published_chat_example(
    case: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    assert _budget(*case, rules=PackingRules(fps=case[1])) == expected


@pytest.mark.parametrize(("case", "expected"), DOUBLED.items())
def test_budgets_are_those_of_the_published_web_demo_where_short_clips_are_doubled(
    case: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    assert _budget(*case, rules=PackingRules(fps=case[1], double_below_s=30)) == expected


def test_doubling_shows_twice_the_frames_for_the_same_tokens() -> None:
    for fps in (1, 2, 3, 4, 5):
        plain, doubled = (_budget(20, fps, rules=PackingRules(fps=fps, double_below_s=below)) for below in (0, 30))
        assert (doubled[0], doubled[3]) == (2 * plain[0], plain[3])


def test_a_clip_of_exactly_the_duration_is_not_doubled() -> None:
    rules = PackingRules(fps=2, double_below_s=30)
    assert frame_budget(30, 30, rules=rules) == (60, 1)
    assert frame_budget(29.9, 30, rules=rules) == (120, 2)


def test_nothing_is_doubled_where_a_group_holds_one_frame() -> None:
    assert frame_budget(20, 30, rules=PackingRules(fps=2, double_below_s=30, max_packing=1)) == (40, 1)


def test_a_cap_of_128_frames_makes_43_groups_that_fit_a_cutoff_of_3072() -> None:
    rules = PackingRules(fps=15, double_below_s=30, max_packing=3, max_groups=43, max_frames=128)
    budget = frame_budget(12, 30, rules=rules)
    assert budget == (128, 3)
    assert math.ceil(128 / 3) * TOKENS_A_GROUP == 2752


def test_a_short_clip_fills_a_small_cap_of_frames() -> None:
    rules = PackingRules(fps=15, max_packing=3, max_groups=1, max_frames=3)
    assert frame_budget(0.9, 30, rules=rules) == (3, 3)
    assert frame_budget(0.12, 30, rules=rules) == (2, 2)


@pytest.mark.parametrize(
    ("duration_s", "native_fps", "expected"),
    [
        (0.2, 25, FrameBudget(1, 1)),
        (1 / 30, 30, FrameBudget(1, 1)),
        (60.9, 30, FrameBudget(180, 1)),
        (20, 2, FrameBudget(40, 1)),
        (7200, 24, FrameBudget(540, 3)),
    ],
)
def test_short_slow_and_long_videos_at_three_frames_a_second(
    duration_s: float, native_fps: float, expected: FrameBudget
) -> None:
    assert frame_budget(duration_s, native_fps, rules=PackingRules(fps=3)) == expected


rules = st.builds(
    PackingRules,
    fps=st.floats(0.05, 60),
    double_below_s=st.sampled_from([0.0, 10.0, 30.0]),
    max_packing=st.integers(1, 6),
    max_groups=st.integers(1, 200),
    max_frames=st.none() | st.integers(1, 600),
)
num_file_frames = st.integers(1, 20_000)
rates = st.sampled_from([0.5, 10.0, 12.5, 24000 / 1001, 25.0, 30000 / 1001, 60.0])


@given(rules=rules, total=num_file_frames, native_fps=rates)
def test_no_budget_breaks_a_bound(rules: PackingRules, total: int, native_fps: float) -> None:
    num_frames, packing = frame_budget(total / native_fps, native_fps, rules=rules)
    assert 1 <= num_frames <= min(total, rules.max_frames or total)
    assert 1 <= packing <= rules.max_packing
    assert math.ceil(num_frames / packing) <= rules.max_groups


@given(rules=rules, first=num_file_frames, second=num_file_frames, native_fps=rates)
def test_a_longer_video_never_has_fewer_frames(rules: PackingRules, first: int, second: int, native_fps: float) -> None:
    alike = replace(rules, double_below_s=0.0)
    shorter, longer = (frame_budget(total / native_fps, native_fps, rules=alike) for total in sorted((first, second)))
    assert shorter.num_frames <= longer.num_frames
    assert shorter.packing <= longer.packing


@given(rules=rules, total=num_file_frames, native_fps=rates)
def test_planned_frames_rise_and_exist(rules: PackingRules, total: int, native_fps: float) -> None:
    indices = plan_packed_frames(total, native_fps, rules=rules)
    assert list(indices) == sorted(set(indices))
    assert indices[0] >= 0 and indices[-1] < total


@pytest.mark.parametrize(
    ("total", "wanted", "expected"),
    [(10, 1, (5,)), (10, 3, (1, 5, 8)), (10, 4, (1, 3, 6, 8)), (7, 7, (0, 1, 2, 3, 4, 5, 6)), (300, 2, (75, 225))],
)
def test_frames_are_the_middles_of_equal_parts(total: int, wanted: int, expected: tuple[int, ...]) -> None:
    assert middle_frames(total, wanted) == expected


def _budget(duration_s: int, fps: int, *, rules: PackingRules) -> tuple[int, int, int, int]:
    """Frames, packing, groups and tokens of a clip of 30 frames a second."""
    num_frames, packing = frame_budget(duration_s, 30, rules=replace(rules, fps=fps))
    groups = math.ceil(num_frames / packing)
    return num_frames, packing, groups, groups * TOKENS_A_GROUP
