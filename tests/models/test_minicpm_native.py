"""MiniCPM-V 4.6 and 4.7 by transformers' own classes: what a picture costs in tokens, and how patches are merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MiniCPMV4_6ImageProcessor

from tests.models.given import batch_for, logits_of, settings_for
from tests.tiny import KINDS, tiny_folder
from tunesmith.config.model import MediaSettings
from tunesmith.data.encoding.expansion import Replacements
from tunesmith.data.encoding.media_shape import ImageShape
from tunesmith.models.load import load_model
from tunesmith.models.preprocessing.processor import read_preprocessor

NATIVE = [kind for kind in ("minicpmv4_6", "minicpmv4_7") if kind in KINDS]

# (width, height) -> patches (high, wide) of the overview, patches of a slice, grid (rows, columns), tokens at 16x
GOLDEN = {
    (224, 224): ((32, 32), None, (0, 0), 64),
    (448, 448): ((32, 32), None, (0, 0), 64),
    (449, 449): ((32, 32), (24, 44), (2, 1), 196),
    (640, 480): ((28, 36), (40, 28), (1, 2), 203),
    (800, 600): ((28, 36), (28, 36), (2, 2), 315),
    (1024, 768): ((28, 36), (28, 36), (2, 2), 315),
    (1024, 1024): ((32, 32), (40, 24), (2, 3), 424),
    (1344, 1344): ((32, 32), (32, 32), (3, 3), 640),
    (1920, 1080): ((24, 44), (32, 32), (2, 4), 578),
    (1080, 1920): ((44, 24), (32, 32), (4, 2), 578),
    (2480, 3508): ((40, 28), (28, 36), (4, 2), 574),
    (4000, 300): ((8, 116), (24, 44), (1, 7), 520),
    (300, 4000): ((116, 8), (44, 24), (7, 1), 520),
    (100, 50): ((24, 44), None, (0, 0), 66),
}


@pytest.fixture(scope="module")
def published_sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny 4.6 with the slicing of the published one: 448 pixels, 9 slices."""
    folder = tiny_folder("minicpmv4_6", tmp_path_factory.mktemp("minicpm") / "model")
    file = folder / "processor_config.json"
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    config["image_processor"] |= {"scale_resolution": 448, "max_slice_nums": 9}
    file.write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("size", GOLDEN)
def test_a_picture_is_sliced_as_the_golden_table_says(size: tuple[int, int]) -> None:
    overview, one_slice, grid, _ = GOLDEN[size]
    found = MiniCPMV4_6ImageProcessor()(torch.zeros((3, size[1], size[0]), dtype=torch.uint8))
    patches = [tuple(patch) for patch in found["target_sizes"].tolist()]
    assert patches[0] == overview
    assert set(patches[1:]) == ({one_slice} if one_slice else set())
    assert tuple(found["grids"][0]) == grid


def test_a_picture_costs_the_tokens_of_the_golden_table(published_sizes: Path) -> None:
    texts = Replacements(read_preprocessor(published_sizes, media=MediaSettings()))
    counted = {size: texts([ImageShape(*size)])[0].count("<|image_pad|>") for size in GOLDEN}
    assert counted == {size: row[3] for size, row in GOLDEN.items()}


@pytest.mark.parametrize("size", [(448, 448), (1344, 1344), (640, 480), (1920, 1080)])
def test_at_4x_a_token_stands_for_four_patches(size: tuple[int, int], published_sizes: Path) -> None:
    """How many patches there are then is the processor's own rule: transformers 5.21 and later scale more finely."""
    texts = Replacements(read_preprocessor(published_sizes, media=MediaSettings(downsample_mode="4x")))
    blank = torch.zeros((3, size[1], size[0]), dtype=torch.uint8)
    patches = MiniCPMV4_6ImageProcessor()(blank, downsample_mode="4x")["target_sizes"].prod(-1)
    assert texts([ImageShape(*size)])[0].count("<|image_pad|>") == patches.sum().item() // 4
    if size in {(448, 448), (1344, 1344)}:
        assert patches.sum().item() // 4 == 4 * GOLDEN[size][3]


def test_a_smaller_budget_is_the_user_s_choice(published_sizes: Path) -> None:
    def tokens(**media: Any) -> int:
        texts = Replacements(read_preprocessor(published_sizes, media=MediaSettings(**media)))
        return texts([ImageShape(1344, 1344)])[0].count("<|image_pad|>")

    assert tokens() == 640
    assert tokens(max_slice_nums=4) == 320
    assert tokens(max_slice_nums=1) == 64


@pytest.mark.parametrize("kind", NATIVE)
def test_model_and_processor_merge_patches_alike(kind: str, tmp_path: Path) -> None:
    folder = tiny_folder(kind, tmp_path / "model")
    settings = settings_for(folder)
    settings = settings.model_copy(update={"media": MediaSettings(downsample_mode="4x")})
    model = load_model(settings, trains=False)
    preprocessor = read_preprocessor(folder, media=settings.media)
    processor: Any = preprocessor.processor

    assert (model.config.downsample_mode, processor.image_processor.downsample_mode) == ("4x", "4x")
    assert processor.video_processor.downsample_mode == "4x"
    preprocessor.save(tmp_path / "saved")
    finer, coarser = batch_for(tmp_path / "saved", with_image=True), batch_for(folder, with_image=True)
    assert finer["input_ids"].shape[1] > coarser["input_ids"].shape[1]
    assert logits_of(model, finer).shape[1] == finer["input_ids"].shape[1]


def test_a_model_that_merges_in_one_way_only_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_folder("qwen2_5_vl", tmp_path)
    read_preprocessor(folder, media=MediaSettings(downsample_mode="4x"))
    assert "downsample_mode has no effect: the model's image processor" in caplog.text
