"""Rows looked at before training: the report of them, and what is remembered of each to find what ruins runs.

    Outcome ─┬─ ReportBuilder → DataReport
             └─ SignReader → signs by kind, answers, 8 bytes of content a row

A Surveyor is fed by `tunesmith data check` with all rows and by a training with the first ones of each dataset.
`findings` judges a Survey.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tunesmith.chat.message import Conversation, RowSource
from tunesmith.chat.template import ChatTemplate
from tunesmith.config.data import DataSettings
from tunesmith.config.stages import RowKind
from tunesmith.data.examples import Examples, Outcome
from tunesmith.data.report.answer_signs import AnswerTotals
from tunesmith.data.report.report import DataReport, Reasons
from tunesmith.data.report.report_builder import LostRows, ReportBuilder, Use
from tunesmith.data.report.row_signs import RowSigns, SignReader
from tunesmith.data.report.template_check import TemplateCheck, check_documents, check_template
from tunesmith.data.report.twins import RowHashes, Twins, find_duplicates, find_leaks
from tunesmith.models.preprocessing.processor import Preprocessor

_MOST_ANSWERS = 4096
"""Different answers counted; one that most rows share is among the first."""

_NUM_NAMED = 20
"""Rows named for each sign."""

_NUM_RENDERED = 16
"""Conversations that the template is tried on."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the rows looked at show.

    rows:            what the run's stage learns from
    signs:           rows that show a sign of `row_signs`, by kind
    num_same_answers: training rows that share the commonest last answer; `same_answer` is the first of them
    duplicates:      training rows that stand in training before, word for word
    leaks:           held-out rows that stand in training too
    contradictions:  training rows that say the opposite of another: the other answer is the better one
    answers:         sums over judged answers of training rows
    template:        whether the chat template fits the model
    """

    report: DataReport
    data: DataSettings
    rows: RowKind
    signs: Reasons
    num_same_answers: int
    same_answer: RowSource | None
    duplicates: Twins
    leaks: Twins
    contradictions: Twins
    answers: AnswerTotals
    template: TemplateCheck


class Surveyor:
    """Collects what rows show; `report` collects what became of them, and may be added to and read apart from this."""

    def __init__(
        self,
        report: ReportBuilder,
        *,
        examples: Examples,
        preprocessor: Preprocessor,
        template: ChatTemplate,
        data: DataSettings,
        rows: RowKind = "conversations",
    ) -> None:
        self._examples = examples
        self._preprocessor = preprocessor
        self._template = template
        self._data = data
        self._rows = rows
        self._reader = SignReader(preprocessor, rows)
        self._report = report
        self._signs = LostRows(most_examples=_NUM_NAMED)
        self._answers: Counter[int] = Counter()
        self._first_of: dict[int, RowSource] = {}
        self._hashes: dict[Use, RowHashes] = {"train": RowHashes(), "eval": RowHashes()}
        self._opposites = RowHashes()
        self._judged = AnswerTotals()
        self._tried: list[Conversation] = []

    def look(self, outcomes: Iterable[Outcome], *, used_for: Use) -> None:
        """Add `outcomes`, reading the signs of those that are kept."""
        for outcome, signs in read_signs(outcomes, self._examples, self._reader):
            self.add(outcome, signs, used_for=used_for)

    def add(self, outcome: Outcome, signs: RowSigns | None, *, used_for: Use) -> None:
        """Add one row whose signs are read already; None for a row that is not kept."""
        self._report.add(outcome, used_for=used_for)
        if signs is None:
            return
        self._hashes[used_for].add(signs.content, outcome.source)
        for sign in signs.signs:
            self._signs.add(sign)
        if used_for == "train":
            self._count_answers(signs, outcome.source)
            if len(self._tried) < _NUM_RENDERED:
                self._tried.append(self._examples.conversation(outcome.ref))

    def _count_answers(self, signs: RowSigns, source: RowSource) -> None:
        answer = signs.answer
        if answer is not None and (answer in self._answers or len(self._answers) < _MOST_ANSWERS):
            self._answers[answer] += 1
            self._first_of.setdefault(answer, source)
        if signs.judged is not None:
            self._judged = self._judged.plus(signs.judged)
        if signs.opposite is not None:
            self._opposites.add(signs.opposite, source)

    def survey(self) -> Survey:
        """What is known now."""
        commonest = self._answers.most_common(1)
        return Survey(
            report=self._report.report(),
            data=self._data,
            rows=self._rows,
            signs=self._signs.reasons(),
            num_same_answers=commonest[0][1] if commonest else 0,
            same_answer=self._first_of[commonest[0][0]] if commonest else None,
            duplicates=find_duplicates(self._hashes["train"]),
            leaks=find_leaks(self._hashes["eval"], self._hashes["train"]),
            contradictions=find_leaks(self._opposites, self._hashes["train"]),
            answers=self._judged,
            template=self._check_template(),
        )

    def _check_template(self) -> TemplateCheck:
        if self._rows == "documents":
            return check_documents(self._preprocessor, self._tried)
        return check_template(self._template, self._preprocessor, self._tried)


def read_signs(
    outcomes: Iterable[Outcome], examples: Examples, reader: SignReader
) -> Iterator[tuple[Outcome, RowSigns | None]]:
    """Each outcome with the signs of its row, None where it is not kept."""
    for outcome in outcomes:
        if outcome.encoded is None:
            yield outcome, None
        else:
            yield outcome, reader.read(outcome.encoded, examples.conversation(outcome.ref))
