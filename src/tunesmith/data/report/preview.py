"""The first rows of a run's data after every step; `preview_parts` says what there is to see of one.

`preview_text`, `preview_json` and `preview_page` write them. Needs the tokenizer or processor of the model, never its
weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from tunesmith.config.settings import Settings
from tunesmith.data.encoding.encode import Encoder, build_template
from tunesmith.data.encoding.trace import RowTooLongError, Trace
from tunesmith.data.problem import RowError, RowProblem
from tunesmith.data.rows.dataset import Dataset, open_datasets
from tunesmith.errors import UsageError
from tunesmith.models.preprocessing.processor import Preprocessor, load_preprocessor

_ROWS_AT_A_TIME = 16


@dataclass(frozen=True, slots=True)
class PreviewedRow:
    """One example with every step of its making, and the tokenizer that reads its ids back."""

    trace: Trace
    tokenizer: PreTrainedTokenizerBase


def preview_rows(settings: Settings, limit: int) -> Iterator[PreviewedRow | RowProblem]:
    """The first `limit` usable rows of `dataset` (of `eval_dataset` if there is no other); unusable ones on the way.

    Reads no further than that, however many rows there are. Raises UsageError and DataError as a training would.
    """
    names = settings.data.dataset or settings.data.eval_dataset
    if not names:
        raise UsageError("no dataset is given; set `dataset: NAME` or the path of a file")
    preprocessor = load_preprocessor(settings.model, settings.media)
    kind = settings.training.rows
    encoder = Encoder(preprocessor, build_template(preprocessor, settings.data, kind), settings.data, kind)
    data = settings.data.model_copy(update={"streaming": True})  # without the pass over all files that finds their rows
    shown = 0
    for dataset in open_datasets(names, settings.model_copy(update={"data": data})):
        for row in trace_rows(dataset, encoder, preprocessor):
            yield row
            shown += isinstance(row, PreviewedRow)
            if shown == limit:
                return


def trace_rows(dataset: Dataset, encoder: Encoder, preprocessor: Preprocessor) -> Iterator[PreviewedRow | RowProblem]:
    """The rows of `dataset` in the order of its files, each when it is asked for."""
    for block in dataset.blocks(rows_per_block=_ROWS_AT_A_TIME):
        for ref in block.refs:
            try:
                yield PreviewedRow(encoder.trace(dataset.conversation(ref)), preprocessor.tokenizer)
            except RowError as error:
                yield RowProblem(dataset.source(ref), error.kind, error.detail)


def is_left_out(problem: RowProblem) -> bool:
    """Whether `problem` is a row left out for its length, which no on_bad_row stops for."""
    return problem.kind == RowTooLongError.KIND
