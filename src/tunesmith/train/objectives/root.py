"""The model with its objective as one module: its forward is the loss of one batch.

Engines that gather weights while a module runs (FSDP2, ZeRO-3) hook this one. So inside its forward the weights that
no layer of the decoder owns (embeddings, norms, the head whose chunks the loss multiplies by) are whole.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from tunesmith.data.batches.batch import Batch
from tunesmith.train.objectives.objective import LossSum, Objective


class Root(nn.Module):
    """`model` and the objective that is taken of it, which may be set later than the engine hooks the module."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, batch: Batch, *, means: Tensor | None = None, wanted: Literal["loss", "statistics"] = "loss"
    ) -> tuple[Tensor | None, LossSum | None]:
        """The loss sum or the statistics of a batch on the model's device, and of the loss what else it came with.

        Tensors with a graph are handed out bare, because engines look for them there.
        """
        if wanted == "statistics":
            return self.objective.statistics(self.model, batch), None
        loss = self.objective.loss(self.model, batch, means=means)
        return loss.loss_sum, LossSum(loss.loss_sum.detach(), loss.metrics)


def loss_of(root: nn.Module, batch: Batch, *, means: Tensor | None) -> LossSum:
    """The objective's sum over one batch, with the graph that the engine sees; of a filler zero times it, and no
    metrics."""
    loss_sum, rest = root(batch, means=means)
    assert loss_sum is not None and rest is not None
    return LossSum(loss_sum * 0.0) if batch.is_filler else replace(rest, loss_sum=loss_sum)


def statistics_of(root: nn.Module, batch: Batch) -> Tensor | None:
    """The objective's statistics of one batch, without gradients."""
    with torch.no_grad():
        statistics, _ = root(batch, wanted="statistics")
    if statistics is not None and batch.is_filler:
        return torch.zeros_like(statistics)
    found: Tensor | None = statistics
    return found
