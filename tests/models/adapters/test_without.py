"""A model without its adapter is the model below it, and afterwards trains as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.given import batch_for, logits_of, settings_for, train_a_step
from tunesmith.models.adapters.without import without_adapters
from tunesmith.models.load import load_model
from tunesmith.models.tuning.apply import apply_tuning


@pytest.mark.parametrize(
    "tuning", [{}, {"use_dora": True}, {"additional_target": ["embed_tokens", "lm_head"]}, {"use_rslora": True}]
)
def test_it_is_the_model_below_whatever_the_adapter_has_learned(qwen2_folder: Path, tuning: dict[str, Any]) -> None:
    settings, batch = settings_for(qwen2_folder, tuning=tuning), batch_for(qwen2_folder)
    below = logits_of(load_model(settings, trains=True), batch)
    model = apply_tuning(load_model(settings, trains=True), settings)
    trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for _ in range(3):
        train_a_step(model.train(), batch, learning_rate=0.1)
    learned = logits_of(model, batch)

    with without_adapters(model):
        assert torch.equal(logits_of(model, batch), below)

    assert not torch.equal(learned, below)
    assert torch.equal(logits_of(model, batch), learned)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == trains


def test_weights_of_an_adapter_that_were_fixed_stay_fixed(qwen2_folder: Path) -> None:
    settings = settings_for(qwen2_folder)
    model = apply_tuning(load_model(settings, trains=True), settings)
    fixed = next(parameter for name, parameter in model.named_parameters() if "lora_A" in name)
    fixed.requires_grad_(False)

    with without_adapters(model):
        pass

    assert not fixed.requires_grad
    assert sum(parameter.requires_grad for parameter in model.parameters()) > 1


def test_the_adapter_is_back_after_an_error(qwen2_folder: Path) -> None:
    settings, batch = settings_for(qwen2_folder), batch_for(qwen2_folder)
    model = apply_tuning(load_model(settings, trains=True), settings)
    train_a_step(model.train(), batch, learning_rate=1.0)
    learned = logits_of(model, batch)

    with pytest.raises(RuntimeError), without_adapters(model):
        raise RuntimeError

    assert torch.equal(logits_of(model, batch), learned)
