"""Loss and token accuracy on held-out rows, leaving the training as it was."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from tunesmith.data.batches.batch import Batch
from tunesmith.models.mode import evaluation_mode
from tunesmith.train.steps.forward import Forward


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over the supervised tokens of all rows; NaN where there are none."""

    loss: float
    accuracy: float
    supervised_tokens: int


def evaluate(forward: Forward, batches: Iterable[Batch]) -> Evaluation:
    """Evaluate the model on `batches`, in evaluation mode, without gradients; modes are afterwards as before."""
    loss_sum = torch.zeros((), dtype=torch.float64, device=forward.device)
    num_correct = torch.zeros((), dtype=torch.int64, device=forward.device)
    num_terms = 0
    with evaluation_mode(forward.model), torch.no_grad():
        for batch in batches:
            terms = forward.objective.num_terms(batch)
            if terms:
                loss = forward.loss(batch)
                loss_sum += loss.loss_sum
                num_correct += loss.num_correct
                num_terms += terms
    if not num_terms:
        return Evaluation(math.nan, math.nan, 0)
    # only here the device is waited for
    return Evaluation(loss_sum.item() / num_terms, num_correct.item() / num_terms, num_terms)
