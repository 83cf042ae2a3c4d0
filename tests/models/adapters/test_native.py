"""Adapters in both layouts on a model whose published layers differ from transformers'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.models.given import batch_for, logits_of, settings_for, train_a_step
from tests.tiny import tiny_folder
from tunesmith.errors import ModelError, UsageError
from tunesmith.models.adapters.attach import attach_adapter
from tunesmith.models.load import load_model
from tunesmith.models.saving import save_trained
from tunesmith.models.tuning.apply import apply_tuning
from tunesmith.models.vocabulary import grow_to_adapter

PUBLISHED = {"wqkv", "wo", "w1", "w2", "w3"}
NATIVE = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("internlm2", tmp_path_factory.mktemp("internlm2"))


def trained(folder: Path, **tuning: Any) -> Any:
    settings = settings_for(folder, tuning={"lora_rank": 4, **tuning})
    torch.manual_seed(0)
    model = apply_tuning(load_model(settings, trains=True), settings)
    for _ in range(2):  # B is zero before the first step
        train_a_step(model, batch_for(folder), learning_rate=1.0)
    return model


def attached(folder: Path, adapter: Path, *, trains: bool = False) -> Any:
    model = load_model(settings_for(folder), trains=True)
    grow_to_adapter(model, adapter)
    return attach_adapter(model, adapter, trains=trains)


@pytest.mark.parametrize("layout", ["native", "published"])
@pytest.mark.parametrize(
    "tuning",
    [{}, {"lora_target": "q_proj,v_proj"}, {"use_dora": True}, {"additional_target": ["lm_head", "embed_tokens"]}],
    ids=["all", "queries and values", "DoRA", "whole modules"],
)
def test_an_adapter_reads_back_in_either_layout(
    layout: Any, tuning: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    model = trained(folder, **tuning)
    save_trained(model, tmp_path, adapter_layout=layout)
    targets = set(json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"])
    batch = batch_for(folder)

    assert targets <= (PUBLISHED if layout == "published" else NATIVE)
    assert ("wqkv" in str(load_file(tmp_path / "adapter_model.safetensors").keys())) == (layout == "published")
    torch.testing.assert_close(logits_of(attached(folder, tmp_path), batch), logits_of(model, batch), rtol=0, atol=1e-5)


def test_training_goes_on_from_the_published_layout_at_the_same_rank(folder: Path, tmp_path: Path) -> None:
    model = trained(folder)
    save_trained(model, tmp_path, adapter_layout="published")
    again = attached(folder, tmp_path, trains=True)

    weights = {name: weight.shape for name, weight in again.named_parameters() if weight.requires_grad}
    assert weights == {name: weight.shape for name, weight in model.named_parameters() if weight.requires_grad}
    assert train_a_step(again, batch_for(folder)) == pytest.approx(train_a_step(model, batch_for(folder)), abs=1e-5)


def test_published_names_in_the_settings_are_understood(folder: Path) -> None:
    settings = settings_for(folder, tuning={"lora_target": "wqkv, w1", "additional_target": ["output"]})
    model: Any = apply_tuning(load_model(settings, trains=True), settings)
    config = model.peft_config["default"]

    assert set(config.target_modules) == {"q_proj", "k_proj", "v_proj", "gate_proj"}
    assert config.modules_to_save == ["lm_head"]


def test_a_model_without_other_layers_refuses_the_published_layout(qwen2_folder: Path) -> None:
    settings = settings_for(qwen2_folder, tuning={"adapter_layout": "published"})

    with pytest.raises(UsageError, match=r"those of this model \(qwen2\) do not"):
        apply_tuning(load_model(settings, trains=True), settings)


def test_what_cannot_be_fused_is_said_before_training(folder: Path) -> None:
    tuning = {"adapter_layout": "published", "lora_target": "q_proj", "use_dora": True}
    settings = settings_for(folder, tuning=tuning)

    with pytest.raises(ModelError, match=r"lora_magnitude_vector needs self_attn\.k_proj, self_attn\.v_proj too"):
        apply_tuning(load_model(settings, trains=True), settings)
