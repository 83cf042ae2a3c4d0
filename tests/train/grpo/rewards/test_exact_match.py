"""Which answers say the same as the row's."""

from __future__ import annotations

import pytest

from tests.train.grpo.drawn import drawn
from tunesmith.train.grpo.rewards.exact_match import ExactMatch, final_answer


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("42", "42"),
        (" 42.\n", "42"),
        ("1,000", "1000.0"),
        ("$12.50", "12.5"),
        ("New  York", "new york"),
        ("<think>Maybe 41? No.</think>\n<answer> 42 </answer>", "42"),
        ("<think>7</think>So it is 42", "so it is 42"),
        (r"Therefore \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("Half of 84.\n#### 42", "6 * 7 = 42\n#### 42"),
    ],
)
def test_the_same_answer_is_worth_one(answer: str, reference: str) -> None:
    assert ExactMatch().score([drawn(answer, reference=reference)]) == [1.0]


@pytest.mark.parametrize(
    ("answer", "reference"), [("43", "42"), ("4 2", "42"), ("It is 42", "42"), ("", "42"), ("1,0", "10")]
)
def test_another_answer_is_worth_nothing(answer: str, reference: str) -> None:
    assert ExactMatch().score([drawn(answer, reference=reference)]) == [0.0]


def test_rows_without_an_answer_are_not_scored() -> None:
    assert ExactMatch().score([drawn("42"), drawn("42", reference="42")]) == [None, 1.0]


def test_the_last_answer_counts_and_an_open_box_does_not() -> None:
    assert final_answer("<answer>1</answer> or <answer>2</answer>") == "2"
    assert final_answer(r"\boxed{1} and \boxed{2") == r"\boxed{1} and \boxed{2"
