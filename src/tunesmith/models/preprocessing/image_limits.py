"""Image settings given to a model's own image processor, where it has something to give them to.

Processors of dynamic resolution (Qwen's family and its many users) scale an image into a range of areas themselves.
Setting that range resamples an image once; shrinking it beforehand would resample it twice.
"""

from __future__ import annotations

from typing import Any

from PIL import Image
from transformers import ProcessorMixin

from tunesmith import log
from tunesmith.config.model import MediaSettings
from tunesmith.errors import UsageError

_PROBE_PATCHES = 16
"""The probe image is twice as wide and high as the budget it is scaled into, this many patches a side."""


def limit_images(processor: ProcessorMixin, media: MediaSettings) -> bool:
    """Set the pixel budget and the switches for tiles on `processor`.

    Returns whether the budget remains to be applied before the processor, because it has none of its own.
    """
    image_processor = processor.image_processor
    _switch_on(image_processor, "do_pan_and_scan", media.image_do_pan_and_scan or None, key="image_do_pan_and_scan")
    _switch_on(image_processor, "crop_to_patches", media.crop_to_patches or None, key="crop_to_patches")
    _switch_on(image_processor, "max_slice_nums", media.max_slice_nums, key="max_slice_nums")
    _switch_on(image_processor, "downsample_mode", media.downsample_mode, key="downsample_mode")
    if media.image_max_pixels is None and media.image_min_pixels is None:
        return False
    unit = pixels_counted_per_pixel(image_processor)
    if unit is None:
        return True
    _set_budget(image_processor, media, unit)
    return False


def pixels_counted_per_pixel(image_processor: Any) -> int | None:
    """How often the processor's budget counts a pixel of an image: 1 in most, 2 where frames are counted (GLM-4V).

    None for processors without a budget. Found by scaling a blank image into a known budget.
    """
    if not {"shortest_edge", "longest_edge"} <= _sizes(image_processor).keys() or not hasattr(
        image_processor, "merge_size"
    ):
        return None
    side: int = _PROBE_PATCHES * image_processor.patch_size * image_processor.merge_size
    budget = {"shortest_edge": image_processor.patch_size**2, "longest_edge": side**2}
    output = image_processor(Image.new("RGB", (2 * side, 2 * side)), size=budget)
    if "image_grid_thw" not in output:
        return None
    _, height, width = (int(length) for length in output["image_grid_thw"][0])
    kept = height * width * int(image_processor.patch_size) ** 2
    return round(side**2 / kept)


def _sizes(image_processor: Any) -> dict[str, int]:
    size = image_processor.size
    return {name: value for name, value in dict(size or {}).items() if value is not None}


def _set_budget(image_processor: Any, media: MediaSettings, unit: int) -> None:
    sizes = _sizes(image_processor)
    smallest, largest = sizes["shortest_edge"], sizes["longest_edge"]
    if media.image_max_pixels is not None:
        largest = media.image_max_pixels * unit
        smallest = min(smallest, largest)
    if media.image_min_pixels is not None:
        smallest = media.image_min_pixels * unit
        largest = max(largest, smallest) if media.image_max_pixels is None else largest
    if smallest > largest:
        raise UsageError(
            f"image_min_pixels {media.image_min_pixels} is larger than image_max_pixels {media.image_max_pixels}"
        )
    image_processor.size = type(image_processor.size)(shortest_edge=smallest, longest_edge=largest)


def _switch_on(image_processor: Any, attribute: str, value: object, *, key: str) -> None:
    if value is None:
        return
    if not hasattr(image_processor, attribute):
        log.warning(f"{key} has no effect: the model's image processor ({type(image_processor).__name__}) has none")
        return
    setattr(image_processor, attribute, value)
