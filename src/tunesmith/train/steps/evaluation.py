"""Loss and metrics on held-out rows, leaving the training as it was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from tunesmith.data.batches.batch import Batch
from tunesmith.models.mode import evaluation_mode
from tunesmith.train.objectives.objective import LossSum, Term
from tunesmith.train.steps.forward import Forward
from tunesmith.train.steps.means import read_together


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over all rows; NaN where there is nothing to take them of.

    metrics:   of the objective, by name
    num_terms: how many tokens, pairs or answers the loss is a mean over
    """

    loss: float
    term: Term
    num_terms: int
    supervised_tokens: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    def numbers(self) -> dict[str, float]:
        """`loss`, `perplexity` of a loss per token, the metrics, and `supervised_tokens`, in this order."""
        perplexity = {"perplexity": _exp(self.loss)} if self.term == "token" else {}
        return {"loss": self.loss, **perplexity, **self.metrics, "supervised_tokens": self.supervised_tokens}


def evaluate(forward: Forward, batches: Iterable[Batch]) -> Evaluation:
    """Evaluate the model on `batches`, in evaluation mode, without gradients; modes are afterwards as before.

    What a loss needs as a mean over a step (the KL of KTO) is a mean over the batch here.
    """
    objective = forward.objective
    losses: list[LossSum] = []
    num_terms = num_supervised = 0
    with evaluation_mode(forward.model), torch.no_grad():
        for batch in batches:
            terms = objective.num_terms(batch)
            if terms:
                statistics = forward.statistics(batch)
                losses.append(forward.loss(batch, means=None if statistics is None else statistics / terms))
                num_terms += terms
                num_supervised += batch.num_supervised
    if not num_terms:
        return Evaluation(math.nan, objective.term, 0, 0, dict.fromkeys(objective.metrics, math.nan))
    # the numbers stay on the device until here, so that no batch waits for the one before it
    read = read_together(losses)
    metrics = {name: math.nan if mean.value is None else mean.value for name, mean in read.metrics.items()}
    return Evaluation(math.fsum(read.losses) / num_terms, objective.term, num_terms, num_supervised, metrics)


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf
