"""Loss and token accuracy on held-out rows, leaving the training as it was."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from tunesmith.data.batches.batch import Batch
from tunesmith.models.mode import evaluation_mode
from tunesmith.train.objectives.objective import LossSum
from tunesmith.train.steps.forward import Forward


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over the supervised tokens of all rows; NaN where there are none."""

    loss: float
    accuracy: float
    supervised_tokens: int


def evaluate(forward: Forward, batches: Iterable[Batch]) -> Evaluation:
    """Evaluate the model on `batches`, in evaluation mode, without gradients; modes are afterwards as before."""
    losses: list[LossSum] = []
    num_terms = 0
    with evaluation_mode(forward.model), torch.no_grad():
        for batch in batches:
            terms = forward.objective.num_terms(batch)
            if terms:
                losses.append(forward.loss(batch))
                num_terms += terms
    if not num_terms:
        return Evaluation(math.nan, math.nan, 0)
    # the numbers stay on the device until here, so that no batch waits for the one before it
    loss_sum = math.fsum(torch.stack([loss.loss_sum for loss in losses]).tolist())
    num_correct = int(torch.stack([loss.num_correct for loss in losses]).sum())
    return Evaluation(loss_sum / num_terms, num_correct / num_terms, num_terms)
