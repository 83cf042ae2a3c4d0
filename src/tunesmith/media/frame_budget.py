"""How many frames of a video a model sees that packs several frames into one run of tokens, and which frames.

The rules are those of MiniCPM-V 4.5's published samplers: `encode_video` of its model card, and with `double_below_s`
that of its web demo, which shows twice the frames of a short clip for the same tokens. Pure numbers: knows nothing of
files, settings or tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

MAX_GROUPS = 180
"""Groups of a video at most, as published: 11,520 tokens at 64 a group."""

_DOUBLED_UP_TO_FPS = 5
"""A higher rate is taken as wanted; only a lower one is doubled for short clips."""


class FrameBudget(NamedTuple):
    """`num_frames` of a video, `packing` consecutive ones of which share one run of tokens (the last has fewer)."""

    num_frames: int
    packing: int


@dataclass(frozen=True, slots=True)
class PackingRules:
    """What a budget is made by.

    fps:            frames taken from each second
    double_below_s: videos shorter than this get twice the frames, two a group, if fps is 5 or less; 0: none does
    max_packing:    frames a group, at most
    max_groups:     groups a video, at most
    max_frames:     frames a video, at most; None: as many as max_groups holds
    """

    fps: float
    double_below_s: float = 0.0
    max_packing: int = 3
    max_groups: int = MAX_GROUPS
    max_frames: int | None = None


def frame_budget(duration_s: float, native_fps: float, *, rules: PackingRules) -> FrameBudget:
    """The frames of a video of `duration_s` with `native_fps` frames a second, and how many go into a group.

    One frame a group where max_groups allows it, more where not, and from max_packing on fewer frames than `fps` asks
    for. As published, only whole seconds count for whether it does, so that 180.1 frames are not packed by two; under
    a max_frames of one's own everything counts. Where the published samplers break their own bounds they are held: a
    few frames above max_groups are left out (60.9 s at 3 a second would be 183), a video slower than `fps` gives each
    of its frames once, and the shortest has one frame.
    """
    doubled = duration_s < rules.double_below_s and rules.fps <= _DOUBLED_UP_TO_FPS and rules.max_packing > 1
    fps = min(2 * rules.fps if doubled else rules.fps, native_fps)
    packing = 2 if doubled else 1
    counted_s = int(duration_s) if rules.max_frames is None else duration_s
    if fps * counted_s > packing * rules.max_groups:
        packing = min(math.ceil(duration_s * fps / rules.max_groups), rules.max_packing)
    num_frames = min(round(duration_s * fps), packing * rules.max_groups)
    if rules.max_frames is not None:
        num_frames = min(num_frames, rules.max_frames)
    return FrameBudget(max(1, num_frames), packing)


def plan_packed_frames(num_file_frames: int, native_fps: float, *, rules: PackingRules) -> tuple[int, ...]:
    """The numbers of the frames that a model gets to see of a video of `num_file_frames`, rising."""
    budget = frame_budget(num_file_frames / native_fps, native_fps, rules=rules)
    return middle_frames(num_file_frames, budget.num_frames)


def middle_frames(num_file_frames: int, num_frames: int) -> tuple[int, ...]:
    """The middle frame of each of `num_frames` equal parts of a video, rising."""
    gap = num_file_frames / num_frames
    return tuple(int(number * gap + gap / 2) for number in range(num_frames))
