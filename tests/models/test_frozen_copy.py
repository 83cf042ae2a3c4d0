"""A copy that stays as the model was, and holds memory for nothing but what trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.given import batch_for, logits_of, settings_for, train_a_step
from tunesmith.models.frozen_copy import changing_tensors, frozen_copy
from tunesmith.models.load import load_model
from tunesmith.models.packing.split_attention import split_attention
from tunesmith.models.parts import core_model
from tunesmith.models.quantization import is_quantized
from tunesmith.models.tuning.apply import apply_tuning

TUNINGS = {
    "lora": {"tuning": {"lora_rank": 4}},
    "full": {"tuning": {"finetuning_type": "full"}},
    "freeze": {"tuning": {"finetuning_type": "freeze", "freeze_trainable_layers": 1}},
    "biases": {"tuning": {"lora_bias": "all"}},
    "embeddings": {"tuning": {"additional_target": ["embed_tokens"]}},
}


def tuned(folder: Path, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    given = settings_for(folder, **settings)
    return apply_tuning(load_model(given, trains=True), given)


def memory(*models: nn.Module) -> dict[int, int]:
    """Bytes of every stretch of memory that the models' tensors lie in."""
    tensors = [tensor for model in models for tensor in (*model.parameters(), *model.buffers())]
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}


@pytest.mark.parametrize("tuning", TUNINGS)
def test_it_costs_what_trains_and_not_a_byte_more(qwen2_folder: Path, tuning: str) -> None:
    model = tuned(qwen2_folder, **TUNINGS[tuning])

    copied = frozen_copy(model)

    extra = sum(memory(model, copied).values()) - sum(memory(model).values())
    assert extra == sum(tensor.nbytes for tensor in changing_tensors(model).values()) > 0
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert not any(module.training for module in copied.modules())
    assert all(module.training for module in core_model(model).modules())


@pytest.mark.parametrize("tuning", TUNINGS)
def test_it_stays_what_the_model_was_when_the_training_began(qwen2_folder: Path, tuning: str) -> None:
    model, batch = tuned(qwen2_folder, **TUNINGS[tuning]), batch_for(qwen2_folder)
    before = logits_of(model, batch)

    copied = frozen_copy(model)
    for _ in range(3):
        train_a_step(model.train(), batch, learning_rate=0.1)

    assert torch.equal(logits_of(copied, batch), before)
    assert not torch.equal(logits_of(model, batch), before)


@pytest.mark.parametrize("bits", [4, 8])
def test_packed_weights_and_what_they_are_read_with_are_shared(qwen2_folder: Path, bits: int) -> None:
    pytest.importorskip("bitsandbytes")
    model, batch = tuned(qwen2_folder, quantization_bit=bits), batch_for(qwen2_folder)
    assert is_quantized(model)
    before = logits_of(model, batch)

    copied = frozen_copy(model)
    train_a_step(model.train(), batch, learning_rate=1.0)

    extra = sum(memory(model, copied).values()) - sum(memory(model).values())
    assert extra == sum(tensor.nbytes for tensor in changing_tensors(model).values())
    states = [
        [vars(parameter).get("quant_state") for parameter in each.parameters() if vars(parameter).get("quant_state")]
        for each in (model, copied)
    ]
    assert all(one is other for one, other in zip(*states, strict=True))
    assert torch.equal(logits_of(copied, batch), before)


def test_attention_that_is_chosen_later_is_chosen_for_the_copy_too(qwen2_folder: Path) -> None:
    model = tuned(qwen2_folder)
    copied = frozen_copy(model)

    assert split_attention(model)

    assert core_model(copied).config is core_model(model).config


def test_the_running_statistics_of_batch_norms_are_not_shared() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).requires_grad_(False).train()
    copied = frozen_copy(model)

    model(torch.arange(6.0).reshape(3, 2))

    assert copied[0].weight is model[0].weight
    assert model[1].running_mean.abs().max() > 0
    assert copied[1].running_mean.abs().max() == 0
