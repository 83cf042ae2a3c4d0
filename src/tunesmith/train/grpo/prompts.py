"""The rows of a run as prompts: those that fit, in the order of every epoch, read again when they are due.

Every row is looked at before the first step, since the number of steps follows from how many prompts there are. Knows
nothing of TRL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tunesmith.chat.message import Conversation, MediaKind, RowSource
from tunesmith.config.data import DataSettings
from tunesmith.data.examples import Outcome
from tunesmith.data.feed.position import FeedPosition
from tunesmith.data.prepare import PreparedData
from tunesmith.data.problem import RowProblem, describe_problems
from tunesmith.data.store.address import RowRef
from tunesmith.errors import DataError
from tunesmith.train.grpo.rewards.reward import DrawnAnswer

_ROWS_AT_A_TIME = 1024
_THOUGHT = "<think>"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One row up to where the model answers.

    text:      as the chat template writes it, ids as the model reads it: (T,) int32
    reference: the row's own answer, None where it gives none
    row:       all columns of the row
    """

    conversation: Conversation
    text: str
    ids: np.ndarray
    reference: str | None
    row: Mapping[str, Any]

    def answered(self, text: str, ids: Sequence[int]) -> DrawnAnswer:
        """A drawn answer. Where the template begins a thought for the model, its tag is given back to the answer."""
        begun = f"{_THOUGHT}\n" if self.text.rstrip().endswith(_THOUGHT) else ""
        return DrawnAnswer(self.conversation, self.text, begun + text, tuple(ids), self.reference, self.row)


@dataclass(slots=True)
class Prompts:
    """The prompts of a run, numbered from 0 in the order of the files. kinds: of the media in them, with a row each."""

    data: PreparedData
    refs: Sequence[RowRef]
    kinds: Mapping[MediaKind, RowSource] = field(default_factory=dict)
    _numbers: dict[RowRef, int] = field(init=False)

    def __post_init__(self) -> None:
        self._numbers = {ref: number for number, ref in enumerate(self.refs)}

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, number: int) -> Prompt:
        """The prompt `number`. Raises DataError where its row cannot be read any more."""
        ref = self.refs[number]
        dataset = self.data.examples.datasets[ref.dataset]
        trace = self.data.encoder.trace(self.data.examples.conversation(ref))
        row = dataset.read(ref)
        return Prompt(
            conversation=_without_answer(trace.conversation),
            text=trace.rendered.text,
            ids=trace.encoded.input_ids,
            reference=_reference_of(trace.conversation),
            row=row if isinstance(row, dict) else {},
        )

    def of_epoch(self, epoch: int) -> list[int]:
        """The numbers of the prompts in the order of `epoch`; a dataset that is drawn often comes often."""
        chunks = self.data.train.chunks(FeedPosition(epoch=epoch), size=_ROWS_AT_A_TIME)
        return [self._numbers[ref] for chunk in chunks for ref in chunk.refs if ref in self._numbers]


def find_prompts(data: PreparedData, settings: DataSettings) -> Prompts:
    """The prompts that fit `cutoff_len`; every row is told to the report, what is left out too.

    Raises DataError that lists the rows that cannot be used unless on_bad_row is skip, and where no prompt is left.
    """
    kept: list[RowRef] = []
    kinds: dict[MediaKind, RowSource] = {}
    problems: list[RowProblem] = []
    for outcome in _outcomes(data):
        if outcome.ref not in data.first.refs:
            data.report_builder.add(outcome, used_for="train")
        if outcome.encoded is not None:
            kept.append(outcome.ref)
            kinds = {media.kind: outcome.source for media in outcome.encoded.media} | kinds
        elif outcome.problem is not None and not outcome.is_dropped:
            problems.append(outcome.problem)
    if problems and settings.on_bad_row == "stop":
        raise DataError(describe_problems(problems, num_rows=data.report.rows_read))
    if not kept:
        raise DataError("no prompt is left to answer; `tunesmith data check` says what became of every row")
    return Prompts(data, kept, kinds)


def _outcomes(data: PreparedData) -> Iterator[Outcome]:
    """What becomes of every row of the datasets to train on, once each, in the order of the files."""
    datasets = data.examples.datasets
    for dataset in datasets:
        for start in range(0, dataset.num_rows, _ROWS_AT_A_TIME):
            end = min(start + _ROWS_AT_A_TIME, dataset.num_rows)
            yield from data.examples.outcomes([dataset.ref(index) for index in range(start, end)])


def _without_answer(conversation: Conversation) -> Conversation:
    messages = conversation.messages
    return replace(conversation, messages=messages[:-1]) if messages[-1].role == "assistant" else conversation


def _reference_of(conversation: Conversation) -> str | None:
    last = conversation.messages[-1]
    return last.text if last.role == "assistant" else None
