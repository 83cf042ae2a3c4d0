"""Which parameter of the model a stored key becomes when transformers loads it.

transformers renames on loading (Qwen2.5-VL is stored as `visual.…` and lives at `model.visual.…`), makes several
parameters of one stored tensor, or one of several. All this is asked of transformers itself; no name is known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key


@dataclass(frozen=True, slots=True)
class SplitKey:
    """A stored tensor that becomes several parameters, and what transformers does for that.

    key:        the stored key
    parameters: what it becomes, in transformers' order
    """

    key: str
    parameters: tuple[str, ...]
    _converter: WeightConverter
    _model: PreTrainedModel

    def split(self, stored: torch.Tensor) -> dict[str, torch.Tensor]:
        """The parameters by name."""
        (pattern,) = self._converter.source_patterns
        return self._convert(self._converter, self.parameters[0], {self.key: (pattern, stored)})

    def join(self, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The stored tensor of changed parameters, the inverse of `split`."""
        back: Any = self._converter.reverse_transform()
        tensors: dict[str, tuple[str, torch.Tensor]] = {}
        for name in self.parameters:
            _, pattern = back.rename_source_key(name)
            tensors[name] = (pattern, parameters[name])
        target, _ = back.rename_source_key(self.parameters[0])
        (joined,) = self._convert(back, target, tensors).values()
        return joined

    def _convert(
        self, converter: WeightConverter, target: str, tensors: Mapping[str, tuple[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        once: Any = deepcopy(converter)
        for key, (pattern, tensor) in tensors.items():
            once.add_tensor(target, key, pattern, tensor)
        made = once.convert(target, model=self._model, config=self._model.config)
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}


@dataclass(frozen=True, slots=True)
class KeyMap:
    """`parameter_of` holds the stored keys that are only renamed, `splits` those that become several parameters.

    Parameters in neither are computed from several stored tensors.
    """

    parameter_of: dict[str, str]
    splits: dict[str, SplitKey]


def map_keys(model: PreTrainedModel, stored_keys: Iterable[str]) -> KeyMap:
    """Follow `from_pretrained` for each stored key. `model` may stand on the meta device."""
    transforms = get_model_conversion_mapping(model)
    renamings = [entry for entry in transforms if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in transforms if isinstance(entry, WeightConverter)]
    state: dict[str, torch.Tensor] = model.state_dict()
    parameter_of: dict[str, str] = {}
    splits: dict[str, SplitKey] = {}
    # Sorted, as from_pretrained goes through them: some renamings wait for an earlier key.
    for key in sorted(stored_keys):
        name, pattern = rename_source_key(key, renamings, converters, model.base_model_prefix, state)
        if name not in state and key in state:
            name, pattern = key, None
        if pattern is None:
            parameter_of[key] = name
            continue
        converter = next(entry for entry in converters if pattern in entry.source_patterns)
        if _splits(converter):
            splits[key] = SplitKey(key, _targets(name, converter), converter, model)
    return KeyMap(parameter_of, splits)


def _splits(converter: WeightConverter) -> bool:
    """Whether it makes several parameters of one tensor, and can make that tensor of them again."""
    if len(converter.source_patterns) != 1 or len(converter.target_patterns) == 1:
        return False
    try:
        converter.reverse_transform()
    except RuntimeError:  # what an operation of transformers without an inverse raises is one
        return False
    return True


def _targets(first: str, converter: WeightConverter) -> tuple[str, ...]:
    """The names of all parameters that `converter` makes, of which `first` is the first."""
    pattern = converter.target_patterns[0]
    return tuple(first.replace(pattern, target) for target in converter.target_patterns)
