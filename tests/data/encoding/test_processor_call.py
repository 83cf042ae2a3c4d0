from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.data.blank import noise
from tunesmith.data.encoding.media_shape import VideoShape
from tunesmith.data.encoding.processor_call import call_processor, is_told_in_one_call
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]
SLOW = VideoShape(64, 64, (0, 20, 40, 60), 80, 20.0)
FAST = VideoShape(64, 64, (0, 10, 20, 30), 40, 20.0)


def test_times_come_from_the_frames_that_were_taken(preprocessor_of: PreprocessorOf) -> None:
    texts = ["<|video_pad|><|video_pad|>"]
    outputs = call_processor(
        preprocessor_of("qwen2_5_vl"), texts=texts, rows=[[noise(SLOW), noise(FAST)]], return_tensors="pt"
    )
    assert outputs["second_per_grid_ts"].tolist() == [2.0, 1.0]


def test_a_processor_that_takes_one_rate_gets_that_of_the_video(preprocessor_of: PreprocessorOf) -> None:
    for shape, seconds in ((SLOW, 2.0), (FAST, 1.0)):
        outputs = call_processor(
            preprocessor_of("qwen2_5_omni"), texts=["<|VIDEO|>"], rows=[[noise(shape)]], return_tensors="pt"
        )
        assert outputs["video_second_per_grid"].tolist() == [seconds]


@pytest.mark.parametrize(
    ("shapes", "is_told"),
    [
        ([SLOW, FAST], True),
        ([replace(SLOW, num_sound_samples=800), replace(SLOW, num_sound_samples=900)], True),
        ([replace(SLOW, num_sound_samples=800), replace(FAST, num_sound_samples=900)], False),
    ],
)
def test_one_call_tells_one_rate_for_woven_sound(shapes: list[VideoShape], is_told: bool) -> None:
    assert is_told_in_one_call([noise(shape) for shape in shapes]) is is_told
