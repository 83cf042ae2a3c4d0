"""The adapter inside a checkpoint of XTuner's as PEFT's two files.

Rank, adapted layers and whole modules follow from the names and shapes of its weights; alpha and dropout are not in
them. Layers keep the names that the training's model had; where a family of ours has others, loading translates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from tunesmith.convert.training_config import LoraRecipe
from tunesmith.errors import ModelError
from tunesmith.models.adapters.stored import PREFIX, RankAlpha, StoredAdapter, patterns, write_stored_adapter

_INSIDE_MODEL = re.compile(r"(\.lora_\w+|\.modules_to_save)\.default(?=\.|$)")
"""Inside a model PEFT names the adapter, which its files leave out."""
_WHOLE = ".modules_to_save."
_RANK_SHOWN_BY = re.compile(r"\.lora_(A\.weight|embedding_A)$")
_NUMBER = re.compile(r"\.(\d+)(?=\.)")


def write_adapter(
    weights: Mapping[str, torch.Tensor], folder: Path, *, base: str, recipe: LoraRecipe, task_type: str | None
) -> None:
    """Write PEFT's files for `weights`, the adapter of one part of a checkpoint, made on the model named `base`.

    task_type: CAUSAL_LM for language models, None for towers

    Raises ModelError for adapters of another kind than LoRA.
    """
    named = {_INSIDE_MODEL.sub(r"\1", name): tensor for name, tensor in weights.items()}
    foreign = [name for name in named if ".lora_" not in name and _WHOLE not in name]
    if foreign or not all(name.startswith(PREFIX) for name in named):
        raise ModelError(
            f"the checkpoint's adapter holds {(foreign or list(named))[0]}, which is neither LoRA nor a module saved "
            "whole; adapters that trained biases are not converted"
        )
    ranks = {
        _RANK_SHOWN_BY.sub("", name.removeprefix(PREFIX)): RankAlpha(tensor.shape[0], recipe.alpha)
        for name, tensor in named.items()
        if _RANK_SHOWN_BY.search(name)
    }
    stored = {name.replace(_WHOLE, "."): tensor for name, tensor in named.items()}
    config = _config(ranks, recipe) | {
        "base_model_name_or_path": base,
        "modules_to_save": sorted({_leaf(name.partition(_WHOLE)[0]) for name in named if _WHOLE in name}) or None,
        "task_type": task_type,
        "use_dora": any("lora_magnitude_vector" in name for name in named),
    }
    write_stored_adapter(StoredAdapter(config, stored), folder)


def _config(ranks: Mapping[str, RankAlpha], recipe: LoraRecipe) -> dict[str, Any]:
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "r": max(own.rank for own in ranks.values()),
        "lora_alpha": recipe.alpha,
        "lora_dropout": recipe.dropout,
        "use_rslora": recipe.use_rslora,
        "bias": "none",
        "target_modules": _targets(ranks),
        "inference_mode": True,
    }
    return config | patterns(config, ranks)


def _targets(modules: Iterable[str]) -> list[str]:
    """Short names where every layer has them all, whole names elsewhere: PEFT adapts all layers of a short name."""
    layers: dict[str, set[str]] = {}
    for module in modules:
        number = _NUMBER.search(module)
        layers.setdefault(number[1] if number else "", set()).add(_leaf(module))
    numbered = {number: leaves for number, leaves in layers.items() if number}
    is_regular = set(numbered) == {str(number) for number in range(len(numbered))}
    alike = all(leaves == next(iter(numbered.values())) for leaves in numbered.values())
    if is_regular and alike and not layers.get("", set()) & set().union(*numbered.values()):
        return sorted(set().union(*layers.values()))
    return sorted(modules)


def _leaf(module: str) -> str:
    return module.rpartition(".")[2]
