"""Gradients that are there in every process alike, and their norm over all of them. Knows no models.

FSDP2 sums the gradients of a unit in one message, of the weights that got one: where one process's micro-batch used a
weight and another's did not, the messages would differ in length. So every weight that may go unused gets a gradient of
zeros through the graph itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class _Zero(torch.autograd.Function):
    """0 from any tensors, each of which gets a gradient of zeros."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.alike = [(tensor.shape, tensor.dtype, tensor.device) for tensor in tensors]
        return tensors[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.zeros((), dtype=dtype, device=device).expand(shape) for shape, dtype, device in ctx.alike)


def give_zero_gradients(module: nn.Module, owners: Sequence[tuple[nn.Module, str]]) -> None:
    """From now on, a backward through `module`'s output reaches every weight of `owners`: modules with names of theirs.

    The output is a tensor or a tuple whose first one is; its value stays the same.
    """

    def reach(_: nn.Module, __: object, output: Any) -> Any:
        weights = {id(weight): weight for owner, name in owners if (weight := owner._parameters[name]) is not None}
        if not torch.is_grad_enabled() or not weights:
            return output
        zero = _Zero.apply(*weights.values())
        return output + zero if isinstance(output, Tensor) else (output[0] + zero, *output[1:])

    if owners:
        module.register_forward_hook(reach)


def keep_graph(module: nn.Module) -> None:
    """From now on, `module`'s output always has a graph, so that every process runs the same backward behind it."""

    def join(_: nn.Module, __: object, output: Tensor) -> Tensor:
        if not torch.is_grad_enabled() or output.requires_grad:
            return output
        return output + output.new_zeros(()).requires_grad_()

    module.register_forward_hook(join)


def own_part(tensor: Tensor) -> Tensor:
    """This process's part of a cut tensor (the same memory), or all of one that is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def clip_parts(gradients: Iterable[Tensor], add_up: Callable[[Tensor], None], *, max_norm: float) -> Tensor:
    """Scale cut and whole gradients to at most `max_norm` in all; their norm before, () on the device of the sums.

    add_up: the sum over the processes, in place, of a tensor on the device that it came with
    """
    gradients = list(gradients)
    cut = [own_part(gradient) for gradient in gradients if isinstance(gradient, DTensor)]
    whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    squares = _sum_of_squares(cut)
    add_up(squares)
    norm = (squares + _sum_of_squares(whole, like=squares)).sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for part in (*cut, *whole):
        part.mul_(scale.to(part.device, part.dtype))
    return norm


def _sum_of_squares(tensors: Iterable[Tensor], like: Tensor | None = None) -> Tensor:
    """(), in float64, on the device of `like` or of the tensors."""
    norms = [torch.linalg.vector_norm(tensor, dtype=_exact(tensor.dtype)).double() for tensor in tensors]
    if not norms:
        return torch.zeros((), dtype=torch.float64) if like is None else torch.zeros_like(like)
    device = norms[0].device if like is None else like.device
    return torch.stack([norm.to(device) for norm in norms]).square().sum()


def _exact(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
