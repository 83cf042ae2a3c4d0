"""Video settings given to a model's own video processor, where it has something to give them to.

Most video processors of dynamic resolution scale each frame into a range of areas; a few (Qwen3-VL) scale the whole
video. Only the first can be given a budget a frame; for the others frames are shrunk before.
"""

from __future__ import annotations

from typing import Any

import torch

from tunesmith.config.model import MediaSettings
from tunesmith.errors import UsageError

_PROBE_SIDE = 448
_PROBE_BUDGET = 224 * 224


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
