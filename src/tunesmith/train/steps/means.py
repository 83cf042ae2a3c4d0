"""Metrics of several batches as sums that stay on the device until they are read together with the losses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import torch
from torch import Tensor

from tunesmith.train.objectives.objective import LossSum


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
class Read:
    """What several batches came to: the loss sum of each, their metrics, and whatever else was asked for."""

    losses: tuple[float, ...]
    metrics: Means
    others: tuple[float, ...]


def read_together(losses: Sequence[LossSum], *others: Tensor) -> Read:
    """Everything in one transfer from the device. `others` are () tensors; at least one loss is there."""
    sums = [loss.loss_sum.detach() for loss in losses]
    metrics = [(name, metric) for loss in losses for name, metric in loss.metrics.items()]
    totals = [metric.total.detach() for _, metric in metrics]
    counts = [metric.count for _, metric in metrics if isinstance(metric.count, Tensor)]
    device, dtype = sums[0].device, torch.promote_types(sums[0].dtype, torch.float32)
    values = torch.stack([value.to(device, dtype) for value in (*sums, *totals, *counts, *others)])
    loss_sums, read_totals, read_counts, rest = _split(
        values.tolist(), (len(sums), len(totals), len(counts), len(others))
    )
    on_device = iter(read_counts)
    means = (
        {name: Mean(total, int(next(on_device)) if isinstance(metric.count, Tensor) else metric.count)}
        for (name, metric), total in zip(metrics, read_totals, strict=True)
    )
    return Read(loss_sums, add_up(means), rest)


def _split(values: Sequence[float], sizes: Sequence[int]) -> Iterator[tuple[float, ...]]:
    remaining = iter(values)
    return (tuple(islice(remaining, size)) for size in sizes)


def add_up(parts: Iterable[Means]) -> Means:
    """The sums of `parts` by name."""
    added: Means = {}
    for name, mean in chain.from_iterable(part.items() for part in parts):
        added[name] = added.get(name, Mean(0.0, 0)) + mean
    return added
