"""What makes values computed before no longer those of the reference, and what does not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tunesmith.config.read import load_settings_from
from tunesmith.train.reference.choose import Kind
from tunesmith.train.reference.reference_key import reference_key


@pytest.fixture
def model(qwen2_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(qwen2_folder, tmp_path / "model")
    return tmp_path / "model"


def key(model: Path, *, kind: Kind = "adapter off", encoder_key: str = "encoder", **changes: Any) -> str:
    settings = load_settings_from({"model_name_or_path": str(model), "stage": "dpo", **changes})
    return reference_key(settings, kind, encoder_key=encoder_key, device=torch.device("cpu"))


def test_what_changes_the_values_changes_the_key(model, qwen2_folder):
    keys = [
        key(model),
        key(qwen2_folder),
        key(model, encoder_key="another"),
        key(model, kind="frozen copy", finetuning_type="full"),
        key(model, kind="frozen copy", finetuning_type="freeze"),
        key(model, bf16=True),
        key(model, quantization_bit=4),
        key(model, flash_attn="eager"),
        key(model, kind="other model", ref_model=str(qwen2_folder)),
        key(model, kind="other model", ref_model=str(qwen2_folder), ref_model_quantization_bit=4),
    ]
    assert len(set(keys)) == len(keys)


def test_what_decides_only_what_the_model_learns_does_not(model):
    same = {
        "learning_rate": 1.0,
        "lora_rank": 64,
        "num_train_epochs": 9,
        "pref_beta": 0.5,
        "pref_loss": "ipo",
        "seed": 1,
    }
    assert {key(model, **{name: value}) for name, value in same.items()} == {key(model)}


def test_other_weights_under_the_same_name_are_others(model):
    before = key(model)
    (file,) = model.glob("*.safetensors")
    os.utime(file, ns=(0, 0))
    assert key(model) != before


def test_new_random_weights_depend_on_the_seed(model):
    for option in ("resize_vocab", "train_from_scratch"):
        assert key(model, **{option: True}, seed=1) != key(model, **{option: True}, seed=2)


@pytest.mark.parametrize("is_folder", [False, True])
def test_another_projector_under_the_same_name_is_another(model, tmp_path, is_folder):
    place = tmp_path / "projector.pth"
    file = place / "mp_rank_00_model_states.pt" if is_folder else place
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"one")
    before = key(model, pretrained_pth=str(place))
    os.utime(file, ns=(0, 0))
    assert key(model, pretrained_pth=str(place)) != before != key(model)
