"""Rewards for how an answer is written: the thought and answer tags, and regular expressions."""

from __future__ import annotations

import pytest

from tests.train.grpo.drawn import drawn
from tunesmith.train.grpo.rewards.answer_format import AnswerFormat
from tunesmith.train.grpo.rewards.pattern import build_pattern_reward


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("<think>one\ntwo</think>\n<answer>3</answer>", 1.0),
        ("  <think>a</think><answer>b</answer>\n", 1.0),
        ("<think>a</think>b", 0.0),
        ("<answer>b</answer>", 0.0),
        ("<answer>b</answer><think>a</think>", 0.0),
        ("<think></think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer> and more", 0.0),
        ("<think>a</think><think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 0.0),
    ],
)
def test_a_thought_and_an_answer_each_once_in_order(answer: str, score: float) -> None:
    assert AnswerFormat().score([drawn(answer)]) == [score]


def test_regex_is_found_anywhere_and_a_dot_is_a_line_end_too() -> None:
    reward = build_pattern_reward("regex", r"yes.*\d")
    assert reward.score([drawn("Oh yes,\nall 7 of them"), drawn("no 7")]) == [1.0, 0.0]


def test_fullmatch_must_fit_all_but_the_space_around() -> None:
    reward = build_pattern_reward("fullmatch", r"yes|no")
    assert reward.score([drawn(" yes\n"), drawn("yes, 7")]) == [1.0, 0.0]
