"""Which parameter of the model a stored key becomes when transformers loads it.

transformers renames on loading (Qwen2.5-VL is stored as `visual.…` and lives at `model.visual.…`) and sometimes
computes a parameter from several stored tensors. Both are asked of transformers itself; no name is known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key


@dataclass(frozen=True, slots=True)
class KeyMap:
    """`parameter_of` holds the stored keys that are only renamed; `computed` the parameters that are not."""

    parameter_of: dict[str, str]
    computed: frozenset[str]


def map_keys(model: PreTrainedModel, stored_keys: Iterable[str]) -> KeyMap:
    """Follow `from_pretrained` for each stored key. `model` may stand on the meta device."""
    transforms = get_model_conversion_mapping(model)
    renamings = [entry for entry in transforms if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in transforms if isinstance(entry, WeightConverter)]
    state: dict[str, torch.Tensor] = model.state_dict()
    parameter_of: dict[str, str] = {}
    computed: set[str] = set()
    # Sorted, as from_pretrained goes through them: some renamings wait for an earlier key.
    for key in sorted(stored_keys):
        name, converter = rename_source_key(key, renamings, converters, model.base_model_prefix, state)
        if name not in state and key in state:
            name, converter = key, None
        if converter is not None:
            computed.add(name)
        else:
            parameter_of[key] = name
    return KeyMap(parameter_of, frozenset(computed))
