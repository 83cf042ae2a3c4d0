"""Losses of pairs of answers, from what the policy and the reference make of each answer.

Every loss is a function from P pairs to (P,), in nats or whatever unit its paper has; the loop takes the mean. β is
`pref_beta` in all of them. They agree with TRL 1.16 where it has them, and stay finite with finite gradients however
far apart two answers are. Knows nothing of models, tokens or batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_EXO_SMOOTHING = 1e-3
"""What EXO takes for no label smoothing, which would make its loss infinite; its authors' choice (arXiv 2402.00856)."""


@dataclass(frozen=True, slots=True)
class Answered:
    """P answers, one of each pair; each tensor (P,).

    log_probability: of all its tokens by the policy, a sum in nats
    log_ratio:       the same less the reference's, tokens weighted by LD-DPO; without a reference the policy's alone
    num_tokens:      how many tokens the sums are over
    """

    log_probability: Tensor
    log_ratio: Tensor
    num_tokens: Tensor

    @property
    def mean_log_probability(self) -> Tensor:
        """(P,) per token."""
        return self.log_probability / self.num_tokens


@dataclass(frozen=True, slots=True)
class Pairs:
    """P pairs of answers to the same prompts."""

    chosen: Answered
    rejected: Answered

    @property
    def margin(self) -> Tensor:
        """(P,) by how much the policy prefers the chosen answer more than the reference does, in nats."""
        return self.chosen.log_ratio - self.rejected.log_ratio

    @property
    def mean_margin(self) -> Tensor:
        """(P,) the same with every answer's log ratio per token of it."""
        return self.chosen.log_ratio / self.chosen.num_tokens - self.rejected.log_ratio / self.rejected.num_tokens


@dataclass(frozen=True, slots=True)
class PairOptions:
    """beta, label_smoothing and gamma are pref_beta, dpo_label_smoothing and simpo_gamma."""

    beta: float
    label_smoothing: float = 0.0
    gamma: float = 0.0


@dataclass(frozen=True, slots=True)
class PairKL:
    """How far the policy went from the reference, () each and from 0: on chosen answers, and on rejected ones."""

    chosen: Tensor
    rejected: Tensor


PairLossFunction = Callable[[Pairs, PairOptions], Tensor]


def sigmoid(pairs: Pairs, options: PairOptions) -> Tensor:
    """DPO (arXiv 2305.18290, eq. 7); with label smoothing conservative DPO (E. Mitchell, "A note on DPO
    with noisy preferences", 2023)."""
    logits, smoothing = options.beta * pairs.margin, options.label_smoothing
    return -(1 - smoothing) * logsigmoid(logits) - smoothing * logsigmoid(-logits)


def sigmoid_norm(pairs: Pairs, options: PairOptions) -> Tensor:
    """DPO of log ratios per token (arXiv 2411.15124)."""
    return -logsigmoid(options.beta * pairs.mean_margin)


def hinge(pairs: Pairs, options: PairOptions) -> Tensor:
    """SLiC's ranking loss on DPO's margin (arXiv 2305.10425, by way of arXiv 2309.06657)."""
    return torch.relu(1 - options.beta * pairs.margin)


def ipo(pairs: Pairs, options: PairOptions) -> Tensor:
    """IPO (arXiv 2310.12036, eq. 17) with log ratios per token, which its authors say they used."""
    return (pairs.mean_margin - 1 / (2 * options.beta)).square()


def robust(pairs: Pairs, options: PairOptions) -> Tensor:
    """Robust DPO (arXiv 2403.00409): unbiased where a share of the pairs (label smoothing) is swapped."""
    logits, smoothing = options.beta * pairs.margin, options.label_smoothing
    return (-(1 - smoothing) * logsigmoid(logits) + smoothing * logsigmoid(-logits)) / (1 - 2 * smoothing)


def exo(pairs: Pairs, options: PairOptions) -> Tensor:
    """EXO on pairs (arXiv 2402.00856, eq. 16): the reverse KL to labels smoothed by at least a little."""
    logits, smoothing = options.beta * pairs.margin, options.label_smoothing or _EXO_SMOOTHING
    chosen = torch.sigmoid(logits) * (logsigmoid(logits) - math.log1p(-smoothing))
    return chosen + torch.sigmoid(-logits) * (logsigmoid(-logits) - math.log(smoothing))


