"""Adapters on published layers and on transformers' layers change a model alike, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from tunesmith.errors import ModelError
from tunesmith.models.adapters.layout import fuse_split_adapter, has_published_layout, split_fused_adapter
from tunesmith.models.adapters.stored import StoredAdapter, rank_and_alpha, read_stored_adapter, write_stored_adapter
from tunesmith.models.families.published_layers import FusedLayer, PublishedLayers

WIDTH, ROWS = 6, 12
LAYERS = PublishedLayers(
    renamed=(("attention.wo", "self_attn.o_proj"), ("output", "lm_head")),
    fused=(
        FusedLayer(
            "attention.wqkv",
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            (torch.tensor([0, 1, 2, 6, 7, 8]), torch.tensor([3, 4, 9]), torch.tensor([5, 10, 11])),
        ),
    ),
)
(FUSED,) = LAYERS.fused


class Published(nn.Module):
    """One layer with the published names: an output that depends on every row of `wqkv`, on `wo` and on the head."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Module()
        self.attention.wqkv = nn.Linear(WIDTH, ROWS, dtype=torch.float64)
        self.attention.wo = nn.Linear(ROWS, WIDTH, dtype=torch.float64)
        self.output = nn.Linear(WIDTH, 5, dtype=torch.float64)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(self.attention.wo(torch.tanh(self.attention.wqkv(hidden))))
        return logits


class Native(nn.Module):
    """The same with its names and weights split."""

    def __init__(self, published: Any) -> None:
        super().__init__()
        self.self_attn = nn.Module()
        weights = FUSED.split(published.attention.wqkv.weight.detach())
        biases = FUSED.split(published.attention.wqkv.bias.detach())
        for name, weight, bias in zip(FUSED.native, weights, biases, strict=True):
            part = nn.Linear(WIDTH, len(weight), dtype=torch.float64)
            part.load_state_dict({"weight": weight, "bias": bias})
            self.add_part(name, part)
        self.self_attn.o_proj = published.attention.wo
        self.lm_head = published.output

    def add_part(self, name: str, part: nn.Linear) -> None:
        self.self_attn.add_module(name.rpartition(".")[2], part)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        parts = [self.get_submodule(name)(hidden).movedim(-1, 0) for name in FUSED.native]
        logits: torch.Tensor = self.lm_head(self.self_attn.o_proj(torch.tanh(FUSED.fuse(parts).movedim(0, -1))))
        return logits


def published_model() -> Published:
    torch.manual_seed(0)
    return Published()


def random_adapter(model: nn.Module, folder: Path, **options: Any) -> StoredAdapter:
    """A stored adapter of random weights; `options` are LoraConfig's."""
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(**{"r": 2, "lora_alpha": 3} | options))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return read_stored_adapter(folder)


