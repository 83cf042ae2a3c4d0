"""One process, one device: nothing to share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tunesmith.train.parallel.gradients import fill_missing
from tunesmith.train.parallel.parallel import EngineName, Loaded, Value


class SingleProcess:
    """See Parallel."""

    name: EngineName = "single"
    rank = 0
    num_processes = 1
    lockstep = False
    same_media = False

    def load(self, build: Callable[[], Loaded]) -> Loaded:
        """What `build` makes."""
        return build()

    def cut(self, root: nn.Module) -> None:
        """Nothing is cut."""

    def attach(self, root: nn.Module, optimizer: Optimizer, *, max_grad_norm: float) -> nn.Module:  # noqa: ARG002
        """The module itself."""
        return root

    def backward(self, loss: Tensor, *, last: bool) -> None:  # noqa: ARG002  nothing to sum
        """Plain backward; a loss that depends on nothing that trains has no gradients to add."""
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Only what got no gradient changes: it is zero."""
        fill_missing(parameters)

    def clip(self, parameters: Iterable[Tensor], *, max_norm: float) -> Tensor:
        """torch's own clipping."""
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm)

    def scaler(self, device: torch.device, *, enabled: bool) -> torch.amp.GradScaler:
        """torch's own."""
        return torch.amp.GradScaler(device.type, enabled=enabled)

    def update(self, optimizer: Optimizer, scaler: torch.amp.GradScaler) -> None:
        """The optimiser's step, through the scaler."""
        scaler.step(optimizer)
        scaler.update()

    def clear_gradients(self, optimizer: Optimizer) -> None:
        """Gradients take no memory until there are any."""
        optimizer.zero_grad(set_to_none=True)

    def sum(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    def gather(self, value: Value) -> list[Value]:
        """The value alone."""
        return [value]

    def barrier(self) -> None:
        """Nobody to wait for."""

    def whole(self, root: nn.Module) -> AbstractContextManager[None]:  # noqa: ARG002
        """It always is."""
        return nullcontext()

    def close(self) -> None:
        """There is no group."""
