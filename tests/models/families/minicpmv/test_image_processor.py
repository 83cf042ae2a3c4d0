"""Pixels and sizes equal the published processor's, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.families.minicpmv.pictures import digest, draw, published
from tunesmith.models.families.minicpmv.image_processor import MiniCPMVImageProcessor

PUBLISHED = {
    "image_processor_type": "MiniCPMVImageProcessor",
    "auto_map": {"AutoImageProcessor": "image_processing_minicpmv.MiniCPMVImageProcessor"},
    "processor_class": "MiniCPMVProcessor",
    "max_slice_nums": 9,
    "scale_resolution": 448,
    "patch_size": 14,
    "use_image_id": True,
    "image_feature_size": 64,
    "slice_mode": True,
    "norm_mean": [0.5, 0.5, 0.5],
    "norm_std": [0.5, 0.5, 0.5],
    "version": 2.6,
}


def build(**changed: Any) -> MiniCPMVImageProcessor:
    return MiniCPMVImageProcessor(**{**PUBLISHED, **changed})


@pytest.mark.parametrize("case", published("images"), ids=lambda case: f"{case['mode']}{case['size']}")
def test_as_published(case: dict[str, Any]) -> None:
    visual = build().cut(draw(case["size"], case["mode"]), max_slice_nums=case["max_slice_nums"])

    if case.get("refused"):  # the published code takes the height of a picture one pixel high for its channels
        assert visual.tgt_sizes.tolist() in ([[32, 32]], [[2, 629]])
        return
    assert visual.tgt_sizes.tolist() == case["tgt_sizes"]
    assert digest(visual.patches) == case["digest"]


@pytest.mark.parametrize("case", published("images"), ids=lambda case: f"{case['mode']}{case['size']}")
def test_sizes_are_known_without_pixels(case: dict[str, Any]) -> None:
    processor, (width, height) = build(), case["size"]
    blank = torch.zeros((3, height, width), dtype=torch.uint8, device="meta")

    visual = processor.cut(blank, max_slice_nums=case["max_slice_nums"])

    expected = case.get("tgt_sizes", visual.tgt_sizes.tolist())
    assert visual.tgt_sizes.tolist() == expected
    assert processor.slice_sizes((width, height), max_slice_nums=case["max_slice_nums"]).tolist() == expected
    assert visual.patches.shape == (int(visual.tgt_sizes.prod(dim=1).sum()), 3, 14, 14) and visual.patches.is_meta


def test_patches_are_row_by_row_of_slices_that_are_row_by_row() -> None:
    picture = draw((1200, 800))
    visual = build().cut(picture)

    (high, wide), cells = visual.tgt_sizes[1].tolist(), visual.tgt_sizes[1:]
    columns, rows = 3, 2
    assert build().grid_of((1200, 800)) == (columns, rows) and len(cells) == columns * rows
    canvas = np.asarray(picture.resize((columns * wide * 14, rows * high * 14), resample=Image.Resampling.BICUBIC))
    slices = torch.split(visual.patches, visual.tgt_sizes.prod(dim=1).tolist())[1:]
    second_row_third_column = slices[1 * columns + 2]
    patch = second_row_third_column[5 * wide + 4]
    top, left = (1 * high + 5) * 14, (2 * wide + 4) * 14
    expected = (canvas[top : top + 14, left : left + 14].transpose(2, 0, 1).astype(np.float32) / 255 - 0.5) / 0.5
    assert np.array_equal(patch.numpy(), expected)


def test_arrays_and_tensors_are_pictures_too() -> None:
    processor, picture = build(), draw((130, 90))
    pixels = np.asarray(picture)
    expected = processor.cut(picture).patches

    assert torch.equal(processor.cut(pixels).patches, expected)
    assert torch.equal(processor.cut(pixels.transpose(2, 0, 1)).patches, expected)
    assert torch.equal(processor.cut(torch.from_numpy(pixels.copy()).permute(2, 0, 1)).patches, expected)
    grey = draw((130, 90), "L")
    assert torch.equal(processor.cut(np.asarray(grey)).patches, processor.cut(grey).patches)
    as_floats = processor.cut(pixels.astype(np.float32) / 255).patches
    assert (as_floats - expected).abs().max() <= 2 / 255 + 1e-6  # cut down to whole numbers again, as published


@pytest.mark.parametrize("thing", ["a string", np.zeros((4, 5, 6, 7), np.uint8), np.zeros((4, 5, 2), np.uint8)])
def test_what_is_no_picture_is_refused(thing: Any) -> None:
    with pytest.raises(ValueError, match=r"a picture"):
        build().cut(thing)


def test_several_pictures_behind_each_other() -> None:
    processor = build()
    small, large = draw((48, 64)), draw((700, 500))

    output = processor([small, [large]], max_slice_nums=2)

    parts = [processor.cut(small), processor.cut(large, max_slice_nums=2)]
    assert torch.equal(output["pixel_values"], torch.cat([part.patches for part in parts]))
    assert torch.equal(output["tgt_sizes"], torch.cat([part.tgt_sizes for part in parts]))


def test_a_still_has_no_time_and_shares_no_run() -> None:
    visual = build().cut(draw((700, 500)))

    assert visual.temporal_ids.tolist() == [-1] * 3
    assert visual.group_sizes.tolist() == [1] * 3


def test_without_slice_mode_a_picture_is_neither_scaled_nor_cut() -> None:
    processor, picture = build(slice_mode=False), draw((50, 30))

    visual = processor.cut(picture)

    assert visual.tgt_sizes.tolist() == [[2, 3]]
    whole = visual.patches.reshape(2, 3, 3, 14, 14).permute(2, 0, 3, 1, 4).reshape(3, 28, 42)
    assert torch.equal(whole, torch.from_numpy(np.array(picture)[:28, :42]).permute(2, 0, 1) / 255 * 2 - 1)
    with pytest.raises(ValueError, match="a picture of 13x30 pixels is smaller than a patch, and slice_mode is off"):
        processor.cut(draw((13, 30)))


def test_each_channel_has_its_own_mean_and_spread() -> None:
    mean, std = (0.48, 0.45, 0.41), (0.27, 0.26, 0.28)
    white = build(norm_mean=list(mean), norm_std=list(std)).cut(Image.new("RGB", (448, 448), "white"))

    expected = torch.tensor([(1 - centre) / spread for centre, spread in zip(mean, std, strict=True)])
    assert torch.allclose(white.patches.mean(dim=(0, 2, 3)), expected)


def test_published_keys_come_back_as_they_were() -> None:
    assert build().to_dict() == PUBLISHED
    assert build(pool_step=5, feature_size=80).to_dict() == {**PUBLISHED, "pool_step": 5, "feature_size": 80}


def test_a_setting_is_written_with_the_rest() -> None:
    processor = build()
    processor.max_slice_nums = 4

    assert processor.to_dict() == {**PUBLISHED, "max_slice_nums": 4}
    assert processor.cut(draw((1344, 1344))).tgt_sizes.shape == (5, 2)