def answer(model: nn.Module, adapter: StoredAdapter, folder: Path) -> torch.Tensor:
    """What `model` makes of fixed input with the adapter on it."""
    write_stored_adapter(adapter, folder)
    adapted = PeftModel.from_pretrained(model, str(folder), autocast_adapter_dtype=False).eval()
    hidden = torch.randn((3, WIDTH), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        logits: torch.Tensor = adapted(hidden)
    return logits


def equal(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


KINDS: dict[str, dict[str, Any]] = {
    "all": {"target_modules": ["wqkv", "wo"]},
    "fused alone": {"target_modules": ["wqkv"]},
    "rank-stabilised": {"target_modules": ["wqkv", "wo"], "use_rslora": True},
    "own ranks": {"target_modules": ["wqkv", "wo"], "rank_pattern": {"wqkv": 3}, "alpha_pattern": {"wqkv": 7}},
    "DoRA": {"target_modules": ["wqkv", "wo"], "use_dora": True},
    "biases": {"target_modules": ["wqkv"], "bias": "lora_only"},
    "a whole head": {"target_modules": ["wqkv"], "modules_to_save": ["output"]},
    "an expression": {"target_modules": r"attention\..*"},
}
NATIVE_KINDS: dict[str, dict[str, Any]] = {
    "all": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    "queries and values": {"target_modules": ["q_proj", "v_proj"]},
    "keys": {"target_modules": ["k_proj"]},
    "rank-stabilised": {"target_modules": ["q_proj", "k_proj", "v_proj"], "use_rslora": True},
    "own ranks": {
        "target_modules": ["q_proj", "k_proj", "v_proj"],
        "rank_pattern": {"k_proj": 1, "v_proj": 3},
        "alpha_pattern": {"v_proj": 7},
    },
    "DoRA": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"], "use_dora": True},
    "biases": {"target_modules": ["q_proj", "k_proj", "v_proj"], "bias": "lora_only"},
    "a whole head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "an expression": {"target_modules": r"self_attn\.[qkv]_proj"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_adapter_split_changes_the_model_alike(kind: str, tmp_path: Path) -> None:
    published = random_adapter(published_model(), tmp_path / "made", **KINDS[kind])
    native = split_fused_adapter(published, LAYERS)

    assert has_published_layout(published, LAYERS)
    assert not has_published_layout(native, LAYERS)
    expected = answer(published_model(), published, tmp_path / "published")
    found = answer(Native(published_model()), native, tmp_path / "native")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", NATIVE_KINDS)
def test_a_native_adapter_fused_changes_the_model_alike(kind: str, tmp_path: Path) -> None:
    native = random_adapter(Native(published_model()), tmp_path / "made", **NATIVE_KINDS[kind])
    published = fuse_split_adapter(native, LAYERS)

    expected = answer(Native(published_model()), native, tmp_path / "native")
    found = answer(published_model(), published, tmp_path / "published")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "an expression"])
def test_split_and_fused_again_it_is_the_same_file(kind: str, tmp_path: Path) -> None:
    published = random_adapter(published_model(), tmp_path, **KINDS[kind])
    again = fuse_split_adapter(split_fused_adapter(published, LAYERS), LAYERS)

    assert equal(again.weights, published.weights)
    assert set(again.config["target_modules"]) == set(published.config["target_modules"])
    assert rank_and_alpha(again.config, "attention.wqkv") == rank_and_alpha(published.config, "attention.wqkv")


@pytest.mark.parametrize("kind", ["all", "rank-stabilised", "own ranks", "DoRA", "biases"])
def test_fused_and_split_again_it_is_the_same_file(kind: str, tmp_path: Path) -> None:
    """Each part gets its own columns back, not the rank of the fused layer."""
    native = random_adapter(Native(published_model()), tmp_path, **NATIVE_KINDS[kind])
    again = split_fused_adapter(fuse_split_adapter(native, LAYERS), LAYERS)

    assert {name: tensor.shape for name, tensor in again.weights.items()} == {
        name: tensor.shape for name, tensor in native.weights.items()
    }
    for name, tensor in native.weights.items():
        scaled = kind == "own ranks" and "lora_B" in name  # parts of other scalings take the first one's
        assert scaled or torch.equal(again.weights[name], tensor), name


def test_a_fused_adapter_has_three_times_the_rank_and_the_same_scaling(tmp_path: Path) -> None:
    native = random_adapter(Native(published_model()), tmp_path, r=2, lora_alpha=3, **NATIVE_KINDS["all"])
    config = fuse_split_adapter(native, LAYERS).config

    assert config["target_modules"] == ["wo", "wqkv"]
    assert (config["rank_pattern"], config["alpha_pattern"]) == ({"wqkv": 6}, {"wqkv": 9})
    assert (config["r"], config["lora_alpha"]) == (2, 3)


def test_parts_without_their_magnitudes_cannot_be_fused(tmp_path: Path) -> None:
    native = random_adapter(Native(published_model()), tmp_path, target_modules=["q_proj", "v_proj"], use_dora=True)

    with pytest.raises(ModelError, match=r"wqkv\.lora_magnitude_vector needs self_attn\.k_proj too"):
        fuse_split_adapter(native, LAYERS)
