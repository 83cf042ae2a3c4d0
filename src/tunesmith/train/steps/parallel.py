"""The narrow seam between the loop and how many processes run it.

The loop asks for nothing else about distribution. DDP, FSDP2 and DeepSpeed each become one more class here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn


class Parallel(Protocol):
    """What a training step needs that differs with the number of processes."""

    @property
    def rank(self) -> int:
        """This process's number, 0 on the one that writes the run folder."""

    @property
    def num_processes(self) -> int:
        """How many processes share each step's micro-batches."""

    def prepare(self, model: nn.Module) -> nn.Module:
        """The module whose forward the loop calls."""

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add gradients; on the step's last micro-batch they are summed over the processes."""

    def clip(self, parameters: Iterable[Tensor], *, max_norm: float) -> Tensor:
        """Scale gradients to at most `max_norm` (infinity: only measure); returns their total norm, ()."""

    def total(self, count: int) -> int:
        """The sum of `count` over the processes."""

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over the processes, of the same shape."""

    def barrier(self) -> None:
        """Wait until every process is here."""


class SingleProcess:
    """One process, one device."""

    rank = 0
    num_processes = 1

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def backward(self, loss: Tensor, *, last: bool) -> None:  # noqa: ARG002  nothing to sum
        """Plain backward; a loss that depends on nothing that trains has no gradients to add."""
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]

    def clip(self, parameters: Iterable[Tensor], *, max_norm: float) -> Tensor:
        """torch's own clipping."""
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm)

    def total(self, count: int) -> int:
        """The count itself."""
        return count

    def sum(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    def barrier(self) -> None:
        """Nobody to wait for."""
