"""Videos as runs of tokens: equal to the published processor's, ragged, sliced, of any shape, counted without pixels.

`golden/packed_video.json` has what the published MiniCPM-V 4.5 processor made of the same frames and temporal ids.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.video_utils import VideoMetadata

from tests.media.clips import write_video
from tunesmith.media.frame_budget import PackingRules
from tunesmith.models.families.minicpmv.image_processor import MiniCPMVImageProcessor
from tunesmith.models.families.minicpmv.video_processor import MiniCPMVVideoProcessor, ProcessedVideo

GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parent / "golden" / "packed_video.json").read_text())
RUN = "<image><unk><unk><unk><unk></image>"
SLICE = "<slice><unk><unk><unk><unk></slice>"
HIGH_FPS = PackingRules(fps=15, double_below_s=30, max_packing=3, max_groups=43, max_frames=128)


def _processor(*, is_3d: bool = True, packing: PackingRules | None = None) -> MiniCPMVVideoProcessor:
    pictures = MiniCPMVImageProcessor(image_feature_size=4, max_slice_nums=9, scale_resolution=448, patch_size=14)
    processor = MiniCPMVVideoProcessor(pictures, is_3d=is_3d)
    processor.packing = packing
    return processor


def _frames(num_frames: int, width: int, height: int, *, seed: int = 0) -> torch.Tensor:
    """(T, 3, H, W) of noise."""
    drawn = np.random.default_rng(seed)
    pixels = drawn.integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _metadata(indices: list[int], *, total: int, fps: float) -> VideoMetadata:
    return VideoMetadata(total_num_frames=total, fps=fps, frames_indices=indices)


@pytest.mark.parametrize("case", [case for case in GOLDEN if case["groups"]])
def test_packed_frames_are_the_published_ones(case: dict[str, Any]) -> None:
    # at ten frames a second a frame's number is its temporal id
    ids = [number for group in case["groups"] for number in group]
    packing = max(len(group) for group in case["groups"])
    rules = PackingRules(fps=10, max_packing=packing, max_groups=1)
    frames = _frames(case["num_frames"], case["width"], case["height"], seed=case["seed"])
    options = {"video_metadata": [_metadata(ids, total=40, fps=10.0)], "max_slice_nums": case["max_slice_nums"]}
    (video,) = _processor(packing=rules)([frames], **options)
    _assert_published(video, case)


@pytest.mark.parametrize("case", [case for case in GOLDEN if not case["groups"]])
def test_frames_of_models_without_a_3d_resampler_are_pictures(case: dict[str, Any]) -> None:
    frames = _frames(case["num_frames"], case["width"], case["height"], seed=case["seed"])
    metadata = _metadata([0, 5], total=10, fps=5.0)
    (video,) = _processor(is_3d=False)([frames], video_metadata=[metadata])
    _assert_published(video, case)
    assert set(video.visual.group_sizes.tolist()) == {1}


def test_128_frames_in_43_groups_are_2752_tokens() -> None:
    indices = list(range(0, 384, 3))
    processor = MiniCPMVVideoProcessor(MiniCPMVImageProcessor(), is_3d=True)
    processor.packing = HIGH_FPS
    blank = torch.zeros((128, 3, 720, 1280), dtype=torch.uint8, device="meta")
    (video,) = processor([blank], video_metadata=[_metadata(indices, total=384, fps=30.0)])
    assert video.visual.group_sizes.tolist() == [3] * 42 + [2]
    assert video.visual.temporal_ids.tolist() == list(range(128))
    assert video.text.count("<unk>") == 2752
    assert video.text.count("<image>") == 43


def test_without_rules_every_frame_has_its_own_run_and_its_time() -> None:
    (video,) = _processor()([_frames(3, 40, 30)], video_metadata=[_metadata([0, 15, 29], total=30, fps=15.0)])
    assert video.text == "\n".join([RUN] * 3)
    assert video.visual.group_sizes.tolist() == [1, 1, 1]
    assert video.visual.temporal_ids.tolist() == [0, 10, 19]


def test_frames_that_nothing_is_known_of_are_stills() -> None:
    (video,) = _processor(packing=HIGH_FPS)([_frames(4, 40, 30)])
    assert video.text == "\n".join([RUN] * 4)
    assert video.visual.temporal_ids.tolist() == [-1] * 4


def test_metadata_may_be_a_mapping_and_leave_out_what_all_frames_say() -> None:
    (video,) = _processor()([_frames(3, 40, 30)], video_metadata=[{"fps": 2.0}])
    assert video.visual.temporal_ids.tolist() == [0, 5, 10]


def test_one_frame_is_one_group() -> None:
    metadata = [_metadata([2], total=5, fps=25.0)]
    (video,) = _processor(packing=HIGH_FPS)([_frames(1, 64, 48)], video_metadata=metadata)
    assert (video.text, video.visual.group_sizes.tolist()) == (RUN, [1])
    assert video.visual.temporal_ids.tolist() == [1]


def test_several_videos_have_each_their_own_groups() -> None:
    rules = PackingRules(fps=10, max_packing=2, max_groups=2)
    metadata = [_metadata([0, 10, 20, 30], total=40, fps=10.0), _metadata([0, 1], total=2, fps=10.0)]
    videos = _processor(packing=rules)([_frames(4, 40, 30), _frames(2, 30, 40)], video_metadata=metadata)
    assert [video.visual.group_sizes.tolist() for video in videos] == [[2, 2], [1, 1]]


def test_frames_may_differ_in_size() -> None:
    pictures = [Image.new("RGB", size) for size in ((64, 48), (300, 100), (90, 160))]
    metadata = [_metadata([0, 10, 20], total=30, fps=10.0)]
    rules = PackingRules(fps=10, max_packing=3, max_groups=1)
    (video,) = _processor(packing=rules)([pictures], video_metadata=metadata)
    assert video.visual.tgt_sizes.tolist() == [[28, 37], [18, 55], [43, 24]]
    assert (video.text, video.visual.group_sizes.tolist()) == (RUN, [3])


def test_slices_of_a_group_must_be_alike() -> None:
    pictures = [Image.new("RGB", size) for size in ((900, 300), (300, 900))]
    rules = PackingRules(fps=10, max_packing=2, max_groups=1)
    processor = _processor(packing=rules)
    with pytest.raises(ValueError, match="one size, or max_slice_nums 1"):
        processor([pictures], video_metadata=[_metadata([0, 10], total=20, fps=10.0)], max_slice_nums=2)


def test_pictures_of_different_shapes_are_sliced_each_their_way() -> None:
    pictures = [Image.new("RGB", (64, 48)), Image.new("RGB", (900, 300))]
    (video,) = _processor(is_3d=False)([pictures])
    assert video.text == f"{RUN}\n{RUN}{SLICE}{SLICE}"


@settings(deadline=None, max_examples=30)
@given(
    size=st.tuples(st.integers(8, 700), st.integers(8, 700)),
    num_frames=st.integers(1, 12),
    is_3d=st.booleans(),
    max_groups=st.integers(1, 6),
)
def test_shapes_alone_give_the_same_text_and_sizes(
    size: tuple[int, int], num_frames: int, is_3d: bool, max_groups: int
) -> None:
    rules = PackingRules(fps=5, double_below_s=1, max_packing=3, max_groups=max_groups) if is_3d else None
    processor = _processor(is_3d=is_3d, packing=rules)
    metadata = _metadata(list(range(num_frames)), total=num_frames, fps=6.0)
    frames = _frames(num_frames, *size)
    real, blank = (processor([pixels], video_metadata=[metadata])[0] for pixels in (frames, frames.to("meta")))
    assert real.text == blank.text
    for name in ("tgt_sizes", "temporal_ids", "group_sizes"):
        assert torch.equal(*(getattr(video.visual, name) for video in (real, blank)))
    assert real.visual.patches.shape == blank.visual.patches.shape


def test_a_file_is_planned_by_the_packing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", num_frames=48)
    rules = PackingRules(fps=10, max_packing=3, max_groups=5)
    (video,) = _processor(packing=rules)([str(path)])
    # 2 s: 20 frames are asked for, and 5 groups of 3 hold 15
    assert video.visual.group_sizes.tolist() == [3] * 5
    assert video.visual.temporal_ids.tolist() == [0, 2, 3, 5, 6, 7, 8, 10, 11, 13, 14, 15, 17, 18, 19]


def test_a_file_without_packing_has_two_frames_a_second(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", num_frames=48)
    (video,) = _processor()([path])
    assert video.visual.temporal_ids.tolist() == [0, 6, 13, 19]


@pytest.mark.parametrize("packing", [None, PackingRules(fps=10, max_packing=3, max_groups=5)])
def test_a_call_may_say_which_frames_of_a_file_it_wants(tmp_path: Path, packing: PackingRules | None) -> None:
    path = write_video(tmp_path / "clip.mp4", num_frames=48)
    processor = _processor(packing=packing)
    (by_number,) = processor([path], num_frames=3)
    (by_rate,) = processor([path], fps=1)
    # of 2 s: 3 frames evenly, and one a second
    assert len(by_number.visual.tgt_sizes) == 3
    assert len(by_rate.visual.tgt_sizes) == 2


@pytest.mark.parametrize(
    ("video", "metadata", "message"),
    [
        (_frames(3, 40, 30), _metadata([0, 1], total=9, fps=5.0), "a video of 3 frames, whose video_metadata says 2"),
        ([], None, "a video without frames"),
        (torch.zeros(3, 40, 30), None, r"a video is \(T, 3, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(video: Any, metadata: VideoMetadata | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _processor()([video], video_metadata=[metadata])


def test_each_video_needs_its_metadata() -> None:
    with pytest.raises(ValueError, match="2 videos with 1 video_metadata"):
        _processor()([_frames(1, 20, 20)] * 2, video_metadata=[{"fps": 1.0}])


def _assert_published(video: ProcessedVideo, case: dict[str, Any]) -> None:
    visual = video.visual
    assert f"<A>{video.text}\n<B>" == case["text"]
    assert visual.tgt_sizes.tolist() == case["tgt_sizes"]
    runs = torch.split(visual.temporal_ids, visual.group_sizes.tolist())
    assert [run.tolist() for run in runs] == case["temporal_ids"]
    slices = torch.split(visual.patches.double(), visual.tgt_sizes.prod(dim=1).tolist())
    assert [float(pixels.sum()) for pixels in slices] == pytest.approx(case["sums"], abs=0.5)
    assert [float((pixels**2).sum()) for pixels in slices] == pytest.approx(case["squares"], rel=1e-6)
