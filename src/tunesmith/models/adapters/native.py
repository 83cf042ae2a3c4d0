"""Adapters on disk and the layers of the model they go on: published layers become transformers' on reading.

What is converted how is `adapter_layout`'s; which layers a model publishes otherwise says its family.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.utils import get_peft_model_state_dict, load_peft_weights
from transformers import PretrainedConfig

from tunesmith import log
from tunesmith.config.tuning import TuningSettings
from tunesmith.errors import UsageError
from tunesmith.models.adapters.layout import fuse_split_adapter, has_published_layout, split_fused_adapter
from tunesmith.models.adapters.stored import StoredAdapter, read_stored_adapter, write_stored_adapter
from tunesmith.models.families.published_layers import PublishedLayers
from tunesmith.models.families.table import find_family


def read_adapter(folder: Path, model: PretrainedConfig) -> tuple[PeftConfig, Mapping[str, torch.Tensor]]:
    """PEFT's config and weights of the adapter in `folder`, named and shaped for transformers' class of `model`.

    Raises what PEFT raises for files it cannot read, ModelError for a damaged adapter_config.json.
    """
    layers = published_layers_of(model)
    if layers is not None:
        stored = read_stored_adapter(folder)
        if stored.config.get("peft_type") == "LORA" and has_published_layout(stored, layers):
            native = split_fused_adapter(stored, layers)
            build: Any = PeftConfig.from_peft_type
            return build(**native.config), native.weights
    return PeftConfig.from_pretrained(str(folder)), load_peft_weights(str(folder), device="cpu")


def write_published_adapter(folder: Path, model: PretrainedConfig) -> None:
    """Rewrite the adapter in `folder`, which PEFT has just written, for the published layers of `model`.

    Raises ModelError for what cannot be fused (see `fuse_split_adapter`).
    """
    layers = published_layers_of(model)
    if layers is not None:
        write_stored_adapter(fuse_split_adapter(read_stored_adapter(folder), layers), folder)


def with_native_names(tuning: TuningSettings, model: PretrainedConfig) -> TuningSettings:
    """`lora_target` and `additional_target` with published names replaced by those of transformers' class, and said.

    Regular expressions stay: they are matched against transformers' names.
    """
    layers = published_layers_of(model)
    if layers is None:
        return tuning
    given = tuning.lora_target
    targets = tuple(name.strip() for name in given.split(",")) if isinstance(given, str) else given
    native = _translate(targets, layers, key="lora_target")
    return tuning.model_copy(
        update={
            "lora_target": given if native == targets else native,
            "additional_target": _translate(tuning.additional_target, layers, key="additional_target"),
        }
    )


def _translate(names: tuple[str, ...], layers: PublishedLayers, *, key: str) -> tuple[str, ...]:
    native = tuple(dict.fromkeys(found for name in names for found in layers.native_names(name)))
    if native != names:
        log.note_once(f"{key}: {', '.join(names)} means {', '.join(native)} in transformers' class of this model")
    return native


def published_layers_of(model: PretrainedConfig) -> PublishedLayers | None:
    """Which layers of a model are published under other names or fused; None where none are."""
    family = find_family(model.model_type)
    return family.published_layers(model) if family is not None and family.published_layers is not None else None


def check_published_layout(adapted: PeftModel) -> None:
    """See before training whether what trains can be saved for the published layers.

    Raises UsageError where the model's are the same anyway, ModelError for what cannot be fused.
    """
    model: Any = adapted.get_base_model()
    layers = published_layers_of(model.config)
    if layers is None:
        raise UsageError(
            "adapter_layout: published is for models whose published layers differ from transformers'; those of this "
            f"model ({model.config.model_type}) do not: leave the key out"
        )
    weights: Any = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    fuse_split_adapter(StoredAdapter(adapted.peft_config[adapted.active_adapter].to_dict(), weights), layers)
