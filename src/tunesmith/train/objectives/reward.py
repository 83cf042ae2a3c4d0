"""Reward models: the chosen answer of a pair has to score higher than the rejected one.

The loss of a pair is -log σ(s_chosen - s_rejected) (Bradley-Terry; arXiv 2203.02155, eq. 1), of scores at the last
token of each answer. No logits are made. Knows nothing of how a batch lays its answers out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tunesmith.data.batches.batch import Batch
from tunesmith.models.packing.split_attention import samples_apart
from tunesmith.models.score_head import scores_at
from tunesmith.train.objectives.objective import LossSum, MetricSum, Term


@dataclass(slots=True)
class RewardObjective:
    """Pairs in, the sum of their losses out; the model must have a score head (`models/score_head.py`)."""

    term: Term = field(default="pair", init=False)
    metrics: tuple[str, ...] = field(
        default=("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"), init=False
    )
    num_statistics: int = field(default=0, init=False)

    def num_terms(self, batch: Batch) -> int:
        """Pairs."""
        return 0 if batch.answers is None else len(batch.answers.ends) // 2

    def statistics(self, model: nn.Module, batch: Batch) -> Tensor | None:  # noqa: ARG002  pairs depend on nothing
        """None: every pair's loss stands alone."""
        return None

    def loss(self, model: nn.Module, batch: Batch, *, means: Tensor | None) -> LossSum:  # noqa: ARG002
        """Sum of the losses of the batch's pairs, in float32 or the finer format of the scores."""
        scores = answer_scores(model, batch)
        chosen, rejected = scores.to(torch.promote_types(scores.dtype, torch.float32)).view(-1, 2).unbind(1)
        return LossSum(-logsigmoid(chosen - rejected).sum(), _metrics(chosen.detach(), rejected.detach()))


def answer_scores(model: nn.Module, batch: Batch) -> Tensor:
    """(A,) score of each of the batch's answers, in their order, with the graph."""
    assert batch.answers is not None, "a batch of rows without answers has nothing to score"
    with samples_apart(batch.lengths, batch.branches):
        return scores_at(model, batch.inputs, batch.answers.ends)


def _metrics(chosen: Tensor, rejected: Tensor) -> dict[str, MetricSum]:
    count = len(chosen)
    return {
        "rewards/chosen": MetricSum(chosen.sum(), count),
        "rewards/rejected": MetricSum(rejected.sum(), count),
        "rewards/accuracies": MetricSum((chosen > rejected).sum(), count),
        "rewards/margins": MetricSum((chosen - rejected).sum(), count),
    }
