"""What the loop asks of a stage: how many terms a batch's loss has, and their sum.

The loop divides by the number of terms of the whole step, over every micro-batch and process; it knows no stage names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor, nn

from tunesmith.data.batches.batch import Batch

Term = Literal["token", "pair", "answer"]


@dataclass(frozen=True, slots=True)
class MetricSum:
    """A metric before division: `total`, () without a graph, over `count` of whatever it is a mean of.

    count: an integer, or () on the device where it depends on the batch's values
    """

    total: Tensor
    count: int | Tensor


@dataclass(frozen=True, slots=True)
class LossSum:
    """A batch's loss before division.

    loss_sum: () with the graph: the sum over the batch's terms
    metrics:  what is shown beside the loss, by its name in metrics.jsonl
    """

    loss_sum: Tensor
    metrics: Mapping[str, MetricSum] = field(default_factory=dict)


class Objective(Protocol):
    """One training stage: the loss of a batch."""

    @property
    def term(self) -> Term:
        """What the loss is a mean over."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names that LossSum.metrics may have."""

    @property
    def num_statistics(self) -> int:
        """How many numbers `statistics` gives; 0 where a batch's loss depends on the batch alone."""

    def num_terms(self, batch: Batch) -> int:
        """Terms of the batch's loss, known before any forward: supervised tokens for SFT, pairs for DPO."""

    def statistics(self, model: nn.Module, batch: Batch) -> Tensor | None:
        """(num_statistics,) sums over the batch's terms of what the loss of every term depends on as a mean over the
        whole step (the KL of KTO); None where there are none. Called without gradients, before any loss."""

    def loss(self, model: nn.Module, batch: Batch, *, means: Tensor | None) -> LossSum:
        """Forward and sum. The batch is on the model's device; never called with a batch of no terms.

        means: (K,) the statistics' sums over the number of terms of the whole step
        """
