"""A user's own function as a reward, and what is said of one that does not do."""

from __future__ import annotations

import pytest

from tests.train.grpo.drawn import drawn
from tunesmith.errors import UsageError
from tunesmith.train.grpo.rewards.function import load_function
from tunesmith.train.grpo.rewards.scores import check_scores

FUNCTIONS = """
def length(completions, **columns):
    assert set(columns) == {"prompts", "completion_ids", "references", "level"}
    return [float(len(text)) for text in completions]

def by_level(completions, level, references):
    right = [answer == reference for answer, reference in zip(completions, references)]
    return [float(one) if is_right else None for one, is_right in zip(level, right)]

async def later(completions, **columns):
    return [0.5 for _ in completions]

def of_messages(completions, **columns):
    return [len(completion[0]["content"]) for completion in completions]

def wants(completions, solution):
    return [1.0]

def a_number(completions, **columns):
    return 1.0

ANSWERS = 3
"""
ANSWERS = [drawn("a", reference="a", level=3), drawn("bb", reference="a", level=4, row=1)]


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "own rewards.py"
    place.write_text(FUNCTIONS)
    return place


def test_a_function_gets_what_it_asks_for(file) -> None:
    assert load_function(f"{file}:length").score(ANSWERS) == [1.0, 2.0]
    assert load_function(f"{file}:by_level").score(ANSWERS) == [3.0, None]
    assert load_function(f"{file}:later").score(ANSWERS) == [0.5, 0.5]


def test_a_function_of_a_package_is_named_with_dots() -> None:
    reward = load_function("operator:length_hint")
    assert reward.name == "length_hint"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere.py:score", "there is no file nowhere.py"),
        ("no_such_package.rewards:score", "no_such_package.rewards cannot be imported: ModuleNotFoundError"),
        ("json:score", "json has no function score; it has dump"),
    ],
)
def test_a_function_that_is_not_there_is_named(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_function(spec)


def test_a_file_that_fails_is_named_with_its_line(tmp_path) -> None:
    (tmp_path / "broken.py").write_text("import math\nmath.root\n")
    with pytest.raises(UsageError, match=r"broken.py cannot be imported: AttributeError.*\(broken.py, line 2\)"):
        load_function(f"{tmp_path / 'broken.py'}:score")


def test_what_is_no_function_is_named(file) -> None:
    with pytest.raises(UsageError, match="has no function ANSWERS; it has length, by_level"):
        load_function(f"{file}:ANSWERS")


def test_what_a_function_raises_is_one_message_with_row_and_line(file) -> None:
    with pytest.raises(UsageError) as raised:
        load_function(f"{file}:of_messages").score(ANSWERS)
    said = str(raised.value)
    assert "of_messages failed on 2 answers, the first to rows.json, row 0 ('a'): TypeError" in said
    assert "(own rewards.py, line 14)" in said
    assert "completions as lists of texts" in said


def test_a_column_that_no_row_has_is_named(file) -> None:
    with pytest.raises(UsageError, match="asks for solution, which no row has; there are prompts, completions"):
        load_function(f"{file}:wants").score(ANSWERS)


def test_a_number_instead_of_a_list_is_refused(file) -> None:
    with pytest.raises(UsageError, match="a_number returned float; expected a list"):
        load_function(f"{file}:a_number").score(ANSWERS)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1.0], r"length returned 1 scores for 2 answers \(the first to rows.json, row 0\)"),
        ([1.0, float("nan")], "length returned nan for an answer to rows.json, row 1; expected a finite number"),
        (["much", 1.0], "length returned 'much' for an answer to rows.json, row 0"),
    ],
)
def test_scores_that_are_none_are_named_with_their_row(scores, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_scores("length", scores, [answer.conversation.source for answer in ANSWERS])


def test_numbers_of_any_kind_are_scores() -> None:
    assert check_scores("length", [True, None], [answer.conversation.source for answer in ANSWERS]) == [1.0, None]
