from __future__ import annotations

import pytest
from transformers import (
    Glm4vVideoProcessor,
    InternVLVideoProcessor,
    LlavaOnevisionVideoProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLVideoProcessor,
)

from tunesmith.config.model import MediaSettings
from tunesmith.errors import UsageError
from tunesmith.models.video_limits import has_frame_budget, limit_frames, settle_frame_cap


def test_which_processors_have_a_budget_for_frames() -> None:
    assert has_frame_budget(Qwen2VLVideoProcessor())
    assert not has_frame_budget(Qwen3VLVideoProcessor())
    assert not has_frame_budget(Glm4vVideoProcessor())
    assert not has_frame_budget(InternVLVideoProcessor())
    assert not has_frame_budget(LlavaOnevisionVideoProcessor())


def test_one_bound_never_crosses_the_processors_other_one() -> None:
    processor = Qwen2VLVideoProcessor(size={"shortest_edge": 1000, "longest_edge": 50_000})

    assert limit_frames(processor, MediaSettings()) is None
    assert limit_frames(processor, MediaSettings(video_max_pixels=500)) == {"shortest_edge": 500, "longest_edge": 500}
    assert limit_frames(processor, MediaSettings(video_min_pixels=60_000)) == {
        "shortest_edge": 60_000,
        "longest_edge": 60_000,
    }


def test_contradicting_bounds() -> None:
    with pytest.raises(UsageError, match="video_min_pixels 5000 is larger than video_max_pixels 4000"):
        limit_frames(Qwen2VLVideoProcessor(), MediaSettings(video_min_pixels=5000, video_max_pixels=4000))


def test_an_open_cap_is_settled_and_a_chosen_one_kept() -> None:
    left_open, chosen = Qwen2VLVideoProcessor(), Qwen2VLVideoProcessor(cap_pixels_per_frame=True)
    settle_frame_cap(left_open)
    settle_frame_cap(chosen)
    assert (left_open.cap_pixels_per_frame, chosen.cap_pixels_per_frame) == (False, True)
