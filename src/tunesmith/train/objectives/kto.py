"""KTO: answers that were marked good or bad, each by itself (arXiv 2402.01306).

What an answer is worth, its log ratio to the reference, is measured against how far the policy went from the reference
altogether: a KL that is estimated on the step's prompts with answers of other rows, without a gradient.
Shapes: A answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tunesmith.data.batches.batch import Batch
from tunesmith.train.objectives.answer_sums import AnswerTable
from tunesmith.train.objectives.comparison import Comparison, answers_of
from tunesmith.train.objectives.objective import LossSum, MetricSum, Term
from tunesmith.train.objectives.reference import Reference


@dataclass(frozen=True, slots=True)
class VerdictTerms:
    """What an answer's loss is made of.

    beta:        how much a log ratio counts
    good_weight: of answers marked good
    bad_weight:  of answers marked bad
    ftx_weight:  of the cross-entropy of answers marked good, mean over the tokens of each, added as LLaMA-Factory adds
                 it: the mean over the good answers, times the number of answers for every good one
    """

    beta: float
    good_weight: float = 1.0
    bad_weight: float = 1.0
    ftx_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class JudgedAnswers:
    """Each tensor (A,).

    log_probability: of all tokens of an answer by the policy, in nats
    log_ratio:       the same less the reference's
    num_tokens:      how many tokens the sums are over
    good:            bool, the verdicts
    """

    log_probability: Tensor
    log_ratio: Tensor
    num_tokens: Tensor
    good: Tensor

    @property
    def cross_entropy(self) -> Tensor:
        """(A,) per token, of good answers; 0 of bad ones."""
        return torch.where(self.good, -self.log_probability / self.num_tokens, 0.0)


@dataclass(frozen=True, slots=True)
class StepMeans:
    """Of the whole step, () each.

    kl:         of policy to reference on mismatched answers, from 0
    good_share: of the step's answers that are good
    """

    kl: Tensor
    good_share: Tensor


@dataclass(slots=True)
class KtoObjective:
    """reference: what the model is compared with where the batch does not bring its log-probabilities."""

    terms: VerdictTerms
    chunk_tokens: int
    reference: Reference | None = None
    term: Term = field(default="answer", init=False)
    num_statistics: int = field(default=2, init=False)
    _compare: Comparison = field(init=False)

    def __post_init__(self) -> None:
        self._compare = Comparison(self.chunk_tokens, compares=True, reference=self.reference)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Rewards and log-probabilities of good (chosen) and bad (rejected) answers, and the KL."""
        names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected", "kl")
        return (*names, "sft_loss") if self.terms.ftx_weight else names

    def num_terms(self, batch: Batch) -> int:
        """Answers."""
        return len(answers_of(batch).num_tokens)

    def statistics(self, model: nn.Module, batch: Batch) -> Tensor | None:
        """(2,): the sum of the log ratios of the mismatched answers, and how many of the batch's own are good."""
        assert batch.mismatched is not None, "batches of judged answers bring mismatched ones"
        ratio_N = self._compare(model, batch.mismatched).ratio
        return torch.stack([ratio_N.sum(), _verdicts_of(batch).sum().to(ratio_N.dtype)])

    def loss(self, model: nn.Module, batch: Batch, *, means: Tensor | None) -> LossSum:
        """Sum over the batch's answers. Rewards are β times an answer's log ratio."""
        assert means is not None, "KTO is given the statistics of its step"
        tokens = self._compare(model, batch)
        table = AnswerTable.of(answers_of(batch))
        answers = JudgedAnswers(
            table.sums(tokens.policy), table.sums(tokens.ratio), table.num_tokens, _verdicts_of(batch)
        )
        kl, good_share = means.to(tokens.ratio.dtype)
        step = StepMeans(kl.clamp(min=0), good_share)
        return LossSum(verdict_losses(answers, step, self.terms).sum(), self._metric_sums(answers, step))

    def _metric_sums(self, answers: JudgedAnswers, step: StepMeans) -> Mapping[str, MetricSum]:
        good, bad, count = answers.good, ~answers.good, len(answers.good)
        rewards = self.terms.beta * answers.log_ratio.detach()
        # a margin is a difference of two means, written as one mean over the step's answers
        shares = torch.where(good, step.good_share, step.good_share - 1)
        has_both = (step.good_share > 0) & (step.good_share < 1)
        margin = torch.where(has_both, (rewards / shares).sum(), 0.0)
        metrics = {
            "rewards/chosen": _sum_where(good, rewards),
            "rewards/rejected": _sum_where(bad, rewards),
            "rewards/margins": MetricSum(margin, has_both * count),
            "logps/chosen": _sum_where(good, answers.log_probability),
            "logps/rejected": _sum_where(bad, answers.log_probability),
            "kl": MetricSum(step.kl * count, count),
        }
        if self.terms.ftx_weight:
            metrics["sft_loss"] = _sum_where(good, answers.cross_entropy)
        return metrics


def verdict_losses(answers: JudgedAnswers, step: StepMeans, terms: VerdictTerms) -> Tensor:
    """(A,): each answer's weighted distance to certainty that it is good or bad (arXiv 2402.01306, eq. 7 and 8)."""
    better = answers.log_ratio - step.kl
    weights = torch.full_like(better, terms.bad_weight).masked_fill(answers.good, terms.good_weight)
    losses = weights * torch.sigmoid(terms.beta * torch.where(answers.good, -better, better))
    if not terms.ftx_weight:
        return losses
    share = torch.where(step.good_share > 0, step.good_share, 1.0)
    return losses + terms.ftx_weight * answers.cross_entropy / share.square()


def _verdicts_of(batch: Batch) -> Tensor:
    verdicts = answers_of(batch).verdicts
    assert verdicts is not None, "batches of judged answers bring their verdicts"
    return verdicts


def _sum_where(chosen_A: Tensor, values_A: Tensor) -> MetricSum:
    return MetricSum(torch.where(chosen_A, values_A.detach(), 0.0).sum(), chosen_A.sum())
