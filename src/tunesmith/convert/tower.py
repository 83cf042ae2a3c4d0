"""A CLIP tower with what XTuner trained of it put in: an adapter merged, or its weights replaced.

XTuner's names are those of older transformers (`vision_model.encoder…`); which they are now is asked of transformers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tunesmith.compose.vision_tower import VisionTower
from tunesmith.errors import ModelError
from tunesmith.export.keys import map_keys
from tunesmith.models.adapters.attach import attach_adapter
from tunesmith.models.adapters.stored import PREFIX, StoredAdapter, read_stored_adapter, write_stored_adapter

_LORA = ".lora_"


def merge_tower_adapter(tower: VisionTower, adapter: Path, *, scratch: Path) -> VisionTower:
    """The tower with the adapter of folder `adapter` added into its weights.

    scratch: a folder to write into

    Raises ModelError where the adapter does not fit.
    """
    stored = read_stored_adapter(adapter)
    renamed = scratch / "renamed_adapter"
    write_stored_adapter(_with_present_names(stored, tower.model), renamed)
    merged: Any = attach_adapter(tower.model, renamed, trains=False).merge_and_unload()
    return replace(tower, model=merged)


def replace_tower_weights(model: PreTrainedModel, weights: Mapping[str, torch.Tensor], source: Path) -> None:
    """Put full weights of XTuner's into `model`, in its own number format. Raises ModelError where they do not fit."""
    names = map_keys(model, weights).parameter_of
    own = model.state_dict()
    absent = [name for name in own if name not in set(names.values()) and not name.endswith("position_ids")]
    foreign = [key for key, name in names.items() if name not in own and not key.endswith("position_ids")]
    if absent or foreign:
        raise ModelError(f"the vision tower in {source} does not fit the one given: {(absent or foreign)[0]} differs")
    for key, name in names.items():
        if name in own and own[name].shape != weights[key].shape:
            raise ModelError(
                f"the vision tower in {source} does not fit the one given: {key} is {tuple(weights[key].shape)}, "
                f"there it is {tuple(own[name].shape)}"
            )
        if name in own:
            own[name].copy_(weights[key])


def _with_present_names(stored: StoredAdapter, model: PreTrainedModel) -> StoredAdapter:
    modules = {key.removeprefix(PREFIX).partition(_LORA)[0] for key in stored.weights}
    present = _present_names(modules, model)
    weights = {}
    for key, tensor in stored.weights.items():
        module, mark, tail = key.removeprefix(PREFIX).partition(_LORA)
        weights[f"{PREFIX}{present[module]}{mark}{tail}"] = tensor
    targets = stored.config.get("target_modules")
    if isinstance(targets, list):
        targets = [present.get(name, name) for name in targets]
    return StoredAdapter({**stored.config, "target_modules": targets}, weights)


def _present_names(modules: Iterable[str], model: PreTrainedModel) -> dict[str, str]:
    names = map_keys(model, [f"{module}.weight" for module in modules]).parameter_of
    return {key.removesuffix(".weight"): name.removesuffix(".weight") for key, name in names.items()}
