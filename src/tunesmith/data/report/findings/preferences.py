"""Pairs and verdicts that teach nothing, or something else than was meant."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.data.problem import RowProblem
from tunesmith.data.report.answer_signs import ALIKE_ANSWERS, EQUAL_ANSWERS
from tunesmith.data.report.findings.finding import Check, Finding, num_kept, percent, reason_named, share
from tunesmith.data.report.survey import Survey

_MANY_EQUAL, _SOME_ALIKE = 0.1, 0.05
_FEWEST_PAIRS = 30
_MOST_LONGER, _MUCH_LONGER = 0.8, 1.5
_FEWEST_VERDICTS, _LEAST_VERDICTS = 10, 0.05
_SOME_CONTRADICTIONS, _FEWEST_CONTRADICTIONS = 0.01, 2


def _equal_answers(survey: Survey) -> Iterator[Finding]:
    found, kept = reason_named(survey, EQUAL_ANSWERS), num_kept(survey)
    if found.rows:
        yield Finding(
            "pair-without-difference",
            "error" if share(found.rows, kept) >= _MANY_EQUAL else "warning",
            f"in {found.rows:,} of {kept:,} pairs the chosen answer is the rejected one, so nothing is preferred",
            "remove these rows, or check that chosen and rejected are the right columns",
            found.examples,
        )


def _alike_answers(survey: Survey) -> Iterator[Finding]:
    found, kept = reason_named(survey, ALIKE_ANSWERS), num_kept(survey)
    if share(found.rows, kept) >= _SOME_ALIKE:
        yield Finding(
            "pair-hardly-differs",
            "warning",
            f"in {found.rows:,} of {kept:,} pairs ({percent(found.rows, kept)}) chosen and rejected answer differ in "
            "spaces, punctuation or capitals alone",
            "remove these rows, unless it is this that the model is to learn",
            found.examples,
        )


def _length_bias(survey: Survey) -> Iterator[Finding]:
    totals = survey.answers
    if totals.pairs < _FEWEST_PAIRS:
        return
    for winner, loser, count, tokens, others in (
        ("chosen", "rejected", totals.chosen_longer, totals.chosen_tokens, totals.rejected_tokens),
        ("rejected", "chosen", totals.rejected_longer, totals.rejected_tokens, totals.chosen_tokens),
    ):
        if share(count, totals.pairs) >= _MOST_LONGER and tokens >= _MUCH_LONGER * others:
            learned = "long" if winner == "chosen" else "short"
            yield Finding(
                "length-bias",
                "warning",
                f"the {winner} answer is longer than the {loser} one in {percent(count, totals.pairs)} of "
                f"{totals.pairs:,} pairs, {tokens / max(others, 1):.1f} times as long in the mean, so the model may "
                f"learn to answer {learned} instead of well",
                "add pairs in which it is the other way round, or weigh lengths less: ld_alpha below 1, or "
                "pref_loss: sigmoid_norm or simpo, which divide by the length",
            )


def _one_sided_verdicts(survey: Survey) -> Iterator[Finding]:
    good, bad = survey.answers.good, survey.answers.bad
    fewer, rows = min(good, bad), good + bad
    if rows >= _FEWEST_VERDICTS and share(fewer, rows) < _LEAST_VERDICTS:
        rare = "bad" if bad <= good else "good"
        weight = "kto_rejected_weight" if rare == "bad" else "kto_chosen_weight"
        yield Finding(
            "one-sided-verdicts",
            "warning" if fewer else "error",
            f"{fewer:,} of {rows:,} answers ({percent(fewer, rows)}) are marked {rare}, so there is hardly anything to "
            "tell good from bad by",
            f"add answers marked {rare}, or raise {weight}" if fewer else f"add answers marked {rare}",
        )


def _contradictions(survey: Survey) -> Iterator[Finding]:
    found, rows = survey.contradictions, survey.report.train.rows
    if found.rows >= _FEWEST_CONTRADICTIONS and share(found.rows, rows) >= _SOME_CONTRADICTIONS:
        yield Finding(
            "contradictions",
            "warning",
            f"{found.rows:,} of {rows:,} training rows ({percent(found.rows, rows)}) say the opposite of another one: "
            "the same answer to the same prompt is good in one and bad in the other",
            "keep one of each",
            tuple(RowProblem(row, "", f"the opposite of {other}") for row, other in found.examples),
        )


PREFERENCE_CHECKS: tuple[Check, ...] = (
    _equal_answers,
    _alike_answers,
    _length_bias,
    _one_sided_verdicts,
    _contradictions,
)
