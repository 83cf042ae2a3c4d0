"""From a model about to train to what it is compared with: how both take batches, and what runs once for both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BloomConfig, LlamaConfig

from tests.train.batches import FLOAT64
from tests.train.reference.prepared import Prepared, prepare, with_same_tokenizer
from tunesmith.models.frozen_copy import changing_tensors
from tunesmith.models.parts import core_model
from tunesmith.train.objectives.table import build_objective
from tunesmith.train.pipelines import build_held_out_pipeline, held_out_batches
from tunesmith.train.reference.kinds import AdapterOff, OtherModel, Stored
from tunesmith.train.reference.prepare import Compared, prepare_evaluation, prepare_reference
from tunesmith.train.steps.forward import Forward


def compared(prepared: Prepared) -> Compared:
    return prepare_reference(prepared.forward, prepared.data, prepared.settings)


@contextmanager
def patches_seen(*models: nn.Module) -> Iterator[list[int]]:
    """How many patches go through the first block of the models' towers."""
    seen: list[int] = []
    handles = [
        core_model(model).model.visual.blocks[0].register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
        for model in models
    ]
    yield seen
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_picture_of_a_pair_is_seen_once_for_both_answers_and_both_models(tuning, tmp_path, qwen2_5_vl_folder):
    changes = {"finetuning_type": tuning, "precompute_ref": False}
    prepared = prepare(qwen2_5_vl_folder, tmp_path, images=True, **changes)
    found = compared(prepared)
    assert isinstance(found.reference, AdapterOff if tuning == "lora" else OtherModel)
    model = prepared.forward.model
    forward = Forward(model, build_objective(prepared.settings, found.reference), FLOAT64, torch.device("cpu"))
    first, second, *_ = prepared.batches(size=2, with_values=False)
    forward.loss(first)  # the first run proves the heads of both models

    with patches_seen(*filter(None, (model, found.model))) as seen:
        forward.loss(second).loss_sum.backward()

    grids = second.inputs["image_grid_thw"]
    assert len(grids) == 2
    assert sum(seen) == int(grids.prod(dim=1).sum())
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "lora_B" in name)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_shared_features_change_no_value_and_no_gradient(tuning, tmp_path, qwen2_5_vl_folder):
    """Live, where the tower runs once for both, and stored, where it runs for the policy alone."""
    results = []
    for precompute in (False, True):
        prepared = prepare(qwen2_5_vl_folder, tmp_path, images=True, finetuning_type=tuning, precompute_ref=precompute)
        found = compared(prepared)
        with torch.no_grad():
            for number, tensor in enumerate(changing_tensors(prepared.forward.model).values()):
                tensor.add_(0.01 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)))
        objective = build_objective(prepared.settings, found.reference)
        forward = Forward(prepared.forward.model, objective, FLOAT64, torch.device("cpu"))
        pipeline = build_held_out_pipeline(
            *(prepared.data, prepared.data.train, prepared.settings),
            packing=found.packing,
            device=forward.device,
            values=found.values,
        )
        loss = forward.loss(next(iter(held_out_batches(pipeline)))).loss_sum
        loss.backward()
        gradients = {name: weight.grad for name, weight in forward.model.named_parameters() if weight.grad is not None}
        results.append((loss.item(), gradients))
    (live, gradients), (stored, others) = results
    assert stored == pytest.approx(live, rel=1e-12)
    assert live != pytest.approx(prepared.data.train.num_rows(0) * 0.6931, rel=1e-3)
    assert gradients.keys() == others.keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert (gradient - others[name]).abs().max() <= 1e-10 * largest, name


def test_two_architectures_that_keep_samples_apart_share_unpadded_batches(tmp_path, qwen2_folder):
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    other = with_same_tokenizer(qwen2_folder, tmp_path / "llama", LlamaConfig(**sizes, vocab_size=_rows(qwen2_folder)))
    prepared = prepare(qwen2_folder, tmp_path, ref_model=str(other), precompute_ref=False)
    found = compared(prepared)
    assert found.packing is not None
    assert found.packing.shares
    assert core_model(found.model).config.model_type == "llama"


def test_batches_are_padded_where_the_reference_needs_it_and_only_as_long_as_it_runs(tmp_path, qwen2_folder):
    """Bloom counts positions by itself, over the whole sequence."""
    config = BloomConfig(vocab_size=_rows(qwen2_folder), hidden_size=16, n_layer=1, n_head=2)
    other = with_same_tokenizer(qwen2_folder, tmp_path / "bloom", config)

    live = compared(prepare(qwen2_folder, tmp_path, ref_model=str(other), precompute_ref=False))
    stored = compared(prepare(qwen2_folder, tmp_path, ref_model=str(other), precompute_ref=True))

    assert isinstance(live.reference, OtherModel)
    assert live.packing is None
    assert isinstance(stored.reference, Stored)
    assert stored.packing is not None


def test_a_stage_that_compares_with_nothing_has_only_its_packing(tmp_path, qwen2_folder):
    prepared = prepare(qwen2_folder, tmp_path)
    training = prepared.settings.training.model_copy(update={"stage": "orpo"})
    settings = prepared.settings.model_copy(update={"training": training})
    for find in (prepare_reference, prepare_evaluation):
        found = find(prepared.forward, prepared.data, settings)
        assert (found.reference, found.values, found.model) == (None, None, None)
        assert found.packing is not None


def _rows(folder: Path) -> int:
    size: int = json.loads((folder / "config.json").read_text())["vocab_size"]
    return size
