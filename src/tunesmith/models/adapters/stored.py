"""A LoRA adapter as it lies on disk in PEFT's layout, module by module, apart from any model.

Knows PEFT's names and its rules for ranks and alphas; nothing of what a model's layers are called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from peft.utils import load_peft_weights
from safetensors.torch import save_file

from tunesmith.models.files.trained import ADAPTER_CONFIG
from tunesmith.models.files.weight_files import read_json

PREFIX = "base_model.model."
"""What PEFT puts before the name of each of the model's modules."""

_OF_MODULE = re.compile(r"\.(?=lora_|base_layer\.)")
_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """`config` is adapter_config.json; `weights` what adapter_model.safetensors holds, under PEFT's names."""

    config: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]

    def by_module(self) -> dict[str, dict[str, torch.Tensor]]:
        """For each module, by its name in the model, its tensors: `lora_A.weight`, `lora_B.weight`, `weight`, …"""
        modules: dict[str, dict[str, torch.Tensor]] = {}
        for key, tensor in self.weights.items():
            module, tail = _split_key(key.removeprefix(PREFIX))
            modules.setdefault(module, {})[tail] = tensor
        return modules


@dataclass(frozen=True, slots=True)
class RankAlpha:
    """The rank and alpha of one module's LoRA."""

    rank: int
    alpha: float

    def scaling(self, *, rank_stabilised: bool) -> float:
        """What PEFT multiplies B A by (rank-stabilised: arXiv 2312.03732)."""
        return self.alpha / (sqrt(self.rank) if rank_stabilised else self.rank)

    def at_rank(self, rank: int, *, rank_stabilised: bool) -> RankAlpha:
        """The same scaling at another rank."""
        growth = sqrt(rank / self.rank) if rank_stabilised else rank / self.rank
        alpha = self.alpha * growth
        return RankAlpha(rank, int(alpha) if alpha == int(alpha) else alpha)


def rank_and_alpha(config: Mapping[str, Any], module: str) -> RankAlpha:
    """As PEFT reads `r`, `lora_alpha` and their patterns."""
    rank = _by_pattern(config.get("rank_pattern"), module, config["r"])
    return RankAlpha(rank, _by_pattern(config.get("alpha_pattern"), module, config["lora_alpha"]))


def patterns(config: Mapping[str, Any], modules: Mapping[str, RankAlpha]) -> dict[str, dict[str, float]]:
    """`rank_pattern` and `alpha_pattern` that give `modules` what they have, short names where they suffice."""
    ranks = {name: value.rank for name, value in modules.items() if value.rank != config["r"]}
    alphas = {name: value.alpha for name, value in modules.items() if value.alpha != config["lora_alpha"]}
    return {"rank_pattern": _shortened(ranks, modules), "alpha_pattern": _shortened(alphas, modules)}


def read_stored_adapter(folder: Path) -> StoredAdapter:
    """The adapter in `folder`. Raises ModelError for a damaged adapter_config.json, what PEFT raises for weights."""
    return StoredAdapter(read_json(folder / ADAPTER_CONFIG), load_peft_weights(str(folder), device="cpu"))


def write_stored_adapter(adapter: StoredAdapter, folder: Path) -> None:
    """Write both files into `folder`, created if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: tensor.contiguous() for key, tensor in adapter.weights.items()}
    save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
    text = json.dumps(dict(adapter.config), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")


def _split_key(key: str) -> tuple[str, str]:
    """`a.q.lora_A.weight` → `a.q` and `lora_A.weight`, `a.q.base_layer.bias` → `a.q`; `a.norm.weight` → `a.norm`."""
    parts = _OF_MODULE.split(key, maxsplit=1)
    if len(parts) == 2:
        return parts[0], parts[1]
    module, _, tail = key.rpartition(".")
    return module, tail


def _by_pattern(pattern: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    found = (value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", module))
    return next(found, default)


def _shortened(values: Mapping[str, float], modules: Iterable[str]) -> dict[str, float]:
    """Keys by the last step of a name where all modules of that name share a value, by the whole name elsewhere."""
    of_leaf: dict[str, set[float | None]] = {}
    for module in modules:
        of_leaf.setdefault(module.rpartition(".")[2], set()).add(values.get(module))
    short = {leaf for leaf, found in of_leaf.items() if len(found) == 1}
    named = {name.rpartition(".")[2]: name for name in values}
    result: dict[str, float] = {leaf: values[name] for leaf, name in named.items() if leaf in short}
    return result | {re.escape(name): value for name, value in values.items() if name.rpartition(".")[2] not in short}
