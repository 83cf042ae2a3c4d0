"""Pairs of answers: DPO and its family, ORPO and SimPO, whichever layout the answers of a pair stand in.

`pair_losses` has the formulas; here they meet models, batches and the reference. Knows nothing of how pairs became
batches, and of no stage's name.
Shapes: N supervised tokens, A answers, P = A / 2 pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tunesmith.config.preference import PairLoss
from tunesmith.config.stages import REFERENCE_FREE
from tunesmith.data.batches.batch import Batch
from tunesmith.train.objectives.answer_sums import AnswerTable
from tunesmith.train.objectives.comparison import Comparison, answers_of
from tunesmith.train.objectives.objective import LossSum, MetricSum, Term
from tunesmith.train.objectives.pair_losses import (
    LOSSES,
    Answered,
    PairKL,
    PairOptions,
    Pairs,
    bco,
    kto_pair,
    odds_ratio,
)
from tunesmith.train.objectives.reference import Reference

_METRICS = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
)


@dataclass(frozen=True, slots=True)
class PairTerms:
    """What a pair's loss is made of.

    loss:       whose formula
    options:    its numbers
    bco_weight: of the bco loss, averaged with `loss` by weight: (loss + w · bco) / (1 + w), with no reward shift
    ftx_weight: of the chosen answer's mean cross-entropy, added
    ld_alpha:   weight in the log ratios of tokens beyond the length of the other answer; None or 1: full
    """

    loss: PairLoss
    options: PairOptions
    bco_weight: float = 0.0
    ftx_weight: float = 0.0
    ld_alpha: float | None = None

    @property
    def compares(self) -> bool:
        """Whether the loss depends on a reference."""
        return self.loss not in REFERENCE_FREE


@dataclass(slots=True)
class PairObjective:
    """One loss of pairs; the batch's answers are chosen, rejected, chosen, rejected, …

    reference: what the model is compared with where the batch does not bring its log-probabilities; None for losses
               without one
    """

    terms: PairTerms
    chunk_tokens: int
    reference: Reference | None = None
    term: Term = field(default="pair", init=False)
    _compare: Comparison = field(init=False)

    def __post_init__(self) -> None:
        self._compare = Comparison(self.chunk_tokens, self.terms.compares, self.reference)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of every pair loss, and the parts that the loss is a sum of."""
        odds_ratio_loss = ("odds_ratio_loss",) if self.terms.loss == "orpo" else ()
        sft_loss = ("sft_loss",) if odds_ratio_loss or self.terms.ftx_weight else ()
        return _METRICS + sft_loss + odds_ratio_loss

    @property
    def num_statistics(self) -> int:
        """What kto_pair compares with; nothing for any other loss."""
        return 2 if self.terms.loss == "kto_pair" else 0

    def num_terms(self, batch: Batch) -> int:
        """Pairs."""
        return len(answers_of(batch).num_tokens) // 2

    def statistics(self, model: nn.Module, batch: Batch) -> Tensor | None:
        """(2,) sums of the log ratios of chosen and of rejected answers for kto_pair; None for any other loss."""
        if self.terms.loss != "kto_pair":
            return None
        pairs = self._pairs(model, batch)
        return torch.stack([pairs.chosen.log_ratio.sum(), pairs.rejected.log_ratio.sum()])

    def loss(self, model: nn.Module, batch: Batch, *, means: Tensor | None) -> LossSum:
        """Sum over the batch's pairs.

        Rewards are β times an answer's log ratio, or its mean log-probability where the loss has no reference.
        """
        pairs = self._pairs(model, batch)
        loss_P = self._compared(pairs, means)
        if self.terms.ftx_weight:
            loss_P = loss_P - self.terms.ftx_weight * pairs.chosen.mean_log_probability
        return LossSum(loss_P.sum(), self._metric_sums(pairs))

    def _compared(self, pairs: Pairs, means: Tensor | None) -> Tensor:
        """(P,) the loss without the cross-entropy of the chosen answers."""
        terms = self.terms
        if terms.loss == "kto_pair":
            assert means is not None, "kto_pair is given the step's statistics"
            kl = PairKL(*means.to(pairs.margin.dtype).clamp(min=0))
            loss_P = kto_pair(pairs, terms.options, kl)
        else:
            loss_P = LOSSES[terms.loss](pairs, terms.options)
        if not terms.bco_weight or not terms.compares:
            return loss_P
        return (loss_P + terms.bco_weight * bco(pairs, terms.options)) / (1 + terms.bco_weight)

    def _pairs(self, model: nn.Module, batch: Batch) -> Pairs:
        tokens = self._compare(model, batch)
        table = AnswerTable.of(answers_of(batch))
        alpha = self.terms.ld_alpha
        weights_AL = None if alpha is None else table.weights_beyond_the_other(alpha, dtype=tokens.policy.dtype)
        policy_A, ratio_A = table.sums(tokens.policy), table.sums(tokens.ratio, weights_AL)
        chosen, rejected = (Answered(policy_A[k::2], ratio_A[k::2], table.num_tokens[k::2]) for k in (0, 1))
        return Pairs(chosen, rejected)

    def _metric_sums(self, pairs: Pairs) -> Mapping[str, MetricSum]:
        chosen, rejected = (self._reward(answered) for answered in (pairs.chosen, pairs.rejected))
        values_P = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/accuracies": (chosen > rejected).to(chosen.dtype),
            "rewards/margins": chosen - rejected,
            "logps/chosen": self._log_probability(pairs.chosen),
            "logps/rejected": self._log_probability(pairs.rejected),
        }
        if "sft_loss" in self.metrics:
            values_P["sft_loss"] = -pairs.chosen.mean_log_probability
        if "odds_ratio_loss" in self.metrics:
            values_P["odds_ratio_loss"] = odds_ratio(pairs)
        return {name: MetricSum(value.detach().sum(), len(value)) for name, value in values_P.items()}

    def _reward(self, answered: Answered) -> Tensor:
        """(P,) what the loss takes an answer to be worth."""
        worth = answered.log_ratio if self.terms.compares else answered.mean_log_probability
        return self.terms.options.beta * worth.detach()

    def _log_probability(self, answered: Answered) -> Tensor:
        """(P,) of an answer as the loss takes it: a sum, or per token for losses without a reference."""
        return answered.log_probability if self.terms.compares else answered.mean_log_probability
