"""Pictures drawn by arithmetic, the same everywhere, and what the published processors made of them."""

from __future__ import annotations

import json
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

_GOLDEN = Path(__file__).parent / "golden"
_NUM_CHANNELS = {"RGB": 3, "RGBA": 4, "CMYK": 4, "L": 1, "LA": 2, "P": 1}


def draw(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """A picture of `size` (width, height) with waves, edges and fine grain in every channel."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    channels = [
        (columns * (3 + number) + rows * 7 + (columns // 17) * (rows // 13) * 29 + columns * rows // 5) % 256
        for number in range(_NUM_CHANNELS[mode])
    ]
    pixels = np.stack(channels, axis=-1).astype(np.uint8)
    if mode == "P":
        image = Image.fromarray(pixels[..., 0], "L").convert("P")
        image.putpalette([number * 37 % 256 for number in range(768)])
        return image
    return Image.fromarray(pixels[..., 0]) if mode == "L" else Image.fromarray(pixels, mode)


@cache
def published(name: str) -> Any:
    """The golden file `name`: results of the published code, with what it was given."""
    return json.loads((_GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def digest(values: Tensor | np.ndarray) -> str:
    """16 hex digits that stand for float32 `values`, bit for bit, and their shape."""
    array = np.ascontiguousarray(np.asarray(values, dtype=np.float32))
    return blake2b(repr(array.shape).encode() + array.tobytes(), digest_size=8).hexdigest()
