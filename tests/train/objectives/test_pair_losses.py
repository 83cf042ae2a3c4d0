"""Losses of pairs by themselves: by hand where TRL has none, and finite however far apart two answers are.

That they equal TRL's is in test_equals_trl.
"""

from __future__ import annotations

import math

import pytest
import torch

from tunesmith.train.objectives.pair_losses import (
    LOSSES,
    Answered,
    PairKL,
    PairOptions,
    Pairs,
    bco,
    exo,
    hinge,
    kto_pair,
    odds_ratio,
    orpo,
    sigmoid,
    simpo,
    sppo_hard,
)


def pairs_of(chosen: float, rejected: float, *, num_tokens: int = 2, dtype: torch.dtype = torch.float64) -> Pairs:
    """One pair with these log-probabilities, and with a reference for which both are 0."""

    def answered(value: float) -> Answered:
        total = torch.tensor([value], dtype=dtype, requires_grad=True)
        return Answered(total, total, torch.tensor([num_tokens]))

    return Pairs(answered(chosen), answered(rejected))


def test_by_hand():
    pairs, options = pairs_of(-2.0, -4.0), PairOptions(beta=0.5, gamma=0.25)
    assert sigmoid(pairs, options).item() == pytest.approx(-math.log(1 / (1 + math.exp(-1.0))))
    assert hinge(pairs, PairOptions(beta=0.2)).item() == pytest.approx(1 - 0.2 * 2)
    assert sppo_hard(pairs, options).item() == pytest.approx((-2 - 1) ** 2 + (-4 + 1) ** 2)
    assert simpo(pairs, options).item() == pytest.approx(-math.log(1 / (1 + math.exp(-(0.5 * (-1 + 2) - 0.25)))))
    assert bco(pairs, options).item() == pytest.approx(math.log1p(math.exp(1)) + math.log1p(math.exp(-2)))


def test_odds_are_p_over_one_minus_p():
    chosen, rejected = math.log(0.8), math.log(0.25)
    pairs = pairs_of(2 * chosen, 2 * rejected)
    odds = (0.8 / 0.2) / (0.25 / 0.75)
    assert odds_ratio(pairs).item() == pytest.approx(-math.log(odds / (1 + odds)))
    assert orpo(pairs, PairOptions(beta=0.3)).item() == pytest.approx(-chosen - 0.3 * math.log(odds / (1 + odds)))


def test_no_label_smoothing_of_exo_is_a_thousandth():
    pairs = pairs_of(-2.0, -5.0)
    assert exo(pairs, PairOptions(0.1)) == exo(pairs, PairOptions(0.1, label_smoothing=1e-3))


def test_kto_of_pairs_measures_an_answer_against_the_answers_of_the_other_kind():
    """1 - σ(β (r_chosen - KL of rejected)) and 1 - σ(β (KL of chosen - r_rejected)), averaged (arXiv 2402.01306)."""
    kl = PairKL(chosen=torch.tensor(0.7), rejected=torch.tensor(0.2))
    loss = kto_pair(pairs_of(1.5, -0.5), PairOptions(beta=0.1), kl)
    good = 1 - 1 / (1 + math.exp(-0.1 * (1.5 - 0.2)))
    bad = 1 - 1 / (1 + math.exp(-0.1 * (0.7 + 0.5)))
    assert loss.item() == pytest.approx((good + bad) / 2)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("chosen", "rejected"), [(0.0, 0.0), (-1e-30, -1e4), (-1e4, -1e-30), (-1e4, -1e4), (-1e-8, -1e-7)]
)
def test_losses_and_gradients_are_finite_at_the_extremes(chosen, rejected, dtype, name):
    pairs = pairs_of(chosen, rejected, dtype=dtype)
    loss = LOSSES[name](pairs, PairOptions(beta=0.1, label_smoothing=0.1, gamma=0.5))
    gradients = torch.autograd.grad(loss.sum(), [pairs.chosen.log_probability, pairs.rejected.log_probability])
    assert loss.dtype == dtype and loss.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_several_pairs_is_the_losses_of_each(name):
    generator = torch.Generator().manual_seed(0)
    policy, ratio = -torch.rand(2, 5, generator=generator) * 9, torch.randn(2, 5, generator=generator)
    counts = torch.randint(1, 7, (2, 5), generator=generator)
    pairs = Pairs(*(Answered(*row) for row in zip(policy, ratio, counts, strict=True)))
    options = PairOptions(beta=0.2, label_smoothing=0.1, gamma=0.5)
    together = LOSSES[name](pairs, options)
    for index in range(5):
        single = Pairs(
            *(Answered(*(value[index : index + 1] for value in row)) for row in zip(policy, ratio, counts, strict=True))
        )
        assert LOSSES[name](single, options).item() == pytest.approx(together[index].item(), rel=1e-6)
