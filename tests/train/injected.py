"""Faults put into real models through torch's own hooks: memory that runs out, values that stop being numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

NO_MEMORY = "CUDA out of memory. Tried to allocate 20.00 MiB (injected)"


@dataclass(slots=True)
class Seen:
    """Tokens of the micro-batches in which memory ran out, in order."""

    sizes: list[int] = field(default_factory=list)


@contextmanager
def no_memory_above(
    num_tokens: int,
    *,
    where: Literal["forward", "backward"] = "forward",
    most: int | None = None,
    evaluating: bool = False,
) -> Iterator[Seen]:
    """Inside, memory runs out in every micro-batch of more tokens: in the first layer's forward, or in its backward,
    when the gradients of all later layers are added already.

    most: so often, then it fits; evaluating: also in forwards that do not train
    """
    seen = Seen()

    def fail(size: int) -> None:
        if most is None or len(seen.sizes) < most:
            seen.sizes.append(size)
            raise torch.OutOfMemoryError(NO_MEMORY)

    def in_first_layer(output: Tensor) -> None:
        size = output.shape[0] * output.shape[1]
        if size <= num_tokens or not (evaluating or torch.is_grad_enabled()):
            return
        if where == "forward":
            fail(size)
        elif output.requires_grad:
            output.register_hook(lambda _: fail(size))

    with _after_first_layer(lambda output: in_first_layer(output) or output):
        yield seen


@contextmanager
def not_a_number(token: int, *, where: Literal["loss", "gradient"] = "loss", most: int | None = None) -> Iterator[None]:
    """Inside, what training computes of `token` is NaN: what its embedding gives, or the gradient at its place.

    most: in so many forwards that train
    """
    ids = torch.empty(0)
    times = 0

    def remember(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        nonlocal ids, times
        if not isinstance(module, nn.Embedding) or not module.training:
            return output
        ids = inputs[0]
        if not (ids == token).any() or (most is not None and times >= most):
            ids = torch.full_like(ids, -1)
            return output
        times += torch.is_grad_enabled()
        return output.masked_fill((ids == token)[..., None], torch.nan) if where == "loss" else output

    def break_gradient(output: Tensor) -> Tensor:
        here = (ids == token)[..., None]
        if where == "gradient" and output.requires_grad and here.any():
            output.register_hook(lambda gradient: gradient.masked_fill(here, torch.nan))
        return output

    handle = register_module_forward_hook(remember)
    try:
        with _after_first_layer(break_gradient):
            yield
    finally:
        handle.remove()


@contextmanager
def _after_first_layer(change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change what the first decoder layer of any model gives."""

    def hook(module: nn.Module, _: tuple[Any, ...], output: Any) -> Any:
        attention = dict(module.named_children()).get("self_attn")
        if not type(module).__name__.endswith("DecoderLayer") or attention is None or attention.layer_idx != 0:
            return output
        return change(output) if isinstance(output, Tensor) else (change(output[0]), *output[1:])

    handle = register_module_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
