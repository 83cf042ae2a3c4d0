from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.models.given import settings_for
from tests.tiny import tiny_folder
from tunesmith.models.load import load_model
from tunesmith.models.tuning.apply import apply_tuning, parameter_groups

RATE = 1e-3


def groups_of(folder: Path, *, weight_decay: float = 0.1, **tuning: Any) -> dict[str, dict[str, Any]]:
    """The groups by name, for a learning rate of 1e-3."""
    settings = settings_for(folder, tuning=tuning, training={"learning_rate": RATE, "weight_decay": weight_decay})
    groups = parameter_groups(apply_tuning(load_model(settings, trains=True), settings), settings)
    assert len({id(parameter) for group in groups for parameter in group["params"]}) == sum(
        len(group["params"]) for group in groups
    )
    return {f"{group['name']} {group['lr']:g}": group for group in groups}


def test_biases_and_norms_do_not_decay(qwen2_folder: Path) -> None:
    groups = groups_of(qwen2_folder, finetuning_type="full")

    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "language model, weights 0.001": 0.1,
        "language model, biases and norms 0.001": 0.0,
    }
    assert all(parameter.dim() == 2 for parameter in groups["language model, weights 0.001"]["params"])
    assert len(groups["language model, biases and norms 0.001"]["params"]) == 11


def test_only_what_trains_is_in_a_group(qwen2_5_vl_folder: Path) -> None:
    groups = groups_of(qwen2_5_vl_folder)

    assert list(groups) == ["language model, weights 0.001"]
    assert len(groups["language model, weights 0.001"]["params"]) == 28


def test_a_learning_rate_per_part(qwen2_5_vl_folder: Path) -> None:
    groups = groups_of(
        qwen2_5_vl_folder,
        finetuning_type="full",
        freeze_vision_tower=False,
        freeze_multi_modal_projector=False,
        vision_learning_rate=1e-5,
        projector_learning_rate=2e-4,
    )

    assert list(groups) == [
        "vision tower, weights 1e-05",
        "vision tower, biases and norms 1e-05",
        "projector, biases and norms 0.0002",
        "projector, weights 0.0002",
        "language model, weights 0.001",
        "language model, biases and norms 0.001",
        "output head, weights 0.001",
    ]


def test_a_learning_rate_per_part_with_adapters(tmp_path: Path) -> None:
    groups = groups_of(
        tiny_folder("llava", tmp_path),
        freeze_vision_tower=False,
        freeze_multi_modal_projector=False,
        vision_learning_rate=1e-5,
        projector_learning_rate=2e-4,
    )

    assert {name: len(group["params"]) for name, group in groups.items()} == {
        "vision tower, weights 1e-05": 24,
        "projector, weights 0.0002": 2,
        "projector, biases and norms 0.0002": 2,
        "language model, weights 0.001": 28,
    }
    assert [name for name, group in groups.items() if group["is_main"]] == ["language model, weights 0.001"]


def test_lora_plus_trains_b_faster(qwen2_folder: Path) -> None:
    groups = groups_of(qwen2_folder, loraplus_lr_ratio=16.0, lora_target="q_proj,embed_tokens")

    assert {name: len(group["params"]) for name, group in groups.items()} == {
        "language model, weights 1e-06": 2,
        "language model, weights 0.001": 2,
        "language model, weights 0.016": 2,
    }


def test_an_optimiser_takes_them(qwen2_folder: Path) -> None:
    groups = groups_of(qwen2_folder)
    optimizer = torch.optim.AdamW(list(groups.values()))
    assert [group["lr"] for group in optimizer.param_groups] == [group["lr"] for group in groups.values()]
