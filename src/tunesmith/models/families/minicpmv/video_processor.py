"""A video as MiniCPM-V takes it: each frame cut like a picture, and for 4.5 several of them in one run of tokens.

Models with the 3-D resampler (4.5) are told when each frame was taken. To the others a video is a row of pictures
without numbers. Frames that are handed over are taken as they come; those of a file are chosen as a call asks, else by
the packing, or as for every model by the settings' defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from tunesmith.config.model import MediaSettings
from tunesmith.media.fetch import Reference
from tunesmith.media.frame_budget import PackingRules, frame_budget, plan_packed_frames
from tunesmith.media.video import plan_frames, probe_video, read_frames
from tunesmith.models.families.minicpmv.image_processor import MiniCPMVImageProcessor
from tunesmith.models.families.minicpmv.pixels import Picture, picture_size
from tunesmith.models.families.minicpmv.placeholders import frames_text
from tunesmith.models.families.minicpmv.temporal import group_lengths, temporal_ids
from tunesmith.models.families.minicpmv.visual_inputs import VisualInputs, join_visuals

Video = Tensor | np.ndarray | Sequence[Picture] | str | Path
"""Frames: (T, 3, H, W) uint8, also on "meta"; (T, H, W, 3); pictures, which may differ in size. Or a file."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class ProcessedVideo:
    """A video's slices in the order of their runs of tokens, and the text that stands in its marker's place."""

    visual: VisualInputs
    text: str


@dataclass(frozen=True, slots=True)
class _Timing:
    """Which frames of a video are there: `indices` of its `num_file_frames`, `file_fps` of them a second."""

    indices: tuple[int, ...]
    num_file_frames: int
    file_fps: float


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which frames of files a call asks for; None: as without it."""

    num_frames: int | None
    fps: float | None


class MiniCPMVVideoProcessor:
    """Cuts frames by `image_processor`, each into max_slice_nums slices at most: as published 1 for 4.5, 2 for others.

    packs_frames: whether the model has the 3-D resampler; only then packing and time_scale mean something
    packing:      how many frames share a run of tokens; None: each has its own
    time_scale:   seconds between two temporal ids
    """

    size = None
    """No budget of pixels of its own, which transformers' video processors have under this name."""

    def __init__(self, image_processor: MiniCPMVImageProcessor, *, is_3d: bool) -> None:
        self._image_processor = image_processor
        self.packs_frames = is_3d
        self.max_slice_nums = 1 if is_3d else 2
        self.packing: PackingRules | None = None
        self.time_scale = 0.1

    def __call__(self, videos: Sequence[Video], **options: Any) -> list[ProcessedVideo]:
        """One result a video. Options: `video_metadata` (one a video) and `max_slice_nums`; of files also `num_frames`,
        evenly from the first to the last, or `fps`, as many at most as the settings' default. Others mean nothing here.

        Frames without metadata that has a frame rate are stills: nothing says when they were taken. Raises ValueError
        for videos without frames, metadata that does not fit them, and files that cannot be read.
        """
        described = options.get("video_metadata") or [None] * len(videos)
        if len(described) != len(videos):
            raise ValueError(f"{len(videos)} videos with {len(described)} video_metadata; give one for each")
        max_slices: int = options.get("max_slice_nums") or self.max_slice_nums
        wanted = _Wanted(options.get("num_frames"), options.get("fps"))
        return [
            self._process(*self._frames(*pair, wanted=wanted), max_slices=max_slices)
            for pair in zip(videos, described, strict=True)
        ]

    def _process(self, frames: list[Picture], timing: _Timing | None, *, max_slices: int) -> ProcessedVideo:
        if not frames:
            raise ValueError("a video without frames")
        cuts = self._cut(frames, max_slices=max_slices)
        if timing is not None and self.packs_frames:
            cuts = _timed(cuts, timing, time_scale=self.time_scale)
        packing = self._packing(timing)
        groups = _grouped(cuts, packing)
        grids = [self._grid(group, max_slices=max_slices) for group in _grouped(frames, packing)]
        text = "\n".join(frames_text(self._image_processor.marks, 1, grid) for grid in grids)
        return ProcessedVideo(join_visuals([_interleaved(group) for group in groups]), text)

    def _frames(
        self, video: Video, metadata: Mapping[str, Any] | None, *, wanted: _Wanted
    ) -> tuple[list[Picture], _Timing | None]:
        """The frames that the model sees, and when they were taken where that is known."""
        if not isinstance(video, str | Path):
            return _frames_of(video), _timing(metadata, len(video))
        media, settings = Reference(str(video), str(video)), MediaSettings()
        info = probe_video(media)
        fps = info.fps or settings.video_fps
        if wanted.num_frames is not None:
            # evenly, however long it is
            indices = plan_frames(replace(info, duration_s=None), fps=fps, max_frames=wanted.num_frames)
        elif self.packing is None or wanted.fps is not None:
            indices = plan_frames(info, fps=wanted.fps or settings.video_fps, max_frames=settings.max_frames)
        else:
            indices = plan_packed_frames(info.num_frames, fps, rules=self.packing)
        return _frames_of(read_frames(media, indices)), _Timing(indices, info.num_frames, fps)

    def _cut(self, frames: Sequence[Picture], *, max_slices: int) -> list[VisualInputs]:
        """The slices of each frame, their patches in one tensor."""
        if isinstance(frames[0], Tensor) and frames[0].is_meta:
            # nothing but shapes, and the frames of one tensor have the same
            return [self._image_processor.cut(frames[0], max_slice_nums=max_slices)] * len(frames)
        return [self._image_processor.cut(frame, max_slice_nums=max_slices) for frame in frames]

    def _packing(self, timing: _Timing | None) -> int:
        """Frames a group."""
        if self.packing is None or timing is None:
            return 1
        return frame_budget(timing.num_file_frames / timing.file_fps, timing.file_fps, rules=self.packing).packing

    def _grid(self, group: Sequence[Picture], *, max_slices: int) -> tuple[int, int] | None:
        """How each frame of a group is cut into slices. Raises ValueError where they are not cut alike."""
        grids = {self._image_processor.grid_of(picture_size(frame), max_slice_nums=max_slices) for frame in group}
        if len(grids) > 1:
            raise ValueError(
                "frames of different shapes in one group are cut into different slices; give a video's "
                "frames one size, or max_slice_nums 1"
            )
        return grids.pop()


