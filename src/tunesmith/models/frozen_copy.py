"""A copy of a model that stays as it is while the model trains, and costs only what trains.

Everything that training does not change is the same memory in both. Knows nothing of what the copy is for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PretrainedConfig

from tunesmith.errors import UsageError
from tunesmith.models.quantization import is_packed

Model = TypeVar("Model", bound=nn.Module)


def frozen_copy(model: Model) -> Model:
    """A copy of `model` in evaluation mode, of which nothing trains.

    Parameters and buffers that training leaves alone are shared, packed ones with all that belongs to them; so are the
    configs, by which attention is chosen. Raises UsageError for a model whose weights are cut over several processes.
    """
    if is_cut(model):
        raise UsageError(
            "a model whose weights are cut over the processes cannot be copied to compare it with itself; set "
            "precompute_ref: true (with streaming: false), give ref_model, or use parallel: ddp"
        )
    memo = {id(shared): shared for shared in _shared(model)}
    return copy.deepcopy(model, memo).requires_grad_(False).eval()


def is_cut(model: nn.Module) -> bool:
    """Whether a process holds only its part of some weight, by FSDP2 or ZeRO-3."""
    return any(isinstance(one, DTensor) or "ds_id" in vars(one) for one in model.parameters())


def changing_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters that train, and the running statistics of batch norms."""
    tensors: dict[str, Tensor] = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return tensors | {name: value for name, value in model.named_buffers() if _is_statistic(model, name)}


def _shared(model: nn.Module) -> Iterator[object]:
    """What the copy takes from `model` as it is."""
    changing = {id(tensor) for tensor in changing_tensors(model).values()}
    yield from (tensor for tensor in (*model.parameters(), *model.buffers()) if id(tensor) not in changing)
    for module in model.modules():
        beside = vars(module).values()
        yield from (value for value in beside if isinstance(value, PretrainedConfig))
        if any(is_packed(parameter) for parameter in module.parameters(recurse=False)):
            yield from (value for value in beside if not isinstance(value, dict))  # what a packed weight is read with


def _is_statistic(model: nn.Module, name: str) -> bool:
    owner = model.get_submodule(name.rpartition(".")[0])
    return isinstance(owner, nn.modules.batchnorm._BatchNorm)
