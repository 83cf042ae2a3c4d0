"""Pixel budgets: the size an image or a frame is brought to before the model's processor sees it.

`image_min_pixels` and `image_max_pixels` for images; `video_min_pixels` and `video_max_pixels` for each frame of a
video, where `read_frames(media, indices, size=budget_size(info.size, …))` applies it while decoding.

The rule is LLaMA-Factory's (`mm_plugin._preprocess_image`): both sides are scaled by the square root of the ratio of
areas and cut to whole pixels. The collator and the counting of media tokens both come through `budget_size`, so they
cannot disagree. Without the settings nothing is resized here; the processor has its own limits.
"""

from __future__ import annotations

import math

from PIL import Image

from tunesmith.media.image import Size


def budget_size(size: Size, *, min_pixels: int | None = None, max_pixels: int | None = None) -> Size:
    """(width, height) after shrinking to `max_pixels` and then enlarging to `min_pixels`, where these are set.

    Cut to whole pixels, so an enlarged image may stay a little below `min_pixels`; no side falls below one pixel.
    """
    if max_pixels is not None and size[0] * size[1] > max_pixels:
        size = _scaled_to(size, max_pixels)
    if min_pixels is not None and size[0] * size[1] < min_pixels:
        size = _scaled_to(size, min_pixels)
    return size


def apply_budget(image: Image.Image, *, min_pixels: int | None = None, max_pixels: int | None = None) -> Image.Image:
    """`image` resized to its budget_size by PIL's default filter (bicubic), or itself where it fits."""
    size = budget_size(image.size, min_pixels=min_pixels, max_pixels=max_pixels)
    return image if size == image.size else image.resize(size)


def _scaled_to(size: Size, num_pixels: int) -> Size:
    factor = math.sqrt(num_pixels / (size[0] * size[1]))
    return max(1, int(size[0] * factor)), max(1, int(size[1] * factor))
