"""Pictures in any of the forms that processors are given → RGB, and scaled pixels → the model's patches.

Knows nothing of slices, settings or text.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Picture = Image.Image | np.ndarray | Tensor
"""A PIL image, or pixels (H, W), (H, W, 3) or (3, H, W): integers of 0 to 255, or floats of 0 to 1."""


def picture_size(picture: Picture) -> tuple[int, int]:
    """Width and height. Raises ValueError for what is no picture."""
    if isinstance(picture, Image.Image):
        return picture.size
    if not isinstance(picture, np.ndarray | Tensor):
        raise ValueError(f"a picture was expected (PIL, numpy or tensor), {type(picture).__name__} was given")
    shape = tuple(picture.shape)
    if len(shape) == 2:
        return shape[1], shape[0]
    if len(shape) == 3 and shape[0] == 3:
        return shape[2], shape[1]
    if len(shape) == 3 and shape[2] == 3:
        return shape[1], shape[0]
    raise ValueError(f"a picture's pixels are (H, W), (H, W, 3) or (3, H, W); these are {shape}")


def to_rgb(picture: Picture) -> Image.Image:
    """`picture` as an RGB image; transparency is dropped, as the published processors do."""
    if isinstance(picture, Image.Image):
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    picture_size(picture)
    pixels = np.asarray(picture.cpu()) if isinstance(picture, Tensor) else picture
    if pixels.ndim == 3 and pixels.shape[0] == 3:
        pixels = pixels.transpose(1, 2, 0)
    if np.issubdtype(pixels.dtype, np.floating):
        pixels = pixels * 255
    return Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8))).convert("RGB")


def to_patches(image: Image.Image, *, columns: int, rows: int, patch: int) -> Tensor:
    """(P, 3, patch, patch) uint8: the patches of a grid of slices, slices row by row, patches row by row in each.

    What is left at the right and at the bottom of less than whole patches is dropped.
    """
    width, height = (side // (patch * parts) for side, parts in zip(image.size, (columns, rows), strict=True))
    pixels = torch.from_numpy(np.array(image))[: rows * height * patch, : columns * width * patch]
    cells = pixels.reshape(rows, height, patch, columns, width, patch, 3)
    return cells.permute(0, 3, 1, 4, 6, 2, 5).reshape(-1, 3, patch, patch)


def normalise(pixels: Tensor, *, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(…, 3, h, w) float32 of uint8 pixels: scaled to 0..1, then shifted and scaled by channel."""
    centre, spread = (torch.tensor(values, dtype=torch.float32).reshape(3, 1, 1) for values in (mean, std))
    return (pixels.to(torch.float32) / 255).sub_(centre).div_(spread)
