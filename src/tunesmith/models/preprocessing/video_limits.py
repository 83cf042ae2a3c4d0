"""Video settings given to a model's own video processor, where it has something to give them to.

Most video processors of dynamic resolution scale each frame into a range of areas; a few (Qwen3-VL) scale the whole
video. Only the first can be given a budget a frame; for the others frames are shrunk before. One that packs frames is
told the rules that its frames are planned by.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import torch

from tunesmith import log
from tunesmith.config.model import MediaSettings
from tunesmith.errors import UsageError
from tunesmith.media.frame_budget import MAX_GROUPS, PackingRules

_PROBE_SIDE = 448
_PROBE_BUDGET = 224 * 224


@runtime_checkable
class FramePacker(Protocol):
    """A video processor that may tell a model when each frame was taken, and let several share one run of tokens.

    packs_frames: whether it does so for its model
    packing:      how many frames share one, by what is known of their video; None: each has its own
    time_scale:   seconds between two points of time that it tells apart
    """

    packs_frames: bool
    packing: PackingRules | None
    time_scale: float


def settle_packing(video_processor: Any, media: MediaSettings) -> PackingRules | None:
    """Give a processor that packs frames its rules, and return those that frames are to be planned by.

    None where they are planned as for every model, by video_fps and video_maxlen.
    """
    packs = isinstance(video_processor, FramePacker) and video_processor.packs_frames
    if not packs and (media.enable_high_fps or media.time_scale != MediaSettings().time_scale):
        log.note_once(
            "this model does not pack frames: enable_high_fps, double_frame_duration, packing_maxlen and time_scale "
            f"have no effect, and a video has video_fps {media.video_fps:g} frames a second, at most {media.max_frames}"
        )
    if not packs:
        return None
    rules = _packing_rules(media) if media.enable_high_fps else None
    video_processor.packing = rules
    video_processor.time_scale = media.time_scale
    return rules


def _packing_rules(media: MediaSettings) -> PackingRules:
    limit = media.video_maxlen
    return PackingRules(
        fps=media.video_fps,
        double_below_s=media.double_frame_duration,
        max_packing=media.packing_maxlen,
        max_groups=MAX_GROUPS if limit is None else math.ceil(limit / media.packing_maxlen),
        max_frames=limit,
    )


def settle_downsampling_of_frames(video_processor: Any, media: MediaSettings) -> None:
    """The same patches a token for frames as for pictures (`image_limits` says where a processor knows of none)."""
    if media.downsample_mode is not None and hasattr(video_processor, "downsample_mode"):
        video_processor.downsample_mode = media.downsample_mode


def settle_frame_cap(video_processor: Any) -> None:
    """Keep what transformers does today: no bound on a whole video beside the one on its frames.

    Left open, some processors warn at every start that their next version will choose differently.
    """
    if hasattr(video_processor, "cap_pixels_per_frame") and video_processor.cap_pixels_per_frame is None:
        video_processor.cap_pixels_per_frame = False


def limit_frames(video_processor: Any, media: MediaSettings) -> dict[str, int] | None:
    """The processor's `size` option that keeps a frame inside video_min_pixels and video_max_pixels.

    None where the settings are not set, or the processor has no budget that counts single frames.
    Raises UsageError for a minimum above the maximum.
    """
    if media.video_max_pixels is None and media.video_min_pixels is None:
        return None
    if not has_frame_budget(video_processor):
        return None
    return _sizes_within(video_processor, media)


def has_frame_budget(video_processor: Any) -> bool:
    """Whether the processor's size bounds the area of each frame, whatever their number. Found by two blank videos."""
    if not {"shortest_edge", "longest_edge"} <= _sizes(video_processor).keys():
        return False
    areas = {_kept_area(video_processor, num_frames) for num_frames in (4, 16)}
    area = areas.pop()
    return not areas and area is not None and _PROBE_BUDGET / 2 < area <= _PROBE_BUDGET


def _kept_area(video_processor: Any, num_frames: int) -> int | None:
    """Pixels of a frame after scaling a blank video into the probe's budget; None where the processor says no grid."""
    # on "meta" only shapes are computed
    blank = torch.zeros((num_frames, 3, _PROBE_SIDE, _PROBE_SIDE), dtype=torch.uint8, device="meta")
    size = {"shortest_edge": video_processor.patch_size**2, "longest_edge": _PROBE_BUDGET}
    output = video_processor([blank], size=size, do_sample_frames=False)
    if "video_grid_thw" not in output:
        return None
    _, height, width = (int(length) for length in output["video_grid_thw"][0])
    return height * width * int(video_processor.patch_size) ** 2


def _sizes(video_processor: Any) -> dict[str, int]:
    return {name: value for name, value in dict(video_processor.size or {}).items() if value is not None}


def _sizes_within(video_processor: Any, media: MediaSettings) -> dict[str, int]:
    sizes = _sizes(video_processor)
    smallest, largest = sizes["shortest_edge"], sizes["longest_edge"]
    if media.video_max_pixels is not None:
        largest = media.video_max_pixels
        smallest = min(smallest, largest)
    if media.video_min_pixels is not None:
        smallest = media.video_min_pixels
        largest = max(largest, smallest) if media.video_max_pixels is None else largest
    if smallest > largest:
        raise UsageError(
            f"video_min_pixels {media.video_min_pixels} is larger than video_max_pixels {media.video_max_pixels}"
        )
    return {"shortest_edge": smallest, "longest_edge": largest}
