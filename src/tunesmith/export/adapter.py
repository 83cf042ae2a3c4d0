"""One adapter as a change of single weights: the base's tensor goes in, the merged tensor comes out.

The adapter is put by PEFT onto a hollow copy of the model, whose weights have their shapes and take no memory; each
layer is then given its real weight, merged by PEFT's own code, and emptied again. So every kind of adapter merges as
PEFT means it, and only one weight of the base is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import set_peft_model_state_dict
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tunesmith.errors import ModelError
from tunesmith.models.adapters.attach import read_adapter_for
from tunesmith.models.quiet import quiet_transformers

_NAME = "default"


class AdapterMerge:
    """The adapter in `folder` on `skeleton`, a model on the meta device, which is changed and must not be used again.

    Sums are made in `dtype`. `changed` names the parameters of the base that come out different.
    Raises ModelError where the adapter does not fit the model.
    """

    def __init__(self, skeleton: PreTrainedModel, folder: Path, *, dtype: torch.dtype) -> None:
        _make_hollow(skeleton, dtype)
        self._dtype = dtype
        self._model = _put_on(skeleton, folder).get_base_model()
        self._layers = {name: layer for name, layer in self._model.named_modules() if isinstance(layer, LoraLayer)}
        self._replaced = dict(_replaced_parameters(self._model, folder))
        self.changed = frozenset(self._replaced) | {f"{name}.weight" for name in self._layers}
        self.by_layer = _merges_by_layer(self._model)
        """Whether the changes are of the kinds that can be made one weight at a time."""

    def apply(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The merged parameter `name`, one of `changed`, from the base's `weight`."""
        weight = self._replaced.get(name, weight)  # PEFT saves an embedding below its adapter whole
        layer = self._layers.get(name.removesuffix(".weight"))
        return weight if layer is None else _merge_layer(layer, weight.to(self._dtype, copy=True))


def _merge_layer(layer: Any, weight: torch.Tensor) -> torch.Tensor:
    """`weight` itself, changed in place."""
    inner = layer.get_base_layer()
    empty = inner.weight
    if empty.shape != weight.shape:
        raise ModelError(f"the adapter expects a weight of {tuple(empty.shape)}, the base's is {tuple(weight.shape)}")
    inner.weight = nn.Parameter(weight, requires_grad=False)
    layer.merge()
    merged: torch.Tensor = inner.weight.data
    inner.weight = empty
    layer.merged_adapters.clear()
    return merged


def _make_hollow(skeleton: PreTrainedModel, dtype: torch.dtype) -> None:
    """Replace meta weights by CPU tensors that repeat one number.

    PEFT moves an adapter to the device and number format of the weight below it: on the meta device it would vanish.
    """
    hollow: dict[int, nn.Parameter] = {}  # tied weights stay tied
    for module in skeleton.modules():
        for name, parameter in [*module.named_parameters(recurse=False)]:
            if id(parameter) not in hollow:
                number = torch.zeros((), dtype=dtype)
                hollow[id(parameter)] = nn.Parameter(number.expand(parameter.shape), requires_grad=False)
            module.register_parameter(name, hollow[id(parameter)])


def _is_hollow(tensor: torch.Tensor) -> bool:
    return tensor.dim() > 0 and all(stride == 0 for stride in tensor.stride())


def _put_on(skeleton: PreTrainedModel, folder: Path) -> PeftModel:
    """As `models.adapters.attach_adapter`, but with the stored tensors put in place rather than copied into others."""
    try:
        with quiet_transformers():
            config, stored = read_adapter_for(skeleton, folder)
            config.inference_mode = True
            model: Any = get_peft_model(skeleton, config, autocast_adapter_dtype=False, low_cpu_mem_usage=True)
            report: Any = set_peft_model_state_dict(model, stored, low_cpu_mem_usage=True)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        message = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the adapter in {folder} does not fit the base model: {message}") from error
    absent = [*report.unexpected_keys, *(name for name in report.missing_keys if "lora_" in name)]
    if absent:
        raise ModelError(f"the adapter in {folder} does not fit the base model: {absent[0]} has no counterpart")
    adapted: PeftModel = model
    return adapted


def _merges_by_layer(model: nn.Module) -> bool:
    for module in model.modules():
        if isinstance(module, AuxiliaryTrainingWrapper) and not isinstance(module, ModulesToSaveWrapper):
            return False
        if isinstance(module, BaseTunerLayer) and not _changes_single_weight(module):
            return False
    return True


def _changes_single_weight(layer: BaseTunerLayer) -> bool:
    # lora_bias adds to the base's bias; a MultiheadAttention or a bare parameter has no `.weight` of its own.
    return (
        isinstance(layer, LoraLayer)
        and isinstance(layer.get_base_layer(), _SINGLE_WEIGHT)
        and not any(layer.lora_bias.values())
    )


_SINGLE_WEIGHT = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv1D)


def _replaced_parameters(model: nn.Module, folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters the adapter's file holds whole: modules saved with it, and biases that trained beside it."""
    wrappers = {name: module for name, module in model.named_modules() if isinstance(module, ModulesToSaveWrapper)}
    for path, wrapper in wrappers.items():
        for name, tensor in wrapper.modules_to_save[_NAME].state_dict().items():
            if _is_hollow(tensor):
                raise ModelError(f"the adapter in {folder} lacks {path}.{name}, which its adapter_config.json names")
            yield f"{path}.{name}", tensor
    for name, parameter in model.named_parameters():
        inside = any(name.startswith(f"{path}.") for path in wrappers)
        if not _is_hollow(parameter) and not inside and not _is_adapter_weight(name):
            yield name.replace(".base_layer.", "."), parameter.data


def _is_adapter_weight(name: str) -> bool:
    return any(part.startswith("lora_") for part in name.split("."))
