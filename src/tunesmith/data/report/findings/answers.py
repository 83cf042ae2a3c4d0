"""Answers from which a model learns nothing, or never to stop."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.data.report.findings.finding import (
    Check,
    Finding,
    evidence_at,
    num_kept,
    percent,
    reason_named,
    share,
)
from tunesmith.data.report.row_signs import BLANK_ANSWER, OPEN_ANSWER, REPEATED_PROMPT
from tunesmith.data.report.survey import Survey

_FEWEST_ROWS = 10
"""Below that many rows, equal answers mean nothing."""
_MOST_SAME = 0.8
_MOST_BLANK = 0.1
_MOST_REPEATED = 0.05
_FEWEST_REPEATED = 3


def _open_answers(survey: Survey) -> Iterator[Finding]:
    found, kept = reason_named(survey, OPEN_ANSWER), num_kept(survey)
    if found.rows:
        yield Finding(
            "answer-without-end",
            "error" if share(found.rows, kept) >= 0.5 else "warning",
            f"{found.rows:,} of {kept:,} rows have an answer that ends without an end token, so the model would learn "
            "to go on and on",
            f"choose a template whose answers end with a token of this model ({survey.template.name} is used), "
            "by `template: NAME`, or leave `template` out to take the model's own",
            found.examples,
        )


def _blank_answers(survey: Survey) -> Iterator[Finding]:
    found, kept = reason_named(survey, BLANK_ANSWER), num_kept(survey)
    if found.rows:
        yield Finding(
            "answer-says-nothing",
            "error" if share(found.rows, kept) >= _MOST_BLANK else "warning",
            f"{found.rows:,} of {kept:,} rows have an answer that says nothing",
            "remove these rows, or correct what wrote them: an empty field often becomes nan or None on the way",
            found.examples,
        )


def _same_answers(survey: Survey) -> Iterator[Finding]:
    rows, same = survey.report.train.rows, survey.num_same_answers
    if rows >= _FEWEST_ROWS and share(same, rows) >= _MOST_SAME:
        yield Finding(
            "constant-answers",
            "error" if same == rows else "warning",
            f"{same:,} of {rows:,} training rows have the same answer, which the model would give to everything",
            "check that the answers' column is the right one (`columns` in dataset_info.json), or balance the rows",
            evidence_at(survey.same_answer, "the first row with this answer"),
        )


def _repeated_prompts(survey: Survey) -> Iterator[Finding]:
    found, kept = reason_named(survey, REPEATED_PROMPT), num_kept(survey)
    if found.rows >= _FEWEST_REPEATED and share(found.rows, kept) >= _MOST_REPEATED:
        yield Finding(
            "answer-repeats-prompt",
            "warning",
            f"{found.rows:,} of {kept:,} answers ({percent(found.rows, kept)}) begin with the whole question",
            "if the answers' column holds prompt and answer, keep only the answer: the model would learn to echo",
            found.examples,
        )


def _nothing_in_the_loss(survey: Survey) -> Iterator[Finding]:
    found = [reason for reason in survey.report.skipped if reason.kind == "nothing to learn"]
    for reason in found:
        yield Finding(
            "no-supervised-token",
            "error",
            f"{reason.rows:,} of {survey.report.rows_read:,} rows have no token in the loss",
            "give each an answer of the assistant whose `loss` is not switched off, or remove them",
            reason.examples,
        )


ANSWER_CHECKS: tuple[Check, ...] = (
    _open_answers,
    _blank_answers,
    _same_answers,
    _repeated_prompts,
    _nothing_in_the_loss,
)
