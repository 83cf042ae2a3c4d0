"""Everything between the settings and the first batch: rows read, encoded, split, and an account of them.

All rows are encoded before training, so that every unusable one is known at once. Knows nothing of models' weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.chat.message import Conversation
from tunesmith.config.settings import Settings
from tunesmith.data.collate import Collator
from tunesmith.data.encode import Encoder, RowTooLongError, build_template
from tunesmith.data.encoded import Encoded
from tunesmith.data.hub import hub_access
from tunesmith.data.problem import RowError, RowProblem, describe_problems
from tunesmith.data.report import DataReport, DatasetReport, sum_up
from tunesmith.data.rows import DatasetCounts, LoadedRows, load_conversations
from tunesmith.errors import DataError, UsageError
from tunesmith.models.processor import Preprocessor


@dataclass(frozen=True, slots=True)
class PreparedData:
    """What a training needs of its data. `eval` is None where nothing is held out."""

    train: Sequence[Encoded]
    eval: Sequence[Encoded] | None
    encoder: Encoder
    collator: Collator
    report: DataReport


@dataclass(frozen=True, slots=True)
class _Part:
    """What became of the rows of some datasets; `bad` are those that cannot be used."""

    examples: tuple[Encoded, ...]
    datasets: tuple[DatasetReport, ...]
    cut: tuple[RowProblem, ...]
    dropped: tuple[RowProblem, ...]
    bad: tuple[RowProblem, ...]


def prepare_data(settings: Settings, preprocessor: Preprocessor) -> PreparedData:
    """Read and encode the rows of `dataset` and `eval_dataset`, or hold out `val_size` of them.

    Raises DataError that lists every unusable row unless on_bad_row is skip, and where no row is left; UsageError for
    settings that do not fit one another.
    """
    data = settings.data
    if data.eval_dataset and data.val_size:
        raise UsageError("eval_dataset and val_size both name rows to hold out; leave one of them out")
    encoder = Encoder(preprocessor, build_template(preprocessor, data), data)
    parts = [_encode_datasets(data.dataset, "train", settings, encoder)]
    if data.eval_dataset:
        parts.append(_encode_datasets(data.eval_dataset, "eval", settings, encoder))
    bad = [problem for part in parts for problem in part.bad]
    num_read = sum(dataset.rows_read for part in parts for dataset in part.datasets)
    if bad and data.on_bad_row == "stop":
        raise DataError(describe_problems(bad, num_rows=num_read))
    for part in parts:
        _require_rows(part)
    train, held_out = _split(parts, val_size=data.val_size, seed=settings.training.seed)
    report = DataReport(
        datasets=tuple(dataset for part in parts for dataset in part.datasets),
        train=sum_up(train),
        eval=None if held_out is None else sum_up(held_out),
        cut=tuple(row for part in parts for row in part.cut),
        dropped=tuple(row for part in parts for row in part.dropped),
        skipped=tuple(bad),
    )
    return PreparedData(train, held_out, encoder, Collator(preprocessor), report)


def load_all_rows(names: Sequence[str], settings: Settings) -> LoadedRows:
    """The rows of datasets `names`, bad ones beside the others whatever on_bad_row says."""
    data = settings.data.model_copy(update={"on_bad_row": "skip"})
    return load_conversations(names, data, access=hub_access(settings.model), seed=settings.training.seed)


def _encode_datasets(names: Sequence[str], used_for: str, settings: Settings, encoder: Encoder) -> _Part:
    rows = load_all_rows(names, settings)
    parts = [
        _encode_dataset(counts, conversations, used_for, encoder)
        for counts, conversations in zip(rows.counts, _per_dataset(rows), strict=True)
    ]
    return _Part(
        examples=tuple(example for part in parts for example in part.examples),
        datasets=tuple(dataset for part in parts for dataset in part.datasets),
        cut=tuple(row for part in parts for row in part.cut),
        dropped=tuple(row for part in parts for row in part.dropped),
        bad=(*rows.problems, *(row for part in parts for row in part.bad)),
    )


def _per_dataset(rows: LoadedRows) -> Iterator[Sequence[Conversation]]:
    start = 0
    for counts in rows.counts:
        yield rows.conversations[start : start + counts.num_kept]
        start += counts.num_kept


def _encode_dataset(
    counts: DatasetCounts, conversations: Iterable[Conversation], used_for: str, encoder: Encoder
) -> _Part:
    examples: list[Encoded] = []
    cut: list[RowProblem] = []
    dropped: list[RowProblem] = []
    bad: list[RowProblem] = []
    for conversation in conversations:
        try:
            trace = encoder.trace(conversation)
        except RowTooLongError as error:
            dropped.append(RowProblem(conversation.source, error.kind, error.detail))
        except RowError as error:
            bad.append(RowProblem(conversation.source, error.kind, error.detail))
        else:
            examples.append(trace.encoded)
            if trace.cut is not None:
                cut.append(RowProblem(conversation.source, f"{trace.cut.kind} cut", trace.cut.detail))
    dataset = DatasetReport(
        name=counts.name,
        place=counts.place,
        used_for=used_for,
        rows_read=counts.num_read,
        rows_kept=len(examples),
        cut=len(cut),
        dropped=len(dropped),
        skipped=counts.num_bad + len(bad),
    )
    return _Part(tuple(examples), (dataset,), tuple(cut), tuple(dropped), tuple(bad))


def _require_rows(part: _Part) -> None:
    if part.examples:
        return
    names = ", ".join(dataset.name for dataset in part.datasets)
    first = next(iter((*part.dropped, *part.bad)), None)
    raise DataError(f"no usable row is left of {names}" + (f"; the first: {first}" if first else ""))


def _split(
    parts: Sequence[_Part], *, val_size: float, seed: int
) -> tuple[tuple[Encoded, ...], tuple[Encoded, ...] | None]:
    if len(parts) > 1:
        return parts[0].examples, parts[1].examples
    if not val_size:
        return parts[0].examples, None
    return hold_out(parts[0].examples, val_size=val_size, seed=seed)


def hold_out(
    examples: Sequence[Encoded], *, val_size: float, seed: int
) -> tuple[tuple[Encoded, ...], tuple[Encoded, ...]]:
    """(train, held out), each in the order of `examples`, drawn by `seed`.

    `val_size` below 1 is a share (rounded up), else a number of rows. A row that stands in `examples` several times
    (num_samples) is held out once or not at all: the two never share a row. Raises UsageError if no row is left to
    train on.
    """
    rows = list(dict.fromkeys(example.source for example in examples))
    count = math.ceil(val_size * len(rows)) if val_size < 1 else int(val_size)
    if count >= len(rows):
        raise UsageError(f"val_size {val_size:g} holds out all of the {len(rows)} rows; lower it")
    chosen = {rows[index] for index in np.random.default_rng([seed, 1]).permutation(len(rows))[:count]}
    held_out = {example.source: example for example in reversed(examples) if example.source in chosen}
    return (
        tuple(example for example in examples if example.source not in chosen),
        tuple(held_out[source] for source in rows if source in chosen),
    )
