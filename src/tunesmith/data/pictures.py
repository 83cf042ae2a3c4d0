"""A medium as the processor gets it: its size for counting tokens, its pixels for the batch.

Both go through the same pixel budget, so the ids and the pixels of a row always fit. Knows nothing of rows.
"""

from __future__ import annotations

from PIL import Image

from tunesmith.chat.message import Media
from tunesmith.errors import NotSupportedYetError
from tunesmith.media.budget import apply_budget, budget_size
from tunesmith.media.image import Size, open_image, probe_image
from tunesmith.models.processor import Preprocessor


def picture_size(media: Media, preprocessor: Preprocessor) -> Size:
    """(width, height) that the processor will see, from the file's header. Raises DataError if it cannot be read."""
    _require_image(media)
    size = probe_image(media)
    if not preprocessor.pre_shrinks:
        return size
    return budget_size(size, min_pixels=preprocessor.image_min_pixels, max_pixels=preprocessor.image_max_pixels)


def load_picture(media: Media, preprocessor: Preprocessor) -> Image.Image:
    """The upright RGB image that the processor will see. Raises DataError if it cannot be read."""
    _require_image(media)
    image = open_image(media)
    if not preprocessor.pre_shrinks:
        return image
    return apply_budget(image, min_pixels=preprocessor.image_min_pixels, max_pixels=preprocessor.image_max_pixels)


def _require_image(media: Media) -> None:
    if media.kind != "image":
        raise NotSupportedYetError(f"{media.name}: rows with {media.kind} are not supported yet; take rows with images")
