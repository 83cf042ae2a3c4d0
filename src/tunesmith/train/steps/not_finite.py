"""Where a loss or a gradient that is not finite comes from: weights, rows, or only their sum.

Looked for only once a step has one: every suspected sample is run again alone. Changes nothing but gradients, which are
empty afterwards. Knows no files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tunesmith.chat.message import RowSource
from tunesmith.data.batches.batch import Batch
from tunesmith.errors import RunError
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.portions import Split
from tunesmith.train.steps.row_names import name_sources


@dataclass(frozen=True, slots=True)
class Ran:
    """A portion that a step ran, and what its loss came to."""

    batch: Batch
    loss_sum: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """What one process found about a step that is not finite.

    rank:    the process; weight: the first of its weights with a value that is not finite, None if all are
    rows:    the rows whose own loss or gradient is not finite; (): none is by itself
    losses:  what the losses of its micro-batches came to
    batches: the micro-batches that hold those rows; all it ran where no row is known
    """

    rank: int
    weight: str | None
    rows: tuple[RowSource, ...]
    losses: tuple[float, ...]
    batches: tuple[Batch, ...] = field(repr=False)


class NotFiniteError(RunError):
    """A step's loss or gradients are not finite, in some process: no weight was changed in any.

    what:    "the loss is nan" or "the gradients are inf"
    trouble: what this process found
    """

    def __init__(self, what: str, trouble: Trouble) -> None:
        suspects = trouble.rows or [row for batch in trouble.batches for row in batch.sources]
        super().__init__(f"{what}{f' {name_sources(suspects)}' if suspects else ''}. No weight was changed")
        self.what = what
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Looks for what is not finite.

    parameters: what trains; split: None where samples cannot be run alone; num_terms: of the step
    means:      what the losses of the step depended on
    """

    forward: Forward
    parameters: Sequence[Tensor]
    split: Split | None
    num_terms: int
    means: Tensor | None

    def find(self, ran: Sequence[Ran], *, rank: int, among_gradients: bool) -> Trouble:
        """What this process can say of a step: its losses, or `among_gradients` where all losses are finite."""
        suspects = [item.batch for item in ran if among_gradients or not math.isfinite(item.loss_sum)]
        broken = [(batch, self._broken_rows(batch, among_gradients)) for batch in suspects]
        rows = tuple(row for _, found in broken for row in found)
        if among_gradients and rows:
            suspects = [batch for batch, found in broken if found]
        return Trouble(
            rank=rank,
            weight=broken_weight(self.forward.model),
            rows=rows,
            losses=tuple(item.loss_sum for item in ran),
            batches=tuple(suspects),
        )

    def _broken_rows(self, batch: Batch, among_gradients: bool) -> list[RowSource]:
        """The rows of `batch` that are not finite when they run alone; where none can, all that a loss names."""
        samples = list(self._alone(batch))
        if len(samples) == 1 and not among_gradients:
            return list(samples[0].sources)
        if self.split is None:
            return [] if among_gradients else list(batch.sources)
        return [row for sample in samples if self._is_broken(sample, among_gradients) for row in sample.sources]

    def _alone(self, batch: Batch) -> Iterator[Batch]:
        halves = None if self.split is None or len(batch.sources) == 1 else self.split(batch)
        if halves is None:
            yield batch
        else:
            for half in halves:
                yield from self._alone(half)

    def _is_broken(self, sample: Batch, among_gradients: bool) -> bool:
        if not self.forward.num_terms(sample):
            return False
        if not among_gradients:
            with torch.no_grad():
                return not _is_finite(self._loss(sample))
        for parameter in self.parameters:
            parameter.grad = None
        loss = self._loss(sample)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        is_broken = any(parameter.grad is not None and not _is_finite(parameter.grad) for parameter in self.parameters)
        for parameter in self.parameters:
            parameter.grad = None
        return is_broken

    def _loss(self, sample: Batch) -> Tensor:
        return self.forward.loss(sample, means=self.means).loss_sum / self.num_terms


def broken_weight(model: nn.Module) -> str | None:
    """The first weight of `model`, as far as it is here, with a value that is not finite, and whether it trains."""
    for name, parameter in model.named_parameters():
        values = local_values(parameter)
        if values.is_floating_point() and not _is_finite(values):
            return f"{name} ({'trains' if parameter.requires_grad else 'of the base, does not train'})"
    return None


def local_values(tensor: Tensor) -> Tensor:
    """What of `tensor` this process holds: all, or its shard of one that is cut over the processes."""
    if isinstance(tensor, DTensor):
        shard: Tensor = tensor.to_local().detach()
        return shard
    return tensor.detach()


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
