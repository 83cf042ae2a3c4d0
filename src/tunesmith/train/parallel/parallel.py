"""The narrow seam between the loop and how many processes run it, by which engine.

The loop asks for nothing else about distribution; every engine is one class with these methods. What the processes
have in common is told in `docs/distributed.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

EngineName = Literal["single", "ddp", "fsdp2", "deepspeed"]
Value = TypeVar("Value")
Loaded = TypeVar("Loaded", bound=nn.Module)


class Parallel(Protocol):
    """What a run needs that differs with the number of processes and the engine.

    In the order in which a run calls them: `load`, `cut`, `attach`, then for every step `backward` of each micro-batch,
    `sum_gradients`, `clip`, `update`. What is said to be for all processes together must be called by all of them.
    """

    @property
    def name(self) -> EngineName:
        """The engine."""

    @property
    def rank(self) -> int:
        """This process's number, 0 on the one that writes the run folder."""

    @property
    def num_processes(self) -> int:
        """How many processes share each step's micro-batches."""

    @property
    def lockstep(self) -> bool:
        """Whether every process must run the model equally often, with the same parts of it: weights are gathered
        while it runs."""

    @property
    def same_media(self) -> bool:
        """In lockstep, whether every micro-batch must have the kinds of media that any process's has at that turn."""

    def load(self, build: Callable[[], Loaded]) -> Loaded:
        """The model that `build` makes, with its trained weights the same in every process. For all together."""

    def cut(self, root: nn.Module) -> None:
        """Cut the weights of `root` over the processes where the engine does, before the optimiser is built."""

    def attach(self, root: nn.Module, optimizer: Optimizer, *, max_grad_norm: float) -> nn.Module:
        """The module that the loop calls in place of `root`. `max_grad_norm`: what `clip` will be asked for, 0 for none
        (DeepSpeed clips in its own update)."""

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradients of one micro-batch. `last`: of this process's in the step."""

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """After a step's last micro-batch: every gradient is its sum over the processes. Weights that got none have
        gradient zero. For all together."""

    def clip(self, parameters: Iterable[Tensor], *, max_norm: float) -> Tensor:
        """Scale gradients to at most `max_norm` (infinity: only measure); returns their total norm over all processes,
        ()."""

    def scaler(self, device: torch.device, *, enabled: bool) -> torch.amp.GradScaler:
        """What scales fp16's losses; not `enabled`, it changes nothing. After `attach`."""

    def update(self, optimizer: Optimizer, scaler: torch.amp.GradScaler) -> None:
        """Change the weights; a step that the scaler finds to overflow changes none, in any process."""

    def clear_gradients(self, optimizer: Optimizer) -> None:
        """Forget all gradients, before a step and after one that is given up."""

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over the processes, of the same shape, on the same device. For all together."""

    def gather(self, value: Value) -> list[Value]:
        """The `value` of every process, by rank; small objects that can be pickled. For all together."""

    def barrier(self) -> None:
        """Wait until every process is here."""

    def whole(self, root: nn.Module) -> AbstractContextManager[None]:
        """Inside, the model can be called outside of Root's forward, by all processes alike: proofs, answers to
        questions."""

    def close(self) -> None:
        """Leave the group of processes."""
