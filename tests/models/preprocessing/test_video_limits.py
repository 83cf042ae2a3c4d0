from __future__ import annotations

import pytest
from transformers import (
    Glm4vVideoProcessor,
    InternVLVideoProcessor,
    LlavaOnevisionVideoProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLVideoProcessor,
)

from tunesmith import log
from tunesmith.config.model import MediaSettings
from tunesmith.errors import UsageError
from tunesmith.media.frame_budget import PackingRules
from tunesmith.models.preprocessing.video_limits import has_frame_budget, limit_frames, settle_frame_cap, settle_packing


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


class _Packer:
    """A video processor of a model that packs frames, or of its older sister that does not."""

    def __init__(self, *, packs_frames: bool) -> None:
        self.packs_frames = packs_frames
        self.packing: PackingRules | None = None
        self.time_scale = 0.1


JOURNEY = MediaSettings(video_fps=15, video_maxlen=128, enable_high_fps=True, double_frame_duration=30)


def test_a_processor_that_packs_frames_is_told_the_rules() -> None:
    packer = _Packer(packs_frames=True)
    rules = settle_packing(packer, JOURNEY.model_copy(update={"time_scale": 0.2}))
    assert rules == packer.packing == PackingRules(15, double_below_s=30, max_packing=3, max_groups=43, max_frames=128)
    assert packer.time_scale == 0.2


def test_a_cap_that_is_not_set_leaves_the_published_number_of_groups() -> None:
    rules = settle_packing(_Packer(packs_frames=True), MediaSettings(enable_high_fps=True))
    assert rules == PackingRules(2, double_below_s=30, max_packing=3, max_groups=180, max_frames=None)


def test_without_enable_high_fps_frames_are_planned_as_for_every_model() -> None:
    packer = _Packer(packs_frames=True)
    assert settle_packing(packer, MediaSettings(time_scale=0.5)) is packer.packing is None
    assert packer.time_scale == 0.5


@pytest.mark.parametrize("processor", [Qwen2VLVideoProcessor(), _Packer(packs_frames=False)])
def test_a_model_without_packing_says_once_that_the_keys_do_nothing(
    processor: object, caplog: pytest.LogCaptureFixture
) -> None:
    log.forget_said()
    caplog.set_level("INFO", logger="tunesmith")
    assert settle_packing(processor, JOURNEY) is None
    assert settle_packing(processor, JOURNEY) is None
    (message,) = [record.message for record in caplog.records if "enable_high_fps" in record.message]
    assert message.endswith("have no effect, and a video has video_fps 15 frames a second, at most 128")
