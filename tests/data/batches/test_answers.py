"""Every supervised token of a batch belongs to one answer, in order."""

from __future__ import annotations

import torch

from tunesmith.data.batches.answers import find_answers
from tunesmith.data.encoding.encoded import IGNORED


def test_tokens_belong_to_the_first_answer_that_does_not_end_before_them() -> None:
    labels = torch.tensor([[IGNORED, 1, 2, IGNORED, IGNORED], [IGNORED, IGNORED, IGNORED, 3, IGNORED]])
    answers = find_answers(labels, ends=(2, 9))
    assert answers.owner.tolist() == [0, 0, 1]
    assert answers.ends.tolist() == [2, 9]
    assert answers.num_tokens == (2, 1)
    assert answers.verdicts is None and answers.reference is None


def test_an_answer_without_supervised_tokens_is_still_an_answer() -> None:
    answers = find_answers(torch.tensor([[IGNORED, IGNORED, 4, 5]]), ends=(1, 2, 3), verdicts=(True, False, True))
    assert answers.num_tokens == (0, 1, 1)
    assert answers.verdicts is not None
    assert answers.verdicts.tolist() == [True, False, True]
