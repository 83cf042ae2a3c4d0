"""From tokens to answers: three answers of three, one and two tokens."""

from __future__ import annotations

import pytest
import torch

from tunesmith.data.batches.batch import Answers
from tunesmith.train.objectives.answer_sums import AnswerTable

OWNER = torch.tensor([0, 0, 0, 1, 2, 2])
ANSWERS = Answers(owner=OWNER, ends=torch.tensor([4, 6, 9]), num_tokens=(3, 1, 2))
PAIRS = Answers(owner=torch.tensor([0, 0, 0, 1, 2, 3, 3]), ends=torch.arange(4), num_tokens=(3, 1, 1, 2))


def test_every_token_has_its_place_in_its_answer():
    table = AnswerTable.of(ANSWERS)
    assert table.place.tolist() == [0, 1, 2, 0, 0, 1]
    assert table.num_tokens.tolist() == [3, 1, 2] and table.longest == 3


def test_sums_and_their_gradient():
    values = torch.tensor([1.0, 2.0, 3.0, 10.0, 100.0, 200.0], requires_grad=True)
    sums = AnswerTable.of(ANSWERS).sums(values)
    assert sums.tolist() == [6.0, 10.0, 300.0]
    (sums * torch.tensor([1.0, -1.0, 0.5])).sum().backward()
    assert values.grad.tolist() == [1.0, 1.0, 1.0, -1.0, 0.5, 0.5]


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_tokens_beyond_the_other_answer_of_the_pair_count_less(alpha):
    table = AnswerTable.of(PAIRS)
    weights = table.weights_beyond_the_other(alpha, dtype=torch.float64)
    assert table.sums(torch.ones(7, dtype=torch.float64), weights).tolist() == [1 + 2 * alpha, 1, 1, 1 + alpha]
