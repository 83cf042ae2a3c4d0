"""Which rows a data check looks at: those of every dataset in the order of its files, and what each is used for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress

import numpy as np

from tunesmith.config.settings import Settings
from tunesmith.data.feed.chosen_rows import hold_out
from tunesmith.data.feed.streaming import hold_out_first
from tunesmith.data.report.report_builder import DatasetFacts, Use
from tunesmith.data.rows.dataset import Dataset, open_datasets
from tunesmith.data.store.address import RowRef

Chunk = tuple[RowRef, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CheckedDataset:
    """One dataset and which of its rows are looked at.

    use:      what its rows are for, but for those held out
    held_out: (n,) rows that val_size holds out, ascending
    num_rows: how many it has; None with streaming, where nobody counts them
    limit:    how many are looked at, None for all
    """

    dataset: Dataset
    use: Use
    held_out: np.ndarray
    num_rows: int | None
    limit: int | None

    @property
    def num_looked_at(self) -> int | None:
        """Rows that will be looked at; None where nobody knows."""
        if self.num_rows is None or self.limit is None:
            return self.num_rows
        return min(self.num_rows, self.limit)

    @property
    def facts(self) -> DatasetFacts:
        """What the report says of it."""
        return DatasetFacts(self.dataset.name, self.dataset.place, self.num_rows, self.use)

    def chunks(self, *, size: int) -> Iterator[tuple[Use, Chunk]]:
        """Its rows, at most `size` at a time."""
        start = 0
        for refs in self._pieces(size):
            is_held_out = np.zeros(len(refs), dtype=bool)
            first, end = np.searchsorted(self.held_out, (start, start + len(refs)))
            is_held_out[self.held_out[first:end] - start] = True
            start += len(refs)
            for use, wanted in ((self.use, ~is_held_out), ("eval", is_held_out)):
                if wanted.any():
                    yield use, tuple(compress(refs, wanted))

    def _pieces(self, size: int) -> Iterator[Chunk]:
        if self.num_looked_at is None:
            yield from _streamed(self.dataset, size=size, limit=self.limit)
            return
        for start in range(0, self.num_looked_at, size):
            yield tuple(map(self.dataset.ref, range(start, min(start + size, self.num_looked_at))))


def open_rows(settings: Settings, *, limit: int | None) -> tuple[CheckedDataset, ...]:
    """The datasets of `dataset`, then those of `eval_dataset`, numbered through; `limit` rows of each are looked at.

    Raises UsageError and DataError as `open_datasets`, `hold_out` and `hold_out_first` do.
    """
    data = settings.data
    train = open_datasets(data.dataset, settings)
    counted = settings.model_copy(update={"data": data.model_copy(update={"streaming": False})})
    others = open_datasets(data.eval_dataset, counted, first_number=len(train))
    held_out = _held_out(train, settings)
    uses: list[tuple[Dataset, Use, np.ndarray]] = [
        *((dataset, "train", rows) for dataset, rows in zip(train, held_out, strict=True)),
        *((dataset, "eval", _NO_ROWS) for dataset in others),
    ]
    return tuple(
        CheckedDataset(dataset, use, rows, None if data.streaming and use == "train" else dataset.num_rows, limit)
        for dataset, use, rows in uses
    )


_NO_ROWS = np.zeros(0, dtype=np.int64)


def _held_out(train: tuple[Dataset, ...], settings: Settings) -> list[np.ndarray]:
    val_size = settings.data.val_size
    if not val_size or not train:
        return [_NO_ROWS] * len(train)
    if settings.data.streaming:
        return [np.arange(len(refs)) for refs in hold_out_first(train, num_rows=int(val_size))]
    _, held_out = hold_out(train, val_size=val_size, seed=settings.training.seed)
    return [np.asarray(indices, dtype=np.int64) for indices in held_out.indices]


def _streamed(dataset: Dataset, *, size: int, limit: int | None) -> Iterator[Chunk]:
    num_left = limit
    for block in dataset.blocks(rows_per_block=size):
        refs = tuple(block.refs[:num_left])
        if refs:
            yield refs
        if num_left is not None:
            num_left -= len(refs)
            if num_left <= 0:
                return
