"""Every architecture there is a tiny model of trains a step and comes back from disk, without code of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.models.given import batch_for_kind, logits_of, settings_for, train_a_step
from tests.tiny import AUDIO_KINDS, IMAGE_KINDS, KINDS, tiny_folder
from tunesmith.models.folder import load_folder
from tunesmith.models.load import load_model
from tunesmith.models.preprocessing.processor import load_preprocessor
from tunesmith.models.saving import save_trained
from tunesmith.models.tuning.apply import apply_tuning

DOCUMENT = Path(__file__).parents[2] / "docs" / "architectures.md"


@pytest.mark.parametrize("finetuning_type", ["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_trains_a_step_and_round_trips(kind: str, finetuning_type: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = tiny_folder(kind, tmp_path / "base")
    tuning = {"finetuning_type": finetuning_type, "freeze_vision_tower": False, "freeze_multi_modal_projector": False}
    settings = settings_for(folder, tuning=tuning)
    batch = batch_for_kind(kind, folder)
    model = apply_tuning(load_model(settings, trains=True), settings)
    untrained = logits_of(model, batch)

    train_a_step(model.train(), batch)
    train_a_step(model, batch)
    save_trained(model, tmp_path / "run")
    load_preprocessor(settings.model, settings.media).save(tmp_path / "run")
    loaded, processor = load_folder(tmp_path / "run", device="cpu")

    # torch folds a product of three-dimensional tensors or not by whether the weight requires a gradient
    model.requires_grad_(False)
    loaded.requires_grad_(False)
    assert not torch.equal(logits_of(model, batch), untrained)
    assert torch.equal(logits_of(loaded, batch), logits_of(model, batch))
    assert (kind in IMAGE_KINDS) == hasattr(processor, "image_processor")
    assert (kind in AUDIO_KINDS) == hasattr(processor, "feature_extractor")


def test_the_document_lists_what_is_tried_here() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []
