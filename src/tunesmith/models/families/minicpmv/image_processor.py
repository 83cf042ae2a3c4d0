"""MiniCPM-V's image processor: pictures are sliced, scaled and cut into patches as preprocessor_config.json says.

Pixels equal the published processor's; what differs is the form, flat patches that several pictures' go behind each
other in. Knows nothing of text beyond the marks that the same file names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_base import ImageProcessingMixin

from tunesmith.models.families.minicpmv.given_media import Nested, flat_pictures
from tunesmith.models.families.minicpmv.pixels import Picture, normalise, picture_size, to_patches, to_rgb
from tunesmith.models.families.minicpmv.placeholders import read_marks
from tunesmith.models.families.minicpmv.slicing import Grid, Size, Slicing, plan_slices
from tunesmith.models.families.minicpmv.visual_inputs import VisualInputs, join_visuals, stills

FILE_NAME = "preprocessor_config.json"
_HALF = (0.5, 0.5, 0.5)
_BICUBIC = 3  # PIL.Image.Resampling.BICUBIC


class MiniCPMVImageProcessor(ImageProcessingMixin):
    """Takes the keys of a published preprocessor_config.json.

    max_slice_nums:   at most this many slices a picture
    scale_resolution: the side of a slice, in pixels, by its area
    patch_size:       the side of a patch
    slice_mode:       False takes pictures as they are, unscaled and in one piece
    use_image_id:     whether each picture of a conversation is numbered in the text
    size:             None: pictures are never scaled into a budget of pixels
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 - transformers reads a plain class attribute
    size: dict[str, int] | None = None

    def __init__(self, **published: Any) -> None:
        self._published = published
        self.max_slice_nums = int(published.get("max_slice_nums", 9))
        self.scale_resolution = int(published.get("scale_resolution", 448))
        self.patch_size = int(published.get("patch_size", 14))
        self.slice_mode = bool(published.get("slice_mode", True))
        self.use_image_id = bool(published.get("use_image_id", False))
        self.mean = tuple(published.get("norm_mean", _HALF))
        self.std = tuple(published.get("norm_std", _HALF))
        self.marks = read_marks(published)

    def to_dict(self) -> dict[str, Any]:
        """The contents of preprocessor_config.json: every key as it was published, `max_slice_nums` as it is now."""
        named = {"image_processor_type": "MiniCPMVImageProcessor", **self._published}
        return {**named, "max_slice_nums": self.max_slice_nums, "use_image_id": self.use_image_id}

    def grid_of(self, size: Size, *, max_slice_nums: int | None = None) -> Grid | None:
        """Columns and rows that a picture of `size` (width, height) is cut into; None where it stays in one piece."""
        return self._plan(size, max_slice_nums).grid

    def slice_sizes(self, size: Size, *, max_slice_nums: int | None = None) -> Tensor:
        """(S, 2) int64: patches high and wide of each slice of a picture of `size` (width, height)."""
        sizes = self._plan(size, max_slice_nums).sizes
        return torch.tensor([(height // self.patch_size, width // self.patch_size) for width, height in sizes])

    def cut(self, picture: Picture, *, max_slice_nums: int | None = None) -> VisualInputs:
        """The slices of one picture. Of a tensor on the "meta" device only the sizes are computed.

        Raises ValueError for what is no picture, or one smaller than a patch that may not be scaled.
        """
        size = picture_size(picture)
        tgt_sizes = self.slice_sizes(size, max_slice_nums=max_slice_nums)
        if not tgt_sizes.all():
            raise ValueError(f"a picture of {size[0]}x{size[1]} pixels is smaller than a patch, and slice_mode is off")
        if isinstance(picture, Tensor) and picture.is_meta:
            num_patches = int(tgt_sizes.prod(dim=1).sum())
            return stills(torch.empty((num_patches, 3, self.patch_size, self.patch_size), device="meta"), tgt_sizes)
        patches = self._cut_pixels(picture, self._plan(size, max_slice_nums))
        return stills(normalise(patches, mean=self.mean, std=self.std), tgt_sizes)

    def __call__(
        self,
        images: Nested,
        *,
        max_slice_nums: int | None = None,
        **_options: object,
    ) -> BatchFeature:
        """pixel_values (P, 3, patch, patch) and tgt_sizes (S, 2) of all `images` behind each other."""
        flat = flat_pictures(images)
        if not flat:
            raise ValueError("no picture was given")
        visual = join_visuals([self.cut(picture, max_slice_nums=max_slice_nums) for picture in flat])
        return BatchFeature({"pixel_values": visual.patches, "tgt_sizes": visual.tgt_sizes})

    def _cut_pixels(self, picture: Picture, slicing: Slicing) -> Tensor:
        """(P, 3, patch, patch) uint8."""
        image = to_rgb(picture)
        overview = image.resize(slicing.overview, resample=_BICUBIC) if self.slice_mode else image
        patches = to_patches(overview, columns=1, rows=1, patch=self.patch_size)
        if slicing.grid is None or slicing.canvas is None:
            return patches
        columns, rows = slicing.grid
        canvas = image.resize(slicing.canvas, resample=_BICUBIC)
        return torch.cat([patches, to_patches(canvas, columns=columns, rows=rows, patch=self.patch_size)])

    def _plan(self, size: Size, max_slice_nums: int | None) -> Slicing:
        if not self.slice_mode:
            return Slicing(size)
        max_slices = self.max_slice_nums if max_slice_nums is None else int(max_slice_nums)
        return _remembered_plan(size, max_slices, self.scale_resolution, self.patch_size)


@lru_cache(maxsize=4096)
def _remembered_plan(size: Size, max_slices: int, side: int, patch: int) -> Slicing:
    return plan_slices(size, max_slices=max_slices, side=side, patch=patch)


def read_image_processor(folder: Path) -> MiniCPMVImageProcessor:
    """From preprocessor_config.json. Raises OSError where there is none, ValueError where it is no JSON."""
    return MiniCPMVImageProcessor(**json.loads((folder / FILE_NAME).read_text(encoding="utf-8")))


def write_image_processor(
    image_processor: MiniCPMVImageProcessor, folder: Path, *, of_model: Mapping[str, Any]
) -> None:
    """Write preprocessor_config.json, with what the processor knows `of_model` beside the published keys."""
    written = json.dumps({**image_processor.to_dict(), **of_model}, indent=4, ensure_ascii=False)
    (folder / FILE_NAME).write_text(written + "\n", encoding="utf-8")
