"""ZeRO-3's cut weights: how they are cut when a model is loaded, kept whole for a while, and put together.

Knows nothing of gradients and steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunesmith.train.parallel.deepspeed_library import submodule
from tunesmith.train.parallel.group import Group
from tunesmith.train.parallel.sharded_loading import Delivery

_HELD = -1
"""Stands among the modules that DeepSpeed believes to be running with a weight, so that it does not cut it."""


class _OneByOne(nn.Module):
    """The parameters of a model, each brought into the processes when it is asked for, and cut before the next is."""

    def __init__(self, root: nn.Module, delivery: Delivery, dtype: torch.dtype | None) -> None:
        super().__init__()
        self._of = (root, delivery, dtype)  # not as a submodule: this one has no parameters of its own

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:  # noqa: ARG002
        """Each once."""
        root, delivery, dtype = self._of
        for module in _children_first(root):
            delivery.bring(module)
            for parameter in module.parameters(recurse=False):
                if dtype is not None and parameter.is_floating_point():
                    parameter.data = parameter.data.to(dtype)
                yield parameter


def _children_first(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        yield from _children_first(child)
    yield module


def cut_one_by_one(library: Any, root: nn.Module, group: Group, *, dtype: torch.dtype | None, config: Any) -> None:
    """Bring the weights of a model that `load_on_first` loaded into the processes and cut each there.

    dtype: what the weights are kept in; None: as they are
    """
    library.zero.Init(module=_OneByOne(root, Delivery(root, group), dtype), config_dict_or_path=config)


@contextmanager
def linear_of_torch() -> Iterator[None]:
    """Afterwards torch's own linear is back, in whose place DeepSpeed puts one that does not keep gathered weights."""
    linear = functional.linear
    try:
        yield
    finally:
        functional.linear = linear


def hold(parameters: Sequence[nn.Parameter]) -> None:
    """Gather `parameters`, which stay whole until `release` or the next update. For all together."""
    if parameters:
        first: Any = parameters[0]
        first.all_gather([parameter for parameter in parameters if not _is_whole(parameter)])
        for parameter in parameters:
            _users(parameter).add(_HELD)


def release(parameters: Sequence[nn.Parameter]) -> None:
    """Cut again what `hold` gathered."""
    for parameter in parameters:
        _users(parameter).discard(_HELD)
        whole: Any = parameter
        if _is_whole(parameter) and not _users(parameter):
            whole.partition()


@contextmanager
def held(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside, `parameters` are whole. For all together."""
    cut = [parameter for parameter in parameters if _HELD not in _users(parameter)]
    hold(cut)
    try:
        yield
    finally:
        release(cut)


def shape_of(parameter: nn.Parameter) -> torch.Size:
    """The shape of a weight, whether it is cut or whole."""
    return torch.Size(vars(parameter).get("ds_shape", parameter.shape))


def is_zero_weight(tensor: Tensor) -> bool:
    """Whether DeepSpeed keeps a weight's master or its parts."""
    return isinstance(tensor, nn.Parameter) and bool({"ds_id", "_hp_mapping"} & vars(tensor).keys())


def whole_of(parameter: nn.Parameter) -> Tensor:
    """A copy of a weight, of its float32 master where it trains, put together. For all processes together."""
    if parameter.requires_grad:
        master: Tensor = submodule("utils").safe_get_full_fp32_param(parameter)
        return master.detach()
    with held([parameter]):
        return parameter.detach().clone()


def _is_whole(parameter: nn.Parameter) -> bool:
    status = submodule("runtime.zero.partition_parameters").ZeroParamStatus
    return bool(vars(parameter)["ds_status"] == status.AVAILABLE)


def _users(parameter: nn.Parameter) -> set[int]:
    users: set[int] = vars(parameter)["ds_active_sub_modules"]
    return users
