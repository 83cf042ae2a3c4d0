"""The wrong chat template for the model."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.data.problem import RowProblem
from tunesmith.data.report.findings.finding import Check, Finding, reason_named
from tunesmith.data.report.row_signs import OPEN_ANSWER
from tunesmith.data.report.survey import Survey
from tunesmith.data.report.template_check import Difference


def _broken_words(survey: Survey) -> Iterator[Finding]:
    """A model's own template may write such words as text (Zephyr's does); another one must not."""
    check = survey.template
    if check.broken and not check.equals_own:
        is_end = reason_named(survey, OPEN_ANSWER).rows > 0
        yield Finding(
            "template-words-are-no-tokens",
            "error" if is_end else "warning",
            f"{check.name} writes {', '.join(check.broken)}, which this model's tokenizer splits into several tokens: "
            "it is made for another model",
            _choose(survey),
        )


def _not_the_models_own(survey: Survey) -> Iterator[Finding]:
    check = survey.template
    if check.not_own is not None:
        yield Finding(
            "template-not-the-models-own",
            "note" if check.only_system else "warning",
            f"{check.name} writes {'another system message' if check.only_system else 'other text'} than the model's "
            f"own chat template in {check.num_not_own} of {check.num_tried} conversations tried",
            "leave `template` out to take the model's own, unless an adapter or an old run was made with this one",
            _evidence(check.not_own),
        )


def _not_read_back(survey: Survey) -> Iterator[Finding]:
    lost = survey.template.not_back
    if lost is not None:
        yield Finding(
            "text-not-read-back",
            "warning",
            "the tokenizer cannot write the text of every row: ids do not read back as the text they were made of",
            "take a model whose vocabulary has these characters, or remove them from the rows",
            _evidence(lost),
        )


def _evidence(difference: Difference) -> tuple[RowProblem, ...]:
    return (RowProblem(difference.source, "", f"{difference.found!r} instead of {difference.expected!r}"),)


def _choose(survey: Survey) -> str:
    if survey.template.has_own:
        return "leave `template` out to take the model's own"
    return "choose the template that the model was made with, by `template: NAME`"


TEMPLATE_CHECKS: tuple[Check, ...] = (_broken_words, _not_the_models_own, _not_read_back)
