"""Scores of answers are the same in every layout: alone, padded, packed, behind one beginning; gradients too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from tests.invariants.paired_rows import GivenPairs, assert_same, float64_throughout
from tests.tiny import KINDS, tiny_folder
from tunesmith.data.batches.answers import find_answers
from tunesmith.data.batches.batch import Batch
from tunesmith.models.packing.split_attention import split_attention
from tunesmith.models.parts import core_model
from tunesmith.models.score_head import attach_score_head
from tunesmith.train.objectives.reward import RewardObjective, answer_scores

ALL = range(5)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], GivenPairs]:
    return cache(lambda kind: GivenPairs(kind, tiny_folder(kind, tmp_path_factory.mktemp(kind))))


def scoring(rows: GivenPairs) -> nn.Module:
    model = rows.model()
    attach_score_head(core_model(model), seed=0)
    return model


def alone(rows: GivenPairs, model: nn.Module, index: int, number: int) -> Batch:
    batch = rows.alone(model, index, number)
    return replace(batch, answers=find_answers(batch.labels, ends=[batch.labels.shape[1] - 1]))


def found(model: nn.Module, batches: Sequence[Batch], weights: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """(A,) scores of all answers, and the gradients of their weighted sum."""
    model.zero_grad()
    scores = []
    for batch, weight in zip(batches, weights, strict=True):
        with float64_throughout(model):
            scores.append(answer_scores(model, batch))
            (scores[-1] @ weight).backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return torch.cat(scores).detach(), gradients


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_scores_as_the_rows_apart(kind: str, given: Callable[[str], GivenPairs]) -> None:
    rows = given(kind)
    model = scoring(rows)
    weights = torch.randn(10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    apart = [alone(rows, model, index, number) for index in ALL for number in (0, 1)]
    expected = found(model, apart, list(weights.split(1)))
    assert len(expected[0].unique()) > 5

    padded = found(model, [rows.pairs(model, ALL, packed=False)], [weights])
    assert split_attention(model)
    packed = found(model, [rows.pairs(model, ALL, packed=True)], [weights])
    shared = found(model, [rows.pairs(model, ALL, packed=True, shared=True)], [weights])

    for layout in (padded, packed, shared):
        assert_same(expected, layout)


def test_the_loss_of_several_batches_is_that_of_one(given: Callable[[str], GivenPairs]) -> None:
    rows, objective = given("qwen2"), RewardObjective()
    model = scoring(rows)
    assert split_attention(model)

    def total(groups: Sequence[Sequence[int]]) -> tuple[float, float, int]:
        batches = [rows.pairs(model, group, packed=True, shared=True) for group in groups]
        losses = [objective.loss(model, batch, means=None) for batch in batches]
        margins = [loss.metrics["rewards/margins"] for loss in losses]
        return (
            sum(loss.loss_sum.item() for loss in losses),
            sum(margin.total.item() for margin in margins),
            sum(map(objective.num_terms, batches)),
        )

    assert total([[0, 1], [2], [3, 4]]) == pytest.approx(total([ALL]), rel=1e-12)
    assert total([ALL])[2] == 5
