"""Stored keys followed to parameters and back, asked of transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.export.adapters import write_adapter
from tests.tiny import tiny_folder
from tunesmith.export.keys import map_keys
from tunesmith.export.merge import build_skeleton, plan_merge
from tunesmith.models.load import load_config, read_pretrained

FUSED = "model.layers.0.attention.wqkv.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("internlm2", tmp_path_factory.mktemp("internlm2"))


def test_a_tensor_of_several_parameters_comes_apart_as_loading_does_it(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    loaded = read_pretrained(folder, load_config(folder), dtype=None, device="cpu").state_dict()
    split = map_keys(build_skeleton(folder), stored).splits[FUSED]
    parts = split.split(stored[FUSED])

    assert split.parameters == tuple(f"model.layers.0.self_attn.{name}_proj.weight" for name in "qkv")
    assert parts.keys() == set(split.parameters)
    assert all(torch.equal(part, loaded[name]) for name, part in parts.items())
    assert torch.equal(split.join(parts), stored[FUSED])


def test_every_stored_key_is_followed(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    model = build_skeleton(folder)
    key_map = map_keys(model, stored)
    split = [name for found in key_map.splits.values() for name in found.parameters]

    assert {*key_map.parameter_of, *key_map.splits} == set(stored)
    assert sorted([*key_map.parameter_of.values(), *split]) == sorted(model.state_dict())


def test_an_adapter_on_split_parameters_is_merged_weight_by_weight(folder: Path, tmp_path: Path) -> None:
    adapter = write_adapter(folder, tmp_path, target_modules=["k_proj"])
    plan = plan_merge(folder, (adapter,))
    stored = load_file(folder / "model.safetensors")
    parts = plan.splits[FUSED].split(plan.merged_split(plan.splits[FUSED], stored[FUSED]))
    before = plan.splits[FUSED].split(stored[FUSED])

    changed = [name.split(".")[-2] for name in parts if not torch.equal(parts[name], before[name])]
    assert changed == ["k_proj"]


def test_experts_of_several_stored_tensors_are_in_neither(tmp_path: Path) -> None:
    folder = tiny_folder("qwen3_moe", tmp_path)
    stored = load_file(folder / "model.safetensors")
    key_map = map_keys(build_skeleton(folder), stored)

    assert not key_map.splits
    assert not any(".experts." in name for name in key_map.parameter_of.values())
