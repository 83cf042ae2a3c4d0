"""A batch through the model to its loss, in the run's precision, on the run's device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from tunesmith.data.batches.batch import Batch
from tunesmith.models.packing.split_attention import samples_apart
from tunesmith.models.precision import Precision
from tunesmith.train.objectives.objective import LossSum, Objective


@dataclass(frozen=True, slots=True)
class Forward:
    """What training and evaluation have in common."""

    model: nn.Module
    objective: Objective
    precision: Precision
    device: torch.device

    def loss(self, batch: Batch) -> LossSum:
        """The objective's sum over one batch, which is moved to the device; packed samples do not see each other."""
        with self.autocast(), samples_apart(batch.lengths):
            return self.objective.loss(self.model, batch.to(self.device))

    def autocast(self) -> AbstractContextManager[object]:
        """torch.autocast in the run's type, or nothing where every operation runs in the weights' own."""
        if self.precision.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision.autocast)