def _frames_of(video: Tensor | np.ndarray | Sequence[Picture]) -> list[Picture]:
    if isinstance(video, Tensor | np.ndarray) and video.ndim != 4:
        raise ValueError(f"a video is (T, 3, H, W) or (T, H, W, 3), not {tuple(video.shape)}")
    return list(video)


def _timing(metadata: Mapping[str, Any] | None, num_frames: int) -> _Timing | None:
    """When frames were taken, None where `metadata` has no frame rate. Raises ValueError where it does not fit them."""
    fps = None if metadata is None else metadata.get("fps")
    if metadata is None or not fps:
        return None
    total = int(metadata.get("total_num_frames") or num_frames)
    indices = metadata.get("frames_indices")
    indices = range(total) if indices is None else indices
    if len(indices) != num_frames:
        raise ValueError(
            f"a video of {num_frames} frames, whose video_metadata says {len(indices)}: give the "
            "frames_indices of these"
        )
    return _Timing(tuple(int(index) for index in indices), total, float(fps))


def _timed(cuts: Sequence[VisualInputs], timing: _Timing, *, time_scale: float) -> list[VisualInputs]:
    """`cuts`, one a frame, with the time of their frame."""
    ids = temporal_ids(
        timing.indices, num_file_frames=timing.num_file_frames, file_fps=timing.file_fps, time_scale=time_scale
    )
    return [
        replace(cut, temporal_ids=torch.full_like(cut.temporal_ids, number))
        for cut, number in zip(cuts, ids, strict=True)
    ]


def _grouped(items: Sequence[_Item], packing: int) -> list[Sequence[_Item]]:
    edges = accumulate(group_lengths(len(items), packing), initial=0)
    return [items[start:end] for start, end in pairwise(edges)]


def _interleaved(group: Sequence[VisualInputs]) -> VisualInputs:
    """The frames of one group, cut alike: their first slices share a run of tokens, then their second ones, …"""
    slices = [_slices(cut) for cut in group]
    joined = join_visuals([of_frame[number] for number in range(len(slices[0])) for of_frame in slices])
    return replace(joined, group_sizes=torch.full((len(slices[0]),), len(group), dtype=torch.int64))


def _slices(cut: VisualInputs) -> list[VisualInputs]:
    if len(cut.tgt_sizes) == 1:
        return [cut]
    patches = torch.split(cut.patches, cut.tgt_sizes.prod(dim=1).tolist())
    numbers = (torch.split(values, 1) for values in (cut.tgt_sizes, cut.temporal_ids, cut.group_sizes))
    return [VisualInputs(*part) for part in zip(patches, *numbers, strict=True)]
