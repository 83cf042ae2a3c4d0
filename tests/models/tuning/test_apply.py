from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.given import settings_for
from tunesmith.errors import NotSupportedYetError, UsageError
from tunesmith.models.load import load_model
from tunesmith.models.parts import Part, find_parts, plain_name
from tunesmith.models.tuning.apply import apply_tuning


def tuned(folder: Path, training: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **tuning: Any):
    """The model of a folder after apply_tuning."""
    settings = settings_for(folder, tuning=tuning, training=training, **(model or {}))
    return apply_tuning(load_model(settings, trains=True), settings)


def trainable(model: torch.nn.Module) -> set[str]:
    return {plain_name(name) for name, parameter in model.named_parameters() if parameter.requires_grad}


def trainable_parts(model: torch.nn.Module) -> set[Part]:
    parts = find_parts(model)
    return {parts.part_of(name) for name in trainable(model)}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, {Part.LANGUAGE_MODEL, Part.HEAD}),
        ({"freeze_vision_tower": False}, {Part.LANGUAGE_MODEL, Part.HEAD, Part.VISION_TOWER}),
        ({"freeze_multi_modal_projector": False}, {Part.LANGUAGE_MODEL, Part.HEAD, Part.PROJECTOR}),
        ({"freeze_multi_modal_projector": False, "freeze_language_model": True}, {Part.PROJECTOR}),
    ],
)
def test_full_trains_every_weight_of_the_parts_that_are_not_frozen(
    qwen2_5_vl_folder: Path, flags: dict[str, bool], expected: set[Part]
) -> None:
    model = tuned(qwen2_5_vl_folder, finetuning_type="full", **flags)
    parts = find_parts(model)

    assert trainable(model) == {name for name, _ in model.named_parameters() if parts.part_of(name) in expected}


def test_full_on_a_text_model_trains_everything(qwen2_folder: Path) -> None:
    assert all(parameter.requires_grad for parameter in tuned(qwen2_folder, finetuning_type="full").parameters())


def test_freeze_counts_layers_from_the_end_or_the_start(qwen2_folder: Path) -> None:
    last = trainable(tuned(qwen2_folder, finetuning_type="freeze", freeze_trainable_layers=1))
    first = trainable(tuned(qwen2_folder, finetuning_type="freeze", freeze_trainable_layers=-1))

    assert {name.split(".")[2] for name in last} == {"1"} and len(last) == 12
    assert {name.split(".")[2] for name in first} == {"0"} and len(first) == 12


def test_freeze_with_modules_and_extras(qwen2_5_vl_folder: Path) -> None:
    model = tuned(
        qwen2_5_vl_folder,
        finetuning_type="freeze",
        freeze_trainable_modules="mlp,input_layernorm",
        freeze_extra_modules="norm,lm_head",
    )

    assert {name.rpartition(".")[0].partition("layers.")[2][2:] for name in trainable(model) if "layers." in name} == {
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
        "input_layernorm",
    }
    assert {name for name in trainable(model) if "layers." not in name} == {
        "lm_head.weight",
        "model.language_model.norm.weight",
    }


@pytest.mark.parametrize(
    ("tuning", "says"),
    [
        ({"freeze_trainable_layers": 3}, "does not fit a model of 2 layers"),
        ({"freeze_trainable_layers": 0}, "does not fit a model of 2 layers"),
        (
            {"freeze_trainable_modules": "attention"},
            "attention is not in this model's layers; they have input_layernorm",
        ),
        ({"freeze_extra_modules": "embeddings"}, "there is no module 'embeddings'; there are"),
        ({"freeze_extra_modules": "visual"}, r"visual lies in a frozen part \(freeze_vision_tower: true\)"),
    ],
)
def test_freeze_settings_that_do_not_fit(qwen2_5_vl_folder: Path, tuning: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        tuned(qwen2_5_vl_folder, finetuning_type="freeze", **tuning)


def test_lora_trains_the_adapter_alone(qwen2_5_vl_folder: Path) -> None:
    model = tuned(qwen2_5_vl_folder)

    assert len(trainable(model)) == 28
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable(model))
    assert trainable_parts(model) == {Part.LANGUAGE_MODEL}


def test_lora_reaches_the_parts_that_are_not_frozen(qwen2_5_vl_folder: Path) -> None:
    model = tuned(qwen2_5_vl_folder, freeze_vision_tower=False, freeze_multi_modal_projector=False)

    assert trainable_parts(model) == {Part.LANGUAGE_MODEL, Part.VISION_TOWER, Part.PROJECTOR}


def test_nothing_left_to_train_names_the_keys(qwen2_5_vl_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing is left to train: freeze_language_model: true, freeze_multi"):
        tuned(qwen2_5_vl_folder, finetuning_type="full", freeze_language_model=True)


@pytest.mark.parametrize(
    ("training", "kind", "trained", "frozen"),
    [
        ({"bf16": True}, "lora", torch.float32, torch.bfloat16),
        ({"bf16": True}, "full", torch.float32, torch.bfloat16),
        ({"fp16": True}, "freeze", torch.float32, torch.float16),
        ({"pure_bf16": True}, "lora", torch.bfloat16, torch.bfloat16),
        ({}, "full", torch.float32, torch.float32),
    ],
)
def test_number_formats_of_what_trains_and_what_does_not(
    qwen2_5_vl_folder: Path, training: dict[str, bool], kind: str, trained: torch.dtype, frozen: torch.dtype
) -> None:
    model = tuned(qwen2_5_vl_folder, training, finetuning_type=kind)

    found = {(parameter.requires_grad, parameter.dtype) for parameter in model.parameters()}
    assert found == {(True, trained), (False, frozen)}


def test_the_status_is_printed_where_asked_for(qwen2_5_vl_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tunesmith"):
        tuned(qwen2_5_vl_folder, model={"print_param_status": True})

    assert "language model, adapter            8,192            8,192  100.00%    32.0 KiB" in caplog.text


def test_another_kind_of_tuning(qwen2_folder: Path) -> None:
    with pytest.raises(NotSupportedYetError, match="oft"):
        tuned(qwen2_folder, finetuning_type="oft")
