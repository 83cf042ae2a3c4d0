from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.models.families.minicpmv.pictures import draw
from tunesmith.models.families.minicpmv.given_media import flat_pictures, flat_sounds, flat_videos, num_by_text

PICTURE, OTHER = draw((20, 20)), draw((30, 20))
FRAMES = torch.zeros((2, 3, 20, 20), dtype=torch.uint8)


def test_pictures_come_one_by_one_whatever_lists_they_are_in() -> None:
    assert flat_pictures(None) == []
    assert flat_pictures(PICTURE) == [PICTURE]
    assert flat_pictures([PICTURE, OTHER]) == flat_pictures([[PICTURE], [], [OTHER]]) == [PICTURE, OTHER]


def test_a_path_is_opened(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "a.png")

    (opened,) = flat_pictures(str(tmp_path / "a.png"))

    assert np.array_equal(np.asarray(opened), np.asarray(PICTURE))


def test_a_list_of_pictures_is_one_video_and_a_list_of_such_lists_several() -> None:
    assert flat_videos([PICTURE, OTHER]) == [[PICTURE, OTHER]]
    assert flat_videos([[PICTURE, OTHER], [OTHER]]) == [[PICTURE, OTHER], [OTHER]]
    assert flat_videos([[[PICTURE, OTHER]], [], [[OTHER]]]) == [[PICTURE, OTHER], [OTHER]]


def test_frames_in_one_tensor_and_files_are_a_video_each() -> None:
    assert flat_videos(FRAMES) == [FRAMES] == flat_videos([[FRAMES], []])
    assert flat_videos(["a.mp4", ["b.mp4"]]) == ["a.mp4", "b.mp4"]
    assert flat_videos(None) == flat_videos([]) == []


def test_sounds_are_arrays() -> None:
    sound = np.zeros(10, np.float32)

    assert [found.shape for found in flat_sounds([sound, [torch.zeros(5)]])] == [(10,), (5,)]
    assert flat_sounds(None) == []


def test_how_many_each_text_was_given() -> None:
    nested = [[PICTURE], [], [OTHER, OTHER]]

    assert num_by_text(nested, 3, flat=flat_pictures(nested)) == [1, 0, 2]
    assert num_by_text(nested, 2, flat=flat_pictures(nested)) is None
    assert num_by_text([PICTURE], 1, flat=[PICTURE]) is None


def test_lists_of_frames_are_not_lists_of_a_text() -> None:
    videos = [[PICTURE, OTHER, PICTURE]]

    assert num_by_text(videos, 1, flat=flat_videos(videos)) is None
    assert num_by_text([videos, []], 2, flat=flat_videos([videos, []])) == [1, 0]
