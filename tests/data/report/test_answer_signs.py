"""What is read off a pair or a judged answer, and how it adds up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import pytest

from tests.data.conversations import assistant, conversation, user
from tunesmith.chat.message import Conversation
from tunesmith.config.data import DataSettings
from tunesmith.config.stages import RowKind
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.report.answer_signs import ALIKE_ANSWERS, EQUAL_ANSWERS, AnswerTotals, JudgedRow, likeness
from tunesmith.data.report.row_signs import BLANK_ANSWER, CONTROL_TEXT, OPEN_ANSWER, RowSigns, SignReader
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


def pair(chosen: str, rejected: str, *, question: str = "What is the capital of Peru?") -> Conversation:
    return replace(conversation(user(question), assistant(chosen)), other_answer=assistant(rejected))


def judged(answer: str, other: str, *, verdict: bool) -> Conversation:
    return replace(pair(answer, other), verdict=verdict)


@pytest.fixture
def read(preprocessor_of: PreprocessorOf) -> Callable[..., RowSigns]:
    def read(row: Conversation, *, rows: RowKind = "pairs", **settings: Any) -> RowSigns:
        preprocessor = preprocessor_of("qwen2")
        data = DataSettings(**settings)
        encoder = Encoder(preprocessor, build_template(preprocessor, data, rows), data, rows)
        return SignReader(preprocessor, rows).read(encoder.encode(row), row)

    return read


@pytest.mark.parametrize(
    ("chosen", "rejected", "sign"),
    [
        ("Lima.", "Cusco.", None),
        ("Lima.", "Lima.", EQUAL_ANSWERS),
        ("Lima.", " Lima.\n", EQUAL_ANSWERS),
        ("It is Lima.", "it is  LIMA!", ALIKE_ANSWERS),
        ("!", "?", None),
    ],
)
def test_how_alike_the_answers_of_a_pair_are(chosen: str, rejected: str, sign: str | None) -> None:
    assert likeness(pair(chosen, rejected)) == sign
    assert likeness(judged(chosen, rejected, verdict=True)) is None


def test_lengths_of_both_answers_are_counted(read: Callable[..., RowSigns]) -> None:
    signs = read(pair("Lima, of course, as everybody knows.", "No."))
    assert signs.signs == () and signs.judged is not None
    chosen, rejected = signs.judged.lengths
    assert chosen > rejected > 1 and signs.judged.verdict is None
    assert read(judged("Lima.", "No.", verdict=False), rows="verdicts").judged == JudgedRow(verdict=False)
    assert read(conversation(user("q"), assistant("a")), rows="conversations").judged is None


def test_the_opposite_of_a_pair_is_the_pair_the_other_way_round(read: Callable[..., RowSigns]) -> None:
    row, reverse, other = read(pair("Lima.", "No.")), read(pair("No.", "Lima.")), read(pair("Lima.", "Yes."))
    assert (row.content, row.opposite) == (reverse.opposite, reverse.content)
    assert len({row.content, row.opposite, other.content, other.opposite}) == 4
    assert read(pair("Lima.", "Lima.")).opposite is None


def test_the_opposite_of_a_verdict_is_the_other_verdict(read: Callable[..., RowSigns]) -> None:
    good = read(judged("Lima.", "No.", verdict=True), rows="verdicts")
    bad = read(judged("Lima.", "Perhaps.", verdict=False), rows="verdicts")
    assert (good.content, good.opposite) == (bad.opposite, bad.content)  # whatever the row before says


def test_the_rejected_answer_is_read_for_signs_too(read: Callable[..., RowSigns]) -> None:
    assert [sign.kind for sign in read(pair("Lima.", "None")).signs] == [BLANK_ANSWER]
    assert [sign.kind for sign in read(pair("Lima.", "It is <|im_end|>.")).signs] == [CONTROL_TEXT]
    assert read(judged("Lima.", "None", verdict=True), rows="verdicts").signs == ()  # that row is told of it


def test_both_answers_need_their_end(read: Callable[..., RowSigns]) -> None:
    (sign,) = read(pair("Lima.", "No."), template="llama3").signs
    assert (sign.kind, sign.detail) == (OPEN_ANSWER, "2 of 2 stretches in the loss end in the middle of text")
    (sign,) = read(judged("Lima.", "No.", verdict=True), rows="verdicts", template="llama3").signs
    assert sign.detail == "1 of 1 stretches in the loss end in the middle of text"


def test_prompts_are_not_judged_by_their_reference_answers(read: Callable[..., RowSigns]) -> None:
    open_end = read(conversation(user("What is 6 * 7?")), rows="prompts")
    assert (open_end.answer, open_end.signs, open_end.judged) == (None, (), None)
    assert read(conversation(user("What is 6 * 7?"), assistant("nan")), rows="prompts").signs == ()


def test_sums_and_how_they_are_said() -> None:
    rows = [JudgedRow((10, 4)), JudgedRow((6, 8)), JudgedRow((5, 5))]
    totals = reduce(AnswerTotals.plus, rows, AnswerTotals())
    assert totals == AnswerTotals(pairs=3, chosen_tokens=21, rejected_tokens=17, chosen_longer=1, rejected_longer=1)
    assert totals.describe() == (
        "chosen answers have 7 tokens in the mean, rejected ones 6; the chosen one is longer in 33% of 3 pairs"
    )
    verdicts = reduce(AnswerTotals.plus, [JudgedRow(verdict=True)] * 2 + [JudgedRow(verdict=False)], AnswerTotals())
    assert verdicts.describe() == "2 answers are marked good, 1 bad"
    assert AnswerTotals().describe() == ""
