"""A batch through the model to its loss, in the run's precision, on the run's device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tunesmith.data.batches.batch import Batch
from tunesmith.models.precision import Precision
from tunesmith.train.objectives.objective import LossSum, Objective
from tunesmith.train.objectives.root import Root, loss_of, statistics_of


@dataclass(frozen=True, slots=True)
class Forward:
    """What training and evaluation have in common.

    root: what is called: an engine's module around Root; None where the model and its objective suffice
    """

    model: nn.Module
    objective: Objective
    precision: Precision
    device: torch.device
    root: nn.Module | None = None

    def loss(self, batch: Batch, *, means: Tensor | None = None) -> LossSum:
        """The objective's sum over one batch, which is moved to the device. `means`: see Objective.loss."""
        with self.autocast():
            return loss_of(self._called, batch.to(self.device), means=means)

    def statistics(self, batch: Batch) -> Tensor | None:
        """The objective's statistics of one batch, which is moved to the device; no gradients are kept."""
        with self.autocast():
            return statistics_of(self._called, batch.to(self.device))

    def num_terms(self, batch: Batch) -> int:
        """Terms of a batch's loss; none of a filler."""
        return 0 if batch.is_filler else self.objective.num_terms(batch)

    @property
    def _called(self) -> nn.Module:
        return Root(self.model, self.objective) if self.root is None else self.root

    def autocast(self) -> AbstractContextManager[object]:
        """torch.autocast in the run's type, or nothing where every operation runs in the weights' own."""
        if self.precision.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision.autocast)
