"""What is remembered of rows, and that a training may feed the survey beside its own report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.checked import dialogue, sound_rows, write_rows
from tests.data.conversations import assistant, build_encoder, conversation, picture, user
from tunesmith.config.settings import Settings
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.examples import Examples
from tunesmith.data.report.findings import find
from tunesmith.data.report.report_builder import DatasetFacts, ReportBuilder
from tunesmith.data.report.row_signs import (
    BLANK_ANSWER,
    CONTROL_TEXT,
    OPEN_ANSWER,
    REPEATED_PROMPT,
    TINY_MEDIUM,
    RowSigns,
    SignReader,
)
from tunesmith.data.report.survey import Surveyor
from tunesmith.data.rows.dataset import open_datasets
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]


def signs_of(preprocessor: Preprocessor, *messages: Any, **settings: Any) -> RowSigns:
    row = conversation(*messages)
    return SignReader(preprocessor).read(build_encoder(preprocessor, **settings).encode(row), row)


@pytest.mark.parametrize(
    ("question", "answer", "kinds"),
    [
        ("What is the capital of Peru?", "Lima.", []),
        ("hi", "hi, how can I help?", []),
        ("What is the capital of Peru?", "What is the capital of Peru?", [REPEATED_PROMPT]),
        ("Who is it?", "None", [BLANK_ANSWER]),
        ("Who is it?", "None of them.", []),
        ("What is <|endoftext|>?", "It ends a text.", [CONTROL_TEXT]),
    ],
)
def test_signs_of_text(preprocessor_of: PreprocessorOf, question: str, answer: str, kinds: list[str]) -> None:
    found = signs_of(preprocessor_of("qwen2"), user(question), assistant(answer))
    assert [sign.kind for sign in found.signs] == kinds


def test_every_answer_of_a_dialogue_needs_its_end(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2")
    turns = (user("One?"), assistant("Two."), user("Three?"), assistant("Four."))
    assert signs_of(preprocessor, *turns).signs == ()
    assert signs_of(preprocessor, *turns, train_on_prompt=True).signs == ()
    (sign,) = signs_of(preprocessor, *turns, template="llama3").signs
    assert (sign.kind, sign.detail) == (OPEN_ANSWER, "2 of 2 stretches in the loss end in the middle of text")


def test_the_smallest_picture_counts(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")
    small, large = picture(56, 56), picture(280, 140)
    (sign,) = signs_of(preprocessor, user(large, small, "Which?"), assistant("The first one.")).signs
    assert (sign.kind, sign.detail) == (TINY_MEDIUM, "image 2 of 2 became 4 tokens")
    assert signs_of(preprocessor, user(large, "Which?"), assistant("This one.")).signs == ()


def test_equal_rows_have_equal_contents(preprocessor_of: PreprocessorOf) -> None:
    preprocessor = preprocessor_of("qwen2_5_vl")

    def content(seed: int, answer: str) -> int:
        return signs_of(preprocessor, user(picture(84, 84, seed=seed), "What?"), assistant(answer)).content

    assert content(0, "noise") == content(0, "noise")
    assert len({content(0, "noise"), content(1, "noise"), content(0, "none of it")}) == 3


def test_a_survey_beside_a_report_of_ones_own(preprocessor_of: PreprocessorOf, tmp_path: Path) -> None:
    preprocessor = preprocessor_of("qwen2")
    rows = [*sound_rows(20), dialogue("Who is it?", "nan"), dialogue("Who?", "")]
    settings = Settings()
    datasets = open_datasets([str(write_rows(tmp_path, rows))], settings)
    template = build_template(preprocessor, settings.data)
    examples = Examples(datasets, Encoder(preprocessor, template, settings.data))
    builder = ReportBuilder([DatasetFacts("rows", "rows.json", 100)], cutoff_len=settings.data.cutoff_len)
    surveyor = Surveyor(builder, examples=examples, preprocessor=preprocessor, template=template, data=settings.data)
    refs = [datasets[0].ref(index) for index in range(22)]
    surveyor.look(examples.outcomes(refs[:10]), used_for="eval")
    surveyor.look(examples.outcomes(refs[10:]), used_for="train")
    survey = surveyor.survey()
    assert [finding.id for finding in find(survey)] == ["unusable-rows", "answer-says-nothing"]
    assert survey.report == builder.report() and not survey.report.complete
    assert (survey.report.train.rows, survey.report.rows_read) == (11, 22)
    json.dumps([finding.to_dict() for finding in find(survey)])
