"""Metrics of several batches as sums that stay on the device until they are read together with the losses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from tunesmith.train.objectives.objective import LossSum
from tunesmith.train.parallel.parallel import Parallel


@dataclass(frozen=True, slots=True)
class Mean:
    """A sum and what it is divided by."""

    total: float
    count: int

    @property
    def value(self) -> float | None:
        """The mean; None of nothing."""
        return self.total / self.count if self.count else None

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)


Means = dict[str, Mean]


@dataclass(frozen=True, slots=True)
class Totals:
    """What the micro-batches of all processes came to.

    norm:    what was to be read beside them
    telling: processes that have something to tell
    """

    loss_sum: float
    metrics: Means
    norm: float
    telling: int = 0


def add_over_processes(
    parallel: Parallel, losses: Sequence[LossSum], *, names: Sequence[str], norm: Tensor, tells: bool = False
) -> Totals:
    """Sums over the micro-batches of all processes, read in one transfer: the one wait for the device in a step.

    names: of all metrics that any loss may have
    norm:  () on the device, the same in every process
    tells: whether this process has something to tell
    """
    columns: list[list[Tensor | int]] = [[int(tells)], [loss.loss_sum for loss in losses]]
    for name in names:
        found = [loss.metrics[name] for loss in losses if name in loss.metrics]
        columns += [[metric.total for metric in found], [metric.count for metric in found]]
    sums = parallel.sum(torch.stack([_add(column, norm.device) for column in columns]))
    telling, loss_sum, *pairs, read_norm = torch.cat([sums, norm.detach().to(sums)[None]]).tolist()
    means = {name: Mean(pairs[2 * place], round(pairs[2 * place + 1])) for place, name in enumerate(names)}
    return Totals(loss_sum, means, read_norm, round(telling))


def _add(column: Iterable[Tensor | int], device: torch.device) -> Tensor:
    """() float64 on the device."""
    total = torch.zeros((), dtype=torch.float64, device=device)
    numbers = 0
    for value in column:
        if isinstance(value, Tensor):
            total += value.detach().to(device, torch.float64)
        else:
            numbers += value
    return total + numbers


def add_up(parts: Iterable[Means]) -> Means:
    """The sums of `parts` by name."""
    added: Means = {}
    for name, mean in chain.from_iterable(part.items() for part in parts):
        added[name] = added.get(name, Mean(0.0, 0)) + mean
    return added
