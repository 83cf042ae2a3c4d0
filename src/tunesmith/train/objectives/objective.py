"""What the loop asks of a stage: how many terms a batch's loss has, and their sum.

The loop divides by the number of terms of the whole step, over every micro-batch and process; it knows no stage names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from tunesmith.data.batches.batch import Batch


@dataclass(frozen=True, slots=True)
class LossSum:
    """A batch's loss before division.

    loss_sum:    () with the graph: the sum over the batch's terms
    num_correct: () int64, of the terms how many the model got right
    """

    loss_sum: Tensor
    num_correct: Tensor


class Objective(Protocol):
    """One training stage: the loss of a batch."""

    def num_terms(self, batch: Batch) -> int:
        """Terms of the batch's loss, known before any forward: supervised tokens for SFT, pairs for DPO."""

    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        """Forward and sum. The batch is on the model's device; never called with a batch of no terms."""
