"""The media of a processor's call, one after the other, whatever lists they came in.

Knows nothing of texts or of what the media become.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from transformers.image_utils import load_image

from tunesmith.models.families.minicpmv.pixels import Picture

Nested = Any
"""One medium, a list of them, or a list of lists: one for each text."""


def flat_pictures(images: Nested) -> list[Picture]:
    """Every picture; a path or URL is opened."""
    if images is None:
        return []
    if isinstance(images, list | tuple):
        return [picture for item in images for picture in flat_pictures(item)]
    return [load_image(str(images)) if isinstance(images, str | Path) else images]


def flat_videos(videos: Nested) -> list[Any]:
    """Every video: frames in one tensor or array, a list of pictures, or a file."""
    if videos is None:
        return []
    if not isinstance(videos, list | tuple) or (videos and _is_frame(videos[0])):
        return [videos]
    return [video for item in videos for video in flat_videos(item)]


def flat_sounds(audio: Nested) -> list[np.ndarray]:
    """Every sound as (N,) samples."""
    if audio is None:
        return []
    if isinstance(audio, list | tuple):
        return [sound for item in audio for sound in flat_sounds(item)]
    return [np.asarray(audio)]


def num_by_text(media: Nested, num_texts: int, *, flat: Sequence[object]) -> list[int] | None:
    """How many media each text was given, None where they did not come in one list a text, as a list of frames."""
    if not isinstance(media, list | tuple) or len(media) != num_texts or len(flat) == 0:
        return None
    if not all(isinstance(item, list | tuple) for item in media):
        return None
    counts = [len(item) for item in media]
    return counts if sum(counts) == len(flat) else None


def _is_frame(item: object) -> bool:
    return isinstance(item, Image.Image) or (isinstance(item, Tensor | np.ndarray) and item.ndim == 3)