def bco(pairs: Pairs, options: PairOptions) -> Tensor:
    """Binary classifier optimisation (arXiv 2404.04656) of both answers of a pair, with no reward shift δ."""
    chosen, rejected = _rewards(pairs, options)
    return -logsigmoid(chosen) - logsigmoid(-rejected)


def nca_pair(pairs: Pairs, options: PairOptions) -> Tensor:
    """Noise contrastive alignment of pairs (arXiv 2402.05369)."""
    chosen, rejected = _rewards(pairs, options)
    return -logsigmoid(chosen) - 0.5 * logsigmoid(-chosen) - 0.5 * logsigmoid(-rejected)


def sppo_hard(pairs: Pairs, options: PairOptions) -> Tensor:
    """SPPO (arXiv 2405.00675, eq. 4.7) with a win certain for the chosen answer; its η is 1/β."""
    target = 0.5 / options.beta
    return (pairs.chosen.log_ratio - target).square() + (pairs.rejected.log_ratio + target).square()


def apo_zero(pairs: Pairs, options: PairOptions) -> Tensor:
    """APO-zero (arXiv 2408.06266, eq. 7): for chosen answers better than the model's own."""
    chosen, rejected = _rewards(pairs, options)
    return torch.sigmoid(-chosen) + torch.sigmoid(rejected)


def apo_down(pairs: Pairs, options: PairOptions) -> Tensor:
    """APO-down (arXiv 2408.06266, eq. 8): for chosen answers worse than the model's own."""
    chosen, rejected = _rewards(pairs, options)
    return torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)


def orpo(pairs: Pairs, options: PairOptions) -> Tensor:
    """ORPO (arXiv 2403.07691): the chosen answer's mean cross-entropy and β times the odds ratio's loss."""
    return -pairs.chosen.mean_log_probability + options.beta * odds_ratio(pairs)


def odds_ratio(pairs: Pairs) -> Tensor:
    """(P,) -log σ of the answers' log odds ratio, of probabilities per token (arXiv 2403.07691, eq. 7)."""
    chosen, rejected = pairs.chosen.mean_log_probability, pairs.rejected.mean_log_probability
    return -logsigmoid((chosen - _log_complement(chosen)) - (rejected - _log_complement(rejected)))


def simpo(pairs: Pairs, options: PairOptions) -> Tensor:
    """SimPO (arXiv 2405.14734): log-probabilities per token have to differ by a margin γ after β."""
    margin = pairs.chosen.mean_log_probability - pairs.rejected.mean_log_probability
    return -logsigmoid(options.beta * margin - options.gamma)


def kto_pair(pairs: Pairs, options: PairOptions, kl: PairKL) -> Tensor:
    """KTO (arXiv 2402.01306) of both answers of a pair, each against the KL on answers of the other kind, averaged."""
    chosen = torch.sigmoid(options.beta * (kl.rejected - pairs.chosen.log_ratio))
    rejected = torch.sigmoid(options.beta * (pairs.rejected.log_ratio - kl.chosen))
    return (chosen + rejected) / 2


LOSSES: Mapping[str, PairLossFunction] = {
    "sigmoid": sigmoid,
    "sigmoid_norm": sigmoid_norm,
    "hinge": hinge,
    "ipo": ipo,
    "robust": robust,
    "exo": exo,
    "bco": bco,
    "nca_pair": nca_pair,
    "sppo_hard": sppo_hard,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "orpo": orpo,
    "simpo": simpo,
}
"""Every `pref_loss` but kto_pair, which needs the KL of the whole step."""


def _rewards(pairs: Pairs, options: PairOptions) -> tuple[Tensor, Tensor]:
    return options.beta * pairs.chosen.log_ratio, options.beta * pairs.rejected.log_ratio


def _log_complement(log_probability: Tensor) -> Tensor:
    """log(1 - p) from log p; exact to rounding at both ends, and finite where p rounds to 1.

    Each form where it keeps its digits: Mächler, "Accurately computing log(1 - exp(-|a|))", 2012.
    """
    below_one = log_probability.clamp(max=-torch.finfo(log_probability.dtype).eps)
    small = torch.log1p(-below_one.exp())
    return torch.where(below_one < -math.log(2), small, torch.log(-torch.expm1(below_one)))
